"""Plans a conversion before anything is written: pairs, checks, split, shards.

A plan depends only on the images and the options: not on the number of workers, on times, or on the directories' paths.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from hazeheal.data import records
from hazeheal.data.images import image_io
from hazeheal.data.pairing import pairing
from hazeheal.errors import HazeHealError, UsageError
from tfrecords_tools.convert import pair_records
from tfrecords_tools.convert.pair_records import RecordOptions, SourcePair
from tfrecords_tools.convert.shard import ShardSpec

SHARD_BYTES = 128 * 2**20
# Small data sets get more and smaller shards, so that several processes have work.
SMALL_SET_SHARDS, SMALL_SET_PAIRS = 16, 16
_SAMPLED_PAIRS = 8
_RECORD_OVERHEAD = 500  # bytes of a record besides its images
_BLOCK = 512  # files


@dataclasses.dataclass(frozen=True)
class Sources:
    """The pairs of two directories, by file name, size and modification time. No image is opened.

    Attributes:
        rule: Name of the pairing rule that was used.
        pairs: The pairs, sorted by key.
        pairing: Result of `pair_folders`, with the images that are not paired.
        inputs: Hash of keys, names and file sizes. It is part of the manifest's fingerprint.
        state: Hash of the same and of modification times. It is part of the provenance only.
    """

    rule: str
    pairs: tuple[SourcePair, ...]
    pairing: pairing.Pairing
    inputs: str
    state: str


def find_sources(*, hazy_dir: str | pathlib.Path, gt_dir: str | pathlib.Path, rule: str) -> Sources:
    """Pairs the files of two directories and reads every file's size and modification time.

    Raises:
        UsageError: A directory does not exist, or `rule` is invalid or ambiguous.
        DataError: No files can be paired.
    """
    paired = pairing.pair_folders(hazy_dir, gt_dir, rule=rule)

    def add_state(pair: pairing.PairName) -> SourcePair:
        return SourcePair(
            key=pair.key,
            scene=pair.scene,
            hazy=pair.hazy,
            clear=pair.clear,
            hazy_state=_file_state(os.path.join(hazy_dir, pair.hazy)),
            clear_state=_file_state(os.path.join(gt_dir, pair.clear)),
        )

    pairs = tuple(_map_in_threads(add_state, paired.pairs, threads=16))
    inputs, state = hashlib.sha256(), hashlib.sha256()
    for pair in pairs:
        names = [pair.key, pair.hazy, pair.clear, pair.hazy_state[0], pair.clear_state[0]]
        inputs.update(json.dumps(names).encode())
        state.update(json.dumps([*names, pair.hazy_state[1], pair.clear_state[1]]).encode())
    return Sources(paired.rule, pairs, paired, inputs.hexdigest(), state.hexdigest())


def _map_in_threads(function: Callable, items: Sequence, *, threads: int) -> Iterator:
    """Maps in threads, because network file systems answer slowly. Works in blocks to bound the memory of results."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
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
    """Result of reading the headers of all images.

    Attributes:
        readable: Pairs whose headers can be read.
        unreadable: `key`, `hazy`, `clear` and `reason` of each other pair.
        mismatched: One line for each pair of images of different sizes.
    """

    readable: tuple[SourcePair, ...]
    unreadable: list[dict[str, str]]
    mismatched: list[str]


def check_headers(
    sources: Sources, *, hazy_dir: str | pathlib.Path, gt_dir: str | pathlib.Path
) -> HeaderCheck:
    """Reads the header of every image without decoding the pixels."""

    def read_header(folder: str | pathlib.Path, name: str) -> tuple[int, int] | str:
        try:
            return image_io.read_size(os.path.join(folder, name), name=name)
        except HazeHealError as error:
            return str(error)

    def read_headers(pair: SourcePair) -> tuple:
        return read_header(hazy_dir, pair.hazy), read_header(gt_dir, pair.clear)

    readable, unreadable, mismatched = [], [], []
    with image_io.strict():
        results = _map_in_threads(read_headers, sources.pairs, threads=8)
        for pair, sizes in zip(sources.pairs, results, strict=True):
            reasons = [size for size in sizes if isinstance(size, str)]
            if reasons:
                unreadable.append(
                    {"key": pair.key, "hazy": pair.hazy, "clear": pair.clear, "reason": "; ".join(reasons)}
                )
                continue
            readable.append(pair)
            if sizes[0] != sizes[1]:
                (h, w), (ch, cw) = sizes
                mismatched.append(f"{pair.hazy} is {w}x{h}, {pair.clear} is {cw}x{ch}")
    return HeaderCheck(tuple(readable), unreadable, mismatched)


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

    Returns:
        The listed scenes.

    Raises:
        UsageError: The file cannot be read, is empty, names unknown keys, or leaves nothing to train on.
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


class Estimate(NamedTuple):
    """Size of all records, and the time that one core takes to make them."""

    total_bytes: int
    seconds: float


def estimate(
    pairs: Sequence[SourcePair],
    *,
    hazy_dir: str | pathlib.Path,
    gt_dir: str | pathlib.Path,
    options: RecordOptions,
) -> Estimate:
    """Converts up to 8 pairs, spread over the data set, and extrapolates to all pairs."""
    count = min(_SAMPLED_PAIRS, len(pairs))
    sample = [pairs[i * len(pairs) // count] for i in range(count)]
    source_bytes, record_bytes, times = 0, 0, []
    for pair in sample[:1] + sample:  # the first pair twice: its first conversion also loads the codecs
        start = time.perf_counter()
        try:
            with image_io.strict():
                made = list(
                    pair_records.make_records(pair, hazy_dir=hazy_dir, gt_dir=gt_dir, options=options)
                )
        except HazeHealError:  # reported when the pair's shard is written
            continue
        times.append(time.perf_counter() - start)
        source_bytes += pair.hazy_state[0] + pair.clear_state[0]
        record_bytes += sum(
            len(record.pair.hazy) + len(record.pair.clear) + _RECORD_OVERHEAD for record in made
        )
    all_bytes = sum(pair.hazy_state[0] + pair.clear_state[0] for pair in pairs)
    if not times:
        return Estimate(all_bytes, 0.0)
    total_bytes = int(all_bytes * record_bytes / source_bytes)
    return Estimate(total_bytes, statistics.median(times[1:] or times) * len(pairs))


def auto_shards(num_pairs: int, *, num_bytes: int) -> int:
    """Returns the number of shards of a split: about `SHARD_BYTES` each, more for small sets, at most one a pair."""
    wanted = max(1, round(num_bytes / SHARD_BYTES), min(SMALL_SET_SHARDS, num_pairs // SMALL_SET_PAIRS))
    return min(wanted, num_pairs)


def plan_shards(
    pairs: Sequence[SourcePair], template: ShardSpec, *, name: str, split: str, num_shards: int
) -> list[ShardSpec]:
    """Divides the pairs of one split into shards whose numbers of pairs differ by at most one.

    Args:
        pairs: Pairs of the split.
        template: A spec with the shards' directories and options.
        name: Name of the data set.
        split: Name of the split.
        num_shards: Number of shards.
    """
    specs = []
    for number in range(num_shards):
        start, stop = (len(pairs) * n // num_shards for n in (number, number + 1))
        file = records.shard_name(name, split, number, num_shards)
        specs.append(dataclasses.replace(template, file=file, pairs=tuple(pairs[start:stop])))
    return specs
