"""Plans a conversion before anything is written: pairs, checks, split, shards.

A plan depends only on the images and the options: not on the number of workers, on times, or on the directories' paths.
"""

import dataclasses
import hashlib
import itertools
import json.encoder
import os
import pathlib
from collections.abc import Sequence

from hazeheal.data import records
from hazeheal.data.images import image_io
from hazeheal.data.pairing import pairing
from hazeheal.data.pairing.pair_table import SPLITS, read_pair_table
from hazeheal.errors import DataError, HazeHealError, OptionNeededError, UsageError
from hazeheal.utils.garbage import no_cycle_collection
from tfrecords_tools.convert import pair_records, scenes
from tfrecords_tools.convert.options import Options
from tfrecords_tools.convert.pair_records import RecordOptions, SourcePair
from tfrecords_tools.convert.shard import ShardSpec

SHARD_BYTES = 128 * 2**20
# Small data sets get more and smaller shards, so that several processes have work.
SMALL_SET_SHARDS, SMALL_SET_PAIRS = 16, 16
_SAMPLED_PAIRS, _SAMPLED_BYTES = 8, 1 << 29  # scenes of hundreds of megapixels take as long to sample as to convert
_RECORD_OVERHEAD = 500  # bytes of a record besides its images
_STATE_BLOCK = 1000  # pairs


@dataclasses.dataclass(frozen=True)
class Sources:
    """The pairs of two directories, by file name, size and modification time. No image is opened.

    Attributes:
        pairs: The pairs, sorted by key.
        pairing: Result of `pair_folders`, with the images that are not paired.
        inputs: Hash of keys, names and file sizes. It is part of the manifest's fingerprint.
        state: Hash of the same and of modification times. It is part of the provenance only.
        state_blocks: As `state`, of each block of `_STATE_BLOCK` pairs, so that a few newer files are found.
        hazy_dir, gt_dir: The two directories.
        splits: {pair key: split} of a table that has them.
        assignments: Hash of the splits and scenes of such a table, or None.
        has_named_scenes: Whether the user named the scenes, by an expression or in a table.
    """

    pairs: tuple[SourcePair, ...]
    pairing: pairing.Pairing
    inputs: str
    state: str
    state_blocks: list[str]
    hazy_dir: pathlib.Path
    gt_dir: pathlib.Path
    splits: dict[str, str]
    assignments: str | None
    has_named_scenes: bool

    def block(self, number: int) -> tuple[SourcePair, ...]:
        """Returns the pairs of a block of `state_blocks`."""
        return self.pairs[number * _STATE_BLOCK : (number + 1) * _STATE_BLOCK]

    def with_joined_scenes(self) -> "Sources":
        """Returns the same with the scenes of equal clear files joined, which are read if their sizes are equal."""
        return dataclasses.replace(self, pairs=scenes.join_scenes(self.pairs))


@no_cycle_collection()
def find_sources(
    *,
    hazy_dir: str | pathlib.Path | None,
    gt_dir: str | pathlib.Path | None,
    rule: str,
    table: str | None = None,
    scene: str | None = None,
    prefix: str = "",
) -> Sources:
    """Pairs the files of two directories by a rule or a table, with every file's size and modification time.

    Args:
        hazy_dir, gt_dir: The directories. With a table they may be None, for the table's own.
        rule, table, scene: The flags `--pairing`, `--pairs` and `--scene`.
        prefix: What the keys of all pairs begin with.

    Raises the errors of `pair_folders`, `read_pair_table` and `label_scenes`.
    """
    splits, assignments, has_scenes = {}, None, scene is not None
    if table is None:
        paired = pairing.pair_folders(hazy_dir, gt_dir, rule=rule)
        hazy_dir, gt_dir = pathlib.Path(hazy_dir), pathlib.Path(gt_dir)
    else:
        read = read_pair_table(table, hazy_dir=hazy_dir, gt_dir=gt_dir)
        paired, splits, hazy_dir, gt_dir = read.pairing, read.splits, read.hazy_dir, read.gt_dir
        if scene is not None and read.has_scenes:
            raise UsageError(f"--pairs={table} has a column scene, which excludes --scene={scene}; give one of them")
        has_scenes |= read.has_scenes
        if splits or read.has_scenes:
            rows = [(pair.key, splits.get(pair.key), pair.scene) for pair in paired.pairs]
            assignments = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    names = paired.pairs if scene is None else scenes.label_scenes(paired.pairs, scene)
    hazy_base, clear_base = os.path.join(hazy_dir, ""), os.path.join(gt_dir, "")
    hazy_states, clear_states = (
        {name: state[:2] for name, state in states.items()} for states in (paired.hazy_states, paired.clear_states)
    )
    pairs = [
        SourcePair(
            prefix + pair.key,
            pair.hazy,
            pair.clear,
            pair.scene,
            hazy_base + pair.hazy,
            clear_base + pair.clear,
            hazy_states[pair.hazy],
            clear_states[pair.clear],
        )
        for pair in names
    ]
    inputs, state, blocks = _hash_states(pairs)
    return Sources(
        pairs=tuple(pairs),
        pairing=paired,
        inputs=inputs,
        state=state,
        state_blocks=blocks,
        hazy_dir=hazy_dir,
        gt_dir=gt_dir,
        splits=splits,
        assignments=assignments,
        has_named_scenes=has_scenes,
    )


