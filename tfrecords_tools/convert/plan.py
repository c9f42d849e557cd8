"""Plans a conversion before a byte is written: pairs, checks, split, shards.

Nothing here depends on the number of workers, on times or on where the folders lie, so the same images
and options always give the same plan.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import statistics
import time

from hazeheal.data import records
from hazeheal.data.images import image_io
from hazeheal.data.pairing import pairing
from hazeheal.errors import HazeHealError, UsageError
from tfrecords_tools.convert import pair_records, shard

_BLOCK = 512  # files
SHARD_BYTES = 128 * 2**20
NAME_LENGTH = (
    150  # the longest file is named `.NAME-train.tfrecord-00000-of-00001.done.json.tmp-PID`, of at most 255
)
# Small sets get more and smaller shards than their bytes ask for, or a second core would have no work.
SMALL_SET_SHARDS, SMALL_SET_PAIRS = 16, 16


@dataclasses.dataclass(frozen=True)
class Sources:
    """The pairs of two folders, as their names and `stat` tell; no image is opened.

    Attributes:
        rule: The pairing rule that was used.
        pairs: `making.SourcePair`, sorted by key.
        pairing: What `pair_folders` returned, for its report.
        inputs: Hash of keys, names and file sizes; goes into the manifest.
        state: The same with modification times; goes into provenance alone.
    """

    rule: str
    pairs: tuple
    pairing: pairing.Pairing
    inputs: str
    state: str


def find_sources(*, hazy_dir, gt_dir, rule: str) -> Sources:
    """Pairs the folders and looks at every file's size and time."""
    found = pairing.pair_folders(hazy_dir, gt_dir, rule=rule)

    def look(pair):
        return pair_records.SourcePair(
            key=pair.key,
            scene=pair.scene,
            hazy=pair.hazy,
            clear=pair.clear,
            hazy_state=_file_state(os.path.join(hazy_dir, pair.hazy)),
            clear_state=_file_state(os.path.join(gt_dir, pair.clear)),
        )

    pairs = tuple(_in_threads(look, found.pairs, threads=16))
    inputs, state = hashlib.sha256(), hashlib.sha256()
    for pair in pairs:
        names = [pair.key, pair.hazy, pair.clear, pair.hazy_state[0], pair.clear_state[0]]
        inputs.update(json.dumps(names).encode())
        state.update(json.dumps([*names, pair.hazy_state[1], pair.clear_state[1]]).encode())
    return Sources(found.rule, pairs, found, inputs.hexdigest(), state.hexdigest())


def _in_threads(function, items, *, threads: int):
    """Maps in threads, as network file systems answer slowly; asks for a block at a time, since each answer that is
    waited for takes a kilobyte and more."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), _BLOCK):
            yield from pool.map(function, items[start : start + _BLOCK])


def _file_state(path: str) -> tuple:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)  # a dangling link: named when it is read
    return (status.st_size, status.st_mtime_ns)


@dataclasses.dataclass(frozen=True)
class Look:
    """What the headers of all images say.

    Attributes:
        good: Pairs that can be converted, as far as headers tell.
        unreadable: {`key`, `hazy`, `clear`, `reason`} of pairs with an image that cannot even be opened.
        mismatched: One line for each pair of two sizes.
    """

    good: tuple
    unreadable: list
    mismatched: list


def look_at_headers(sources: Sources, *, hazy_dir, gt_dir) -> Look:
    """Opens every image without decoding it."""

    def side(folder, name):
        try:
            return image_io.read_size(os.path.join(folder, name), name=name)
        except HazeHealError as error:
            return str(error)

    def look(pair):
        return side(hazy_dir, pair.hazy), side(gt_dir, pair.clear)

    good, unreadable, mismatched = [], [], []
    with image_io.strict():
        for pair, sizes in zip(sources.pairs, _in_threads(look, sources.pairs, threads=8), strict=True):
            reasons = [size for size in sizes if isinstance(size, str)]
            if reasons:
                unreadable.append(
                    {"key": pair.key, "hazy": pair.hazy, "clear": pair.clear, "reason": "; ".join(reasons)}
                )
                continue
            good.append(pair)
            if sizes[0] != sizes[1]:
                (h, w), (ch, cw) = sizes
                mismatched.append(f"{pair.hazy} is {w}x{h}, {pair.clear} is {cw}x{ch}")
    return Look(tuple(good), unreadable, mismatched)


def split_scenes(pairs, *, val_fraction: float, seed: int) -> set:
    """Chooses the scenes of the validation split.

    Scenes are taken in the order of a hash of (seed, scene), so that an image more or less moves few
    others; a scene is taken where that brings the number of images nearer to the fraction.

    Returns:
        The scenes; empty for a fraction of 0 or a single scene, otherwise never none and never all.
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


