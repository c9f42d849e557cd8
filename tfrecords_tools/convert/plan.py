"""Plans a conversion before anything is written: pairs, checks, split, shards.

A plan depends only on the images and the options: not on the number of workers, on times, or on the directories' paths.
"""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

from hazeheal.data.images import image_io, image_ops
from hazeheal.data.pairing import pairing
from hazeheal.errors import HazeHealError, OptionNeededError, UsageError
from tfrecords_tools.convert import pair_records
from tfrecords_tools.convert.pair_records import RecordOptions, SourcePair

SHARD_BYTES = 128 * 2**20
# Small data sets get more and smaller shards, so that several processes have work.
SMALL_SET_SHARDS, SMALL_SET_PAIRS = 16, 16
_SAMPLED_PAIRS, _SAMPLED_BYTES = 8, 1 << 29  # scenes of hundreds of megapixels take as long to sample as to convert
_RECORD_OVERHEAD = 500  # bytes of a record besides its images
_THREADS, _BLOCK = 8, 512  # files that are read at the same time, and submitted at the same time


@dataclasses.dataclass(frozen=True)
class Sources:
    """The pairs of two directories, by file name, size and modification time. No image is opened.

    Attributes:
        pairs: The pairs, sorted by key.
        pairing: Result of `pair_folders`, with the images that are not paired.
        inputs: Hash of keys, names and file sizes. It is part of the manifest's fingerprint.
        state: Hash of the same and of modification times. It is part of the provenance only.
    """

    pairs: tuple[SourcePair, ...]
    pairing: pairing.Pairing
    inputs: str
    state: str


def find_sources(*, hazy_dir: str | pathlib.Path, gt_dir: str | pathlib.Path, rule: str) -> Sources:
    """Pairs the files of two directories and reads every file's size and modification time.

    Raises the errors of `pair_folders`.
    """
    paired = pairing.pair_folders(hazy_dir, gt_dir, rule=rule)

    def add_state(pair: pairing.PairName) -> SourcePair:
        paths = os.path.join(hazy_dir, pair.hazy), os.path.join(gt_dir, pair.clear)
        return SourcePair(*dataclasses.astuple(pair), *paths, *map(_file_state, paths))

    pairs = tuple(_map_in_threads(add_state, paired.pairs))
    inputs, state = hashlib.sha256(), hashlib.sha256()
    for pair in pairs:
        names = [pair.key, pair.hazy, pair.clear, pair.hazy_state[0], pair.clear_state[0]]
        inputs.update(json.dumps(names).encode())
        state.update(json.dumps([*names, pair.hazy_state[1], pair.clear_state[1]]).encode())
    return Sources(pairs, paired, inputs.hexdigest(), state.hexdigest())