def _hash_states(pairs: Sequence[SourcePair]) -> tuple[str, str, list[str]]:
    """Returns `inputs`, `state` and `state_blocks` of `Sources`."""
    inputs, state, blocks = hashlib.sha256(), hashlib.sha256(), []
    quote = json.encoder.encode_basestring_ascii  # as `json.dumps` of a text, in a fifth of the time
    for number, pair in enumerate(pairs):
        if number % _STATE_BLOCK == 0:
            blocks.append(hashlib.sha256())
        (hazy_size, hazy_time), (clear_size, clear_time) = pair.hazy_state, pair.clear_state
        # As JSON writes a list.
        names = f"[{quote(pair.key)}, {quote(pair.hazy)}, {quote(pair.clear)}, {hazy_size}, {clear_size}"
        inputs.update(f"{names}]".encode())
        timed = f"{names}, {hazy_time}, {clear_time}]".encode()
        state.update(timed)
        blocks[-1].update(timed)
    return inputs.hexdigest(), state.hexdigest(), [block.hexdigest() for block in blocks]


def plan_shards(
    options: Options,
    name: str,
    pairs: Sequence[SourcePair],
    given: dict[str, str],
    val_scenes: set[str] | None,
) -> tuple[dict[str, list[ShardSpec]], int]:
    """Returns the shards of each split, and the approximate size of all in bytes.

    `given` has the split of each pair by key, if a table has them.
    """
    if options.split:
        given = {pair.key: options.split for pair in pairs}
    if not given:
        if val_scenes is None:
            val_scenes = split_scenes(pairs, val_fraction=options.val_fraction, seed=options.seed)
            if not val_scenes and options.val_fraction:
                print("all pairs are of one scene: there is no validation split")
        given = {pair.key: "val" if pair.scene in val_scenes else "train" for pair in pairs}
        if "train" not in given.values():
            raise DataError("all pairs that can be read are in the validation split; nothing is left to train on")
    parts = {split: [pair for pair in pairs if given[pair.key] == split] for split in SPLITS}
    parts = {split: part for split, part in parts.items() if part}
    scenes.refuse_divided(parts)
    first, count = next((split, len(part)) for split, part in parts.items())
    if options.num_shards is not None and options.num_shards > count:
        raise UsageError(
            f"--num_shards={options.num_shards} is more than the {count} pairs of split {first}; give fewer"
        )
    total_bytes = estimate_bytes(pairs, options.record_options, skip_bad=options.skip_bad)
    splits = {}
    for split, part in parts.items():
        if options.num_shards is None:
            num_shards = auto_shards(len(part), num_bytes=total_bytes * len(part) // len(pairs))
        else:
            num_shards = max(1, round(options.num_shards * len(part) / count))
        splits[split] = [
            ShardSpec(
                output_dir=str(options.output_dir),
                file=records.shard_name(name, split, number, num_shards),
                pairs=shard_pairs,
                options=options.record_options,
            )
            for number, shard_pairs in enumerate(divide(part, num_shards))
        ]
    return splits, total_bytes


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