def read_val_keys(path, pairs) -> set:
    """Returns the scenes that a file lists, one key or scene a line; `#` begins a comment.

    Raises:
        UsageError: The file cannot be read, is empty, names unknown keys, or leaves nothing to train on.
    """
    try:
        # At line feeds alone: names may hold what `splitlines` takes for the end of a line.
        lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--val_keys={path} cannot be read ({error}); give a text file of keys") from error
    wanted = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not wanted:
        raise UsageError(f"--val_keys={path} lists no key; give one a line, or --val_fraction=0")
    scenes = {pair.key: pair.scene for pair in pairs} | {pair.scene: pair.scene for pair in pairs}
    unknown = [key for key in wanted if key not in scenes]
    if unknown:
        raise UsageError(
            f"--val_keys={path} lists {len(unknown)} unknown keys ({', '.join(unknown[:20])}); a key is the name of a "
            f"hazy file without suffix ({pairs[0].key}), a scene the name of a clear one ({pairs[0].scene})"
        )
    chosen = {scenes[key] for key in wanted}
    if chosen >= set(scenes.values()):
        raise UsageError(f"--val_keys={path} lists every scene; nothing is left to train on")
    return chosen


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Bytes of all records, seconds of one core's work, and the bytes of one source byte."""

    total_bytes: int
    seconds: float


def estimate(pairs, *, hazy_dir, gt_dir, options: pair_records.RecordOptions) -> Estimate:
    """Converts up to 8 pairs, spread over the set, and takes the others to be like them."""
    chosen = [pairs[i * len(pairs) // min(8, len(pairs))] for i in range(min(8, len(pairs)))]
    source_bytes, made_bytes, times = 0, 0, []
    for pair in chosen[:1] + chosen:  # the first one twice: it also loads the codecs
        start = time.perf_counter()
        try:
            with image_io.strict():
                made = list(
                    pair_records.make_records(pair, hazy_dir=hazy_dir, gt_dir=gt_dir, options=options)
                )
        except HazeHealError:  # named when its shard is written
            continue
        times.append(time.perf_counter() - start)
        source_bytes += pair.hazy_state[0] + pair.clear_state[0]
        made_bytes += sum(len(record.pair.hazy) + len(record.pair.clear) + 500 for record in made)
    everything = sum(pair.hazy_state[0] + pair.clear_state[0] for pair in pairs)
    if not times:
        return Estimate(everything, 0.0)
    return Estimate(
        int(everything * made_bytes / source_bytes), statistics.median(times[1:] or times) * len(pairs)
    )


def auto_shards(num_pairs: int, *, num_bytes: int) -> int:
    """Number of shards of a split: about `SHARD_BYTES` each, more in small sets, never more than pairs."""
    wanted = max(1, round(num_bytes / SHARD_BYTES), min(SMALL_SET_SHARDS, num_pairs // SMALL_SET_PAIRS))
    return min(wanted, num_pairs)


def plan_shards(pairs, *, name: str, split: str, num_shards: int, common: dict) -> list:
    """Cuts the pairs of one split into specs of equal numbers of pairs (give or take one)."""
    specs = []
    for number in range(num_shards):
        start, stop = (len(pairs) * n // num_shards for n in (number, number + 1))
        file = records.shard_name(name, split, number, num_shards)
        specs.append(shard.ShardSpec(file=file, pairs=tuple(pairs[start:stop]), **common))
    return specs


def default_name(output_dir) -> str:
    """The directory's name as TFDS wants data sets named: a letter, then letters, digits and `_`."""
    # realpath, because Path.resolve() raises where links lead in a circle (before Python 3.13)
    name = re.sub(r"[^a-z0-9]+", "_", os.path.basename(os.path.realpath(output_dir)).lower()).strip("_")
    name = name if name[:1].isalpha() else f"data_{name}".rstrip("_")
    return name[:NAME_LENGTH]