def _map_in_threads(function: Callable, items: Sequence) -> Iterator:
    """Maps in threads, because network file systems answer slowly. Works in blocks to bound the memory of results."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(items), _BLOCK):
            yield from pool.map(function, items[start : start + _BLOCK])


def _file_state(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)  # a dangling link; reading it reports the error
    return (status.st_size, status.st_mtime_ns)


@dataclasses.dataclass(frozen=True)
class HeaderCheck:
    """What the headers of all images show.

    Attributes:
        readable: The pairs that can be converted.
        unreadable: Those with an image whose header cannot be read, with reasons.
        unfit: Those whose sizes differ by more than `--size_mismatch` may change, with reasons.
        mismatched: One line for each other pair of different sizes.
    """

    readable: tuple[SourcePair, ...]
    unreadable: list[dict[str, str]]
    unfit: list[dict[str, str]]
    mismatched: list[str]


def check_headers(pairs: Sequence[SourcePair], options: RecordOptions) -> HeaderCheck:
    """Reads the header of every image without decoding the pixels."""

    def read_sizes(pair: SourcePair) -> tuple[list[tuple[int, int]], list[str]]:
        sizes, problems = [], []
        for path, name in ((pair.hazy_path, pair.hazy), (pair.clear_path, pair.clear)):
            try:
                sizes.append(image_io.read_size(path, name=name, options=options.pixels))
            except HazeHealError as error:
                problems.append(str(error))
        return sizes, problems

    readable, unreadable, unfit, mismatched = [], [], [], []
    with image_io.strict():
        for pair, (sizes, problems) in zip(pairs, _map_in_threads(read_sizes, pairs), strict=True):
            if problems:
                unreadable.append(pair.describe_problem("; ".join(problems)))
                continue
            if sizes[0] != sizes[1]:
                (h, w), (ch, cw) = sizes
                text = f"{pair.hazy} is {w}x{h}, {pair.clear} is {cw}x{ch}"
                if problem := image_ops.size_problem(*sizes, mode=options.size_mismatch):
                    unfit.append(pair.describe_problem(f"{text}: {problem}"))
                    continue
                mismatched.append(text)
            readable.append(pair)
    return HeaderCheck(tuple(readable), unreadable, unfit, mismatched)


def split_scenes(pairs: Sequence[SourcePair], *, val_fraction: float, seed: int) -> set[str]:
    """Selects the scenes of the validation split.

    Scenes are visited in the order of a hash of (seed, scene), so that adding or removing an image moves few other
    images. A scene is selected if it brings the number of validation images nearer to the fraction.

    Returns:
        The scenes. Empty if `val_fraction` is 0 or if there is one scene; otherwise at least one scene, never all.
    """
    counts = {}
    for pair in pairs:
        counts[pair.scene] = counts.get(pair.scene, 0) + 1
    if val_fraction <= 0 or len(counts) < 2:
        return set()
    order = sorted(counts, key=lambda scene: hashlib.sha256(f"{seed}\0{scene}".encode()).digest())
    target, taken, chosen = val_fraction * len(pairs), 0, []
    for scene in order:
        if abs(taken + counts[scene] - target) < abs(taken - target) and len(chosen) < len(counts) - 1:
            chosen.append(scene)
            taken += counts[scene]
    return set(chosen or [min(order, key=counts.get)])


def read_val_keys(path: str | pathlib.Path, pairs: Sequence[SourcePair]) -> set[str]:
    """Reads a file that lists the validation split: one key or scene on each line; `#` starts a comment line.

    Returns the scenes. Raises UsageError if the file cannot be read, is empty, names unknown keys, or lists all scenes.
    """
    try:
        # Split at line feeds only: file names may contain other characters that `splitlines` splits at.
        lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--val_keys={path} cannot be read ({error}); give a text file of keys") from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise UsageError(f"--val_keys={path} lists no keys; list one on each line, or give --val_fraction=0")
    scenes = {pair.key: pair.scene for pair in pairs} | {pair.scene: pair.scene for pair in pairs}
    unknown = [key for key in keys if key not in scenes]
    if unknown:
        raise UsageError(
            f"--val_keys={path} lists {len(unknown)} unknown keys ({', '.join(unknown[:20])}); a key is the name of a "
            f"hazy file without its suffix ({pairs[0].key}), a scene is the name of a clear file ({pairs[0].scene})"
        )
    chosen = {scenes[key] for key in keys}
    if chosen >= set(scenes.values()):
        raise UsageError(f"--val_keys={path} lists every scene; nothing is left to train on")
    return chosen


def estimate_bytes(pairs: Sequence[SourcePair], options: RecordOptions, *, skip_bad: bool) -> int:
    """Returns the approximate size of all records: converts up to 8 pairs and extrapolates to all pairs.

    Raises OptionNeededError, unless `skip_bad`, if the samples of an image need an option: a directory with an unfinished
    conversion could not be converted with another one.
    """
    count = min(_SAMPLED_PAIRS, len(pairs))
    sample = [pairs[i * len(pairs) // count] for i in range(count)]
    source_bytes, record_bytes = 0, 0
    for pair in sample[:1] + sample:  # the first one twice, as in 0.1: the number of shards depends on it
        if source_bytes > _SAMPLED_BYTES:
            break
        try:
            with image_io.strict():
                made = list(pair_records.make_records(pair, options))
        except OptionNeededError:
            if not skip_bad:
                raise
            continue
        except HazeHealError:  # reported when the pair's shard is written
            continue
        source_bytes += pair.source_bytes
        images = [image for record in made for image in record.images.values()]
        record_bytes += sum(len(image.data) for image in images) + _RECORD_OVERHEAD * len(made)
    all_bytes = sum(pair.source_bytes for pair in pairs)
    return int(all_bytes * record_bytes / source_bytes) if source_bytes else all_bytes


def auto_shards(num_pairs: int, *, num_bytes: int) -> int:
    """Returns the number of shards of a split: about `SHARD_BYTES` each, more for small sets, at most one a pair."""
    wanted = max(1, round(num_bytes / SHARD_BYTES), min(SMALL_SET_SHARDS, num_pairs // SMALL_SET_PAIRS))
    return min(wanted, num_pairs)


def divide(pairs: Sequence[SourcePair], parts: int) -> list[tuple[SourcePair, ...]]:
    """Divides pairs into consecutive parts whose lengths differ by at most one."""
    bounds = [len(pairs) * number // parts for number in range(parts + 1)]
    return [tuple(pairs[start:stop]) for start, stop in itertools.pairwise(bounds)]
