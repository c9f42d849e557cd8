"""Scores restored images: takes pairs and methods, yields one row per image.

    methods = {"input": unchanged, "dark_channel": dark_channel.restore, "mine": gan.restore}
    rows = [row for row, _ in evaluate(pairs, methods)]
    results.summarize(rows)                     # {"mine": {"psnr": {"mean": ...}, ...}, ...}

Every method receives the same 8-bit image. Its 8-bit result is scored, as it would be stored in a PNG file. One result is
in memory at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from hazeheal.errors import HazeHealError
from hazeheal.evaluation import no_reference, scores
from hazeheal.evaluation.pairs import EvaluationPair
from hazeheal.evaluation.results import CLEAR

Kept = TypeVar("Kept")
Method = Callable[[np.ndarray], np.ndarray]
Metric = Callable[[np.ndarray, np.ndarray], float]


def evaluate(
    pairs: Iterable[EvaluationPair],
    methods: dict[str, Method],
    *,
    extra_metrics: dict[str, Metric] | None = None,
    keep: Callable[[EvaluationPair, str, np.ndarray], Kept] = lambda pair, name, image: None,
) -> Iterator[tuple[dict, dict[str, Kept]]]:
    """Scores every method on each pair.

    Args:
        pairs: The images. Without ground truth, the scores are those of `no_reference`.
        methods: {name: function from uint8 [H, W, 3] to uint8 [H, W, 3]}. It contains `results.INPUT: unchanged`;
            the name `results.CLEAR` is reserved.
        extra_metrics: {metric: function of (image, clear), uint8 [H, W, 3] each}, in addition to those of `score`.
        keep: Called with the pair, the name of a method or `CLEAR`, and its image, uint8 [H, W, 3]. Its results are
            yielded; the images are dropped.

    Yields:
        A row, as `results` defines it, and the results of `keep`: {METHOD: result, ..., CLEAR: result}.

    Raises:
        DataError: An image is damaged.
        HazeHealError: A method's output has a wrong dtype or shape.
    """
    for pair in pairs:
        hazy, clear = pair.load()
        found, kept = {}, {}
        for name, method in methods.items():
            output = _checked(method(hazy), hazy, name=name)
            if clear is None:
                found[name] = no_reference.measure(output, hazy)
            else:
                found[name] = scores.score(output, clear)
                for metric, function in (extra_metrics or {}).items():
                    found[name][metric] = _call(function, output, clear, key=pair.key)
            kept[name] = keep(pair, name, output)
        row = {"key": pair.key, "hazy": pair.hazy}
        if clear is not None:
            row["clear"], kept[CLEAR] = pair.clear, keep(pair, CLEAR, clear)
        yield row | {"width": hazy.shape[1], "height": hazy.shape[0], "scores": found}, kept


def unchanged(hazy: np.ndarray) -> np.ndarray:
    """Returns the hazy image itself, the baseline of every method."""
    return hazy


def _call(function, output, clear, *, key):
    try:
        return function(output, clear)
    except HazeHealError as error:
        raise HazeHealError(f"{key}: {error}") from error


def _checked(output, hazy, *, name):
    output = np.asarray(output)
    if output.dtype != np.uint8 or output.shape != hazy.shape:
        raise HazeHealError(
            f"{name} returned {output.dtype} {list(output.shape)} for an image of uint8 {list(hazy.shape)}; "
            "a method must keep dtype and shape"
        )
    return output
