"""The text of `config.data.mix`. NumPy and TensorFlow are not needed."""

import math

from hazeheal.errors import UsageError
from hazeheal.utils.console import shorten


def parse_mix(text: str) -> dict[str, float]:
    """Returns {prefix: weight} of a `data.mix`, in its order; {} of an empty text.

    Raises:
        UsageError: A part has no valid weight, a prefix is given twice, or all weights are 0.
    """
    weights = {}
    for part in text.split(",") if text.strip() else ():
        prefix, equals, number = (word.strip() for word in part.rpartition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not (equals and 0 <= weight < math.inf):
            raise UsageError(
                f"mix={shorten(text)}: {shorten(part.strip())!r} is not PREFIX=WEIGHT with a weight of 0 or more; "
                "use for example rice1/=1, sots/=2"
            )
        if prefix in weights:
            raise UsageError(f"mix={shorten(text)} has the prefix {prefix!r} twice; give it one weight")
        weights[prefix] = weight
    if weights and not any(weights.values()):
        raise UsageError(f"mix={shorten(text)} leaves all pairs out; give at least one weight above 0")
    return weights
