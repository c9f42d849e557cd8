"""DehazeDataProcessor: order, replicas, resume, crops, damage, on a data set written here."""

import dataclasses
import io
import json
import logging
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from hazeheal import records
from hazeheal.data import augment, bad_records, readers
from hazeheal.data.order import shuffled_numbers
from hazeheal.data.processor import DehazeDataProcessor
from hazeheal.errors import DataError, UsageError

SIZES = [(40, 56), (32, 32), (48, 36)]  # (height, width), in turn


def number_picture(number, *, height, width, channels=3):
    """A picture that names its record and each of its own pixels: R = number, G = row, B = column."""
    rows, columns = np.mgrid[:height, :width]
    planes = [np.full_like(rows, number), 2 * rows, 2 * columns][:channels]
    return np.stack(planes, -1).astype(np.uint8)


def encode(picture, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, **options)
    return buffer.getvalue()


def clear_of(hazy):
    """The clear picture of these sets: the hazy one and a constant, so that a shift between them shows."""
    return hazy + np.array([50, 60, 70], np.uint8)


def make_pair(number, form="PNG"):
    height, width = SIZES[number % len(SIZES)]
    hazy = number_picture(number, height=height, width=width)
    options = {"quality": 95} if form == "JPEG" else {}
    return records.Pair(
        key=f"é{number:03d}",
        hazy=encode(hazy, form, **options),
        clear=encode(clear_of(hazy), form, **options),
        height=height,
        width=width,
        hazy_source=f"{number:03d}_hazy.png",
        clear_source=f"{number:03d}_GT.png",
    )


def write_dataset(directory, pairs, *, shards=3, split="train", name="tiny"):
    """Writes `pairs` as the conversion does, with TensorFlow's own record writer."""
    directory = pathlib.Path(directory)
    directory.mkdir(exist_ok=True)
    rows, lines, listed = [], [], []
    for shard, chunk in enumerate(np.array_split(np.arange(len(pairs)), shards)):
        path = directory / records.shard_name(name, split, shard, shards)
        offset = 0
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i in chunk:
                payload = records.serialize(pairs[i])
                writer.write(payload)
                start, crc = offset + records.FRAME_HEADER_BYTES, records.zlib.crc32(payload)
                rows.append((shard, start, len(payload), crc, pairs[i].height, pairs[i].width, 20.0))
                offset = start + len(payload) + records.FRAME_FOOTER_BYTES
                source = {"key": pairs[i].key, "hazy": pairs[i].hazy_source, "clear": pairs[i].clear_source}
                lines.append(json.dumps(source))
        data = path.read_bytes()
        assert len(data) == offset
        listed.append(
            {"file": path.name, "records": len(chunk), "bytes": offset, "sha256": records.sha256(data)}
        )
    index, sources = records.index_name(name, split), records.sources_name(name, split)
    np.save(directory / index, np.array(rows, records.INDEX_DTYPE))
    (directory / sources).write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = {"schema": records.SCHEMA_VERSION, "name": name, "options": {}}
    manifest["splits"] = {
        split: {
            "records": len(pairs),
            "shards": listed,
            "index": index,
            "index_sha256": records.sha256((directory / index).read_bytes()),
            "sources": sources,
            "sources_sha256": records.sha256((directory / sources).read_bytes()),
        }
    }
    manifest["fingerprint"] = records.fingerprint(manifest)
    (directory / records.MANIFEST).write_text(json.dumps(manifest))
    return directory


COUNT = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten PNG pairs of three sizes in three shards; the smallest is 32x32."""
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", [make_pair(i) for i in range(COUNT)])


def take(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def assert_equal(a, b):
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])


def run_python(code):
    """What `code` prints, run by a Python of its own that is killed after two minutes."""
    root = pathlib.Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def joined(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


# ---------------------------------------------------------------------------------------------- order


def test_batches_are_crops_of_the_pairs_they_name(data):
    dataset = DehazeDataProcessor(data, batch_size=4, crop_size=24, seed=3).dataset()
    assert dataset.element_spec["hazy"] == tf.TensorSpec([4, 24, 24, 3], tf.uint8)
    assert dataset.element_spec["number"] == tf.TensorSpec([4], tf.int64)
    for batch in take(dataset, 10):
        for hazy, clear, number in zip(batch["hazy"], batch["clear"], batch["number"], strict=True):
            assert (hazy[..., 0] == number).all()
            np.testing.assert_array_equal(clear, clear_of(hazy))
            # All pixels of one 24x24 window, each once, whichever way it is turned.
            rows, columns = np.unique(hazy[..., 1]) // 2, np.unique(hazy[..., 2]) // 2
            assert len(rows) == len(columns) == 24 == np.ptp(rows) + 1 == np.ptp(columns) + 1
            height, width = SIZES[number % len(SIZES)]
            assert rows[-1] < height and columns[-1] < width


def test_every_pair_once_an_epoch_with_batches_across_epochs(data):
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16)
    assert processor.num_pictures == COUNT
    seen = np.concatenate([batch["number"] for batch in take(processor.dataset(), 15)])  # 6 epochs, 60 pairs
    epochs = seen.reshape(6, COUNT)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(COUNT), (6, 1)))
    assert len({epoch.tobytes() for epoch in epochs}) == 6


def test_order_differs_by_seed_and_is_the_documented_function(data):
    first = {}
    for seed in (0, 1, 256, -1, 2**62):
        processor = DehazeDataProcessor(data, batch_size=5, crop_size=16, seed=seed)
        numbers = np.concatenate([batch["number"] for batch in take(processor.dataset(7), 4)])
        expected = shuffled_numbers(tf.range(35, 55, dtype=tf.int64), seed=seed, count=COUNT)
        np.testing.assert_array_equal(numbers, expected)
        first[seed] = numbers.tobytes()
    assert len(set(first.values())) == 5


def test_equal_arguments_give_equal_batches_whatever_the_workers(data):
    batches = [
        take(DehazeDataProcessor(data, batch_size=4, crop_size=16, seed=9, workers=workers).dataset(2), 12)
        for workers in (1, 4, 4)
    ]
    assert_equal(batches[0], batches[1])
    assert_equal(batches[1], batches[2])


# ------------------------------------------------------------------------------------------- replicas


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_share_the_same_global_batches(data, replicas):
    whole = take(DehazeDataProcessor(data, batch_size=4, crop_size=16).dataset(), 6)
    parts = take(
        DehazeDataProcessor(data, batch_size=4, crop_size=16, num_replicas=replicas).dataset(), 6 * replicas
    )
    assert all(len(part["number"]) == 4 // replicas for part in parts)
    assert_equal(whole, [joined(parts[i : i + replicas]) for i in range(0, len(parts), replicas)])


@pytest.mark.parametrize("local", [range(0, 1), range(2, 4), [1, 3]])
def test_local_replicas_get_their_part(data, local):
    options = dict(batch_size=8, crop_size=16, num_replicas=4)
    everything = take(DehazeDataProcessor(data, **options).dataset(3), 12)
    part = take(DehazeDataProcessor(data, local_replicas=local, **options).dataset(3), 3 * len(local))
    assert_equal(part, [everything[4 * step + replica] for step in range(3) for replica in local])


def test_resume_is_a_skip(data):
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, num_replicas=2)
    assert_equal(take(processor.dataset(7), 6), take(processor.dataset().skip(7 * 2), 6))


def test_far_steps_start_at_once_and_do_not_overflow(data):
    processor = DehazeDataProcessor(data, batch_size=6, crop_size=16, seed=2**63 - 1, num_replicas=2)
    step = 10**15
    numbers = np.concatenate([batch["number"] for batch in take(processor.dataset(step), 2)])
    positions = tf.range(step * 6, step * 6 + 6, dtype=tf.int64)
    np.testing.assert_array_equal(numbers, shuffled_numbers(positions, seed=2**63 - 1, count=COUNT))


def test_one_pair_serves_a_larger_batch(tmp_path):
    data = write_dataset(tmp_path / "one", [make_pair(0)], shards=1)
    batches = take(DehazeDataProcessor(data, batch_size=8, crop_size=16).dataset(), 4)
    assert all((batch["number"] == 0).all() for batch in batches)
    assert len({picture.tobytes() for batch in batches for picture in batch["hazy"]}) > 16


def test_feeds_a_mirrored_strategy(data):
    """Two CPU replicas of one process; in a process of its own, as devices are split once."""
    code = f"""
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from hazeheal.data.processor import DehazeDataProcessor
make = lambda n: DehazeDataProcessor({str(data)!r}, batch_size=4, crop_size=16, num_replicas=n).dataset(5)
iterator = iter(strategy.distribute_datasets_from_function(lambda context: make(2)))
for whole in make(1).take(3):
    parts = strategy.experimental_local_results(next(iterator))
    for name in ("hazy", "clear", "number"):
        found = tf.concat([part[name] for part in parts], 0)
        tf.debugging.assert_equal(found, whole[name])
print("equal")
"""
    assert run_python(code).split()[-1:] == ["equal"]


# --------------------------------------------------------------------------------------- augmentation


def test_windows_and_orientations_cover_everything(data):
    processor = DehazeDataProcessor(data, batch_size=50, crop_size=32, seed=1)
    batch = joined(take(processor.dataset(), 24))  # 1200 pairs
    corners, orientations = set(), np.zeros((2, 2, 2), int)
    for hazy, number in zip(batch["hazy"], batch["number"], strict=True):
        plane = hazy[..., 1:].astype(int) // 2  # (row, column) in the picture, at each place
        transposed = int(plane[0, 0, 0] == plane[0, 1, 0])  # 1: the row is kept along a row, as it was
        orientations[
            transposed, int(plane[0, 0, 0] < plane[-1, -1, 0]), int(plane[0, 0, 1] < plane[-1, -1, 1])
        ] += 1
        if number % 3 == 0:  # 40 x 56: 9 x 25 windows
            corners.add((plane[..., 0].min(), plane[..., 1].min()))
    assert corners <= {(y, x) for y in range(9) for x in range(25)}
    assert {y for y, _ in corners} == set(range(9)) and {x for _, x in corners} == set(range(25))
    # Eight symmetries, 150 expected of each; five standard deviations are 57.
    assert orientations.min() > 90 and orientations.max() < 210, orientations


def test_crop_of_the_whole_picture_and_without_augmentation(data):
    plain = DehazeDataProcessor(data, batch_size=5, crop_size=32, flip=False, rot90=False)
    for batch in take(plain.dataset(), 6):
        for hazy, number in zip(batch["hazy"], batch["number"], strict=True):
            y, x = hazy[0, 0, 1] // 2, hazy[0, 0, 2] // 2
            height, width = SIZES[number % 3]
            expected = number_picture(number, height=height, width=width)[y : y + 32, x : x + 32]
            np.testing.assert_array_equal(hazy, expected)


def test_an_epoch_sees_new_crops(data):
    processor = DehazeDataProcessor(data, batch_size=COUNT, crop_size=16)
    first, second = take(processor.dataset(), 2)
    crops = [{n: p.tobytes() for n, p in zip(b["number"], b["hazy"], strict=True)} for b in (first, second)]
    assert sum(crops[0][number] == crops[1][number] for number in range(COUNT)) <= 1


@pytest.mark.parametrize("form", ["color", "gray", "full_chroma"])
def test_jpeg_crops_equal_pillow_pixel_by_pixel(tmp_path, form):
    """Wherever the window lies, also where it cuts the decoder's blocks of 16x16."""
    rng = np.random.default_rng(0)
    pairs, pixels = [], []
    for number in range(4):
        smooth = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).resize((75, 53), Image.BICUBIC)
        options = {"subsampling": 0} if form == "full_chroma" else {}
        encoded = encode(np.asarray(smooth.convert("L") if form == "gray" else smooth), "JPEG", **options)
        pixels.append(np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))
        name = f"{number}.jpg"
        pairs.append(records.Pair(str(number), encoded, encoded, 53, 75, name, name))
    data = write_dataset(tmp_path / "jpeg", pairs, shards=2)
    processor = DehazeDataProcessor(data, batch_size=20, crop_size=21, flip=False, rot90=False)
    for batch in take(processor.dataset(), 10):
        for hazy, clear, number in zip(batch["hazy"], batch["clear"], batch["number"], strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(pixels[number], (21, 21, 3))
            equal = (windows[:, :, 0] == hazy).all(axis=(2, 3, 4))
            assert equal.sum() == 1
            np.testing.assert_array_equal(hazy, clear)
    for element in processor.evaluation_dataset().as_numpy_iterator():
        np.testing.assert_array_equal(element["hazy"], pixels[element["number"]])


# ----------------------------------------------------------------------------------------- evaluation


def test_evaluation_gives_whole_pictures_in_order(data):
    dataset = DehazeDataProcessor(data, batch_size=1).evaluation_dataset()
    assert dataset.element_spec["hazy"] == tf.TensorSpec([None, None, 3], tf.uint8)
    elements = list(dataset.as_numpy_iterator())
    assert [element["number"] for element in elements] == list(range(COUNT))
    for number, element in enumerate(elements):
        height, width = SIZES[number % 3]
        expected = number_picture(number, height=height, width=width)
        np.testing.assert_array_equal(element["hazy"], expected)
        np.testing.assert_array_equal(element["clear"], clear_of(expected))


def test_evaluation_is_shared_between_replicas(data):
    processor = DehazeDataProcessor(data, batch_size=1)
    found = [
        [int(element["number"]) for element in processor.evaluation_dataset(replica=r, replicas=4)]
        for r in range(4)
    ]
    assert found == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]
    with pytest.raises(UsageError, match="replica=4 is not one of 4 replicas; use 0 to 3"):
        processor.evaluation_dataset(replica=4, replicas=4)


# -------------------------------------------------------------------------------------------- readers


def test_both_readers_give_the_same_batches(data):
    batches = [
        take(DehazeDataProcessor(data, batch_size=4, crop_size=16, reader=kind).dataset(), 8)
        for kind in ("auto", "local", "gfile")
    ]
    assert_equal(batches[0], batches[1])
    assert_equal(batches[0], batches[2])


def test_remote_shards_are_read_through_gfile(data):
    split = records.open_split(data, "train")
    assert readers.open_reader(split).kind == "local"
    remote = []
    for shard in split.shards:
        tf.io.gfile.copy(str(shard), f"ram://shards/{shard.name}", overwrite=True)
        remote.append(pathlib.PurePosixPath(f"ram://shards/{shard.name}"))  # pathlib drops one slash
    reader = readers.open_reader(dataclasses.replace(split, shards=tuple(remote)))
    assert reader.kind == "gfile"
    local = readers.open_reader(split, kind="local")
    assert reader.read_many(range(COUNT)).tolist() == local.read_many(range(COUNT)).tolist()


def test_many_shards_need_few_descriptors(tmp_path):
    import resource

    data = write_dataset(tmp_path / "many", [make_pair(i) for i in range(200)], shards=200)
    processor = DehazeDataProcessor(data, batch_size=50, crop_size=16)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 40, hard))
    try:
        seen = np.concatenate([batch["number"] for batch in take(processor.dataset(), 4)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(seen) == list(range(200))


def test_garbage_collected_during_a_read_stops_nothing(data):
    """A read in which Python collects an iterator that was given up, whose own reads are still running."""
    code = f"""
import gc, time
from hazeheal.data import readers
from hazeheal.data.processor import DehazeDataProcessor
gc.disable()
read = readers.RecordReader.read
def slow(self, number):
    if self is not collecting._reader:
        time.sleep(0.2)
    elif todo:
        todo.pop()
        gc.collect()
    return read(self, number)
readers.RecordReader.read = slow
for kind in ("local", "gfile"):
    make = lambda: DehazeDataProcessor({str(data)!r}, batch_size=4, crop_size=16, reader=kind)
    given_up, collecting, todo = make(), make(), ["collect"]
    cycle = [iter(given_up.dataset())]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    print(len(list(collecting.dataset().take(20))))
"""
    assert run_python(code).split()[-2:] == ["20", "20"]


# --------------------------------------------------------------------------------------------- damage


def first_error(processor, dataset):
    """Reads until the dataset fails; returns what the processor makes of the error."""
    with pytest.raises(tf.errors.OpError) as caught:
        take(dataset, 50)
    return processor.translate_error(caught.value)


def flip_byte(data, number):
    split = records.open_split(data, "train")
    row = split.index[number]
    with open(split.shards[row["shard"]], "r+b") as file:
        file.seek(int(row["offset"]) + int(row["length"]) // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    return split.shards[row["shard"]]


@pytest.mark.parametrize("kind", ["local", "gfile"])
@pytest.mark.parametrize("evaluation", [False, True])
def test_a_flipped_bit_is_named(tmp_path, kind, evaluation):
    data = write_dataset(tmp_path / "damaged", [make_pair(i) for i in range(COUNT)])
    shard = flip_byte(data, 5)
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, reader=kind)
    error = first_error(processor, processor.evaluation_dataset() if evaluation else processor.dataset())
    assert isinstance(error, DataError)
    for part in (
        str(shard),
        "record 1 (number 5 of split train)",
        "'é005'",
        "005_hazy.png",
        "005_GT.png",
        "CRC32",
    ):
        assert part in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["local", "gfile"])
@pytest.mark.parametrize("how", ["truncated", "gone"])
def test_a_shard_that_vanishes_while_training_is_named(tmp_path, kind, how):
    data = write_dataset(tmp_path / "damaged", [make_pair(i) for i in range(COUNT)])
    processor = DehazeDataProcessor(data, batch_size=2, crop_size=16, reader=kind)
    iterator = iter(processor.dataset())
    next(iterator)
    shard = data / "tiny-train.tfrecord-00002-of-00003"
    if how == "gone":
        shard.unlink()
    else:
        with open(shard, "r+b") as file:
            file.truncate(100)
    with pytest.raises(tf.errors.OpError) as caught:
        for _ in range(30):
            next(iterator)
    error = processor.translate_error(caught.value)
    assert isinstance(error, DataError) and str(shard) in str(error) and "_hazy.png" in str(error)


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path):
    # Its CRC is right: the bytes were broken before they were written.
    pairs = [make_pair(i, "JPEG") for i in range(COUNT)]
    pairs[6] = dataclasses.replace(pairs[6], clear=pairs[6].clear[:300])
    data = write_dataset(tmp_path / "broken", pairs)
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16)
    for dataset in (processor.dataset(), processor.evaluation_dataset()):
        error = first_error(processor, dataset)
        assert "cannot be decoded" in str(error) and "006_GT.png" in str(error) and "\n" not in str(error)


def test_a_picture_of_another_size_than_the_index_is_named(tmp_path):
    pairs = [make_pair(i) for i in range(COUNT)]
    pairs[4] = dataclasses.replace(pairs[4], width=30)
    data = write_dataset(tmp_path / "sizes", pairs)
    processor = DehazeDataProcessor(data, batch_size=4)
    error = first_error(processor, processor.evaluation_dataset())
    assert "number 4 of split train" in str(error) and "size" in str(error)


def test_errors_of_others_are_left_alone(data):
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16)
    take(processor.dataset(), 2)
    assert processor.translate_error(ValueError("x")) is None
    assert processor.translate_error(tf.errors.ResourceExhaustedError(None, None, "out of memory")) is None


# -------------------------------------------------------------------------- damaged records are skipped

SKIP = {"on_bad_record": "skip"}


@pytest.fixture
def warnings():
    """A function that returns the lines of the logger "hazeheal" so far."""
    lines, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())

    def so_far():
        assert bad_records.flush(60)
        return list(lines)

    logging.getLogger("hazeheal").addHandler(handler)
    yield so_far
    logging.getLogger("hazeheal").removeHandler(handler)


@pytest.fixture
def damage(tmp_path):
    """damage([5, 7]) writes the ten pairs and flips a byte in records 5 and 7."""

    def make(numbers, count=COUNT):
        data = write_dataset(tmp_path / "damaged", [make_pair(i) for i in range(count)])
        for number in numbers:
            flip_byte(data, number)
        return data

    return make


def in_order(positions, seed=0):
    return shuffled_numbers(tf.constant(positions, tf.int64), seed=seed, count=COUNT).numpy().tolist()


def oracle(bad, steps, *, seed=0, batch_size=4, size=16):
    """The batches of these steps where the records `bad` are damaged, one example after the other."""
    batches = []
    for step in steps:
        batch = {"hazy": [], "clear": [], "number": []}
        for position in range(step * batch_size, (step + 1) * batch_size):
            number = next(n for n in in_order(range(position, position + 17), seed) if n not in bad)
            height, width = SIZES[number % len(SIZES)]
            y, x = augment.random_crop_window(height, width, size=size, seed=[seed, 2 * position])
            whole = number_picture(number, height=height, width=width)
            hazy = whole[int(y) : int(y) + size, int(x) : int(x) + size]
            hazy, clear = augment.flip_rot90(hazy, clear_of(hazy), seed=[seed, 2 * position + 1])
            for name, value in (("hazy", hazy), ("clear", clear), ("number", number)):
                batch[name].append(np.asarray(value))
        batches.append({name: np.stack(values) for name, values in batch.items()})
    return batches


def test_the_oracle_gives_the_batches_of_whole_records(data):
    for options in ({}, SKIP):
        processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, seed=3, **options)
        assert_equal(take(processor.dataset(1), 6), oracle((), range(1, 7), seed=3))
        assert processor.bad_records == ()


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("start", [0, 7])
def test_the_next_whole_record_takes_the_place_of_a_damaged_one(damage, replicas, start):
    # Positions 8 to 10, across the end of an epoch and in one batch; the record of 9 is that of 10, too.
    bad = set(in_order([8, 9, 10]))
    assert len(bad) == 2
    options = dict(batch_size=4, crop_size=16, num_replicas=replicas, **SKIP)
    processor = DehazeDataProcessor(damage(bad), **options)
    parts = take(processor.dataset(start), 8 * replicas)
    batches = [joined(parts[i : i + replicas]) for i in range(0, len(parts), replicas)]
    assert_equal(batches, oracle(bad, range(start, start + 8)))
    assert not bad & set(joined(batches)["number"])
    assert processor.bad_records == tuple(sorted(bad))


def test_local_replicas_find_the_same_substitutes(damage):
    data = damage([2, 3, 4])
    options = dict(batch_size=8, crop_size=16, num_replicas=4, **SKIP)
    everything = take(DehazeDataProcessor(data, **options).dataset(3), 12)
    for replica in range(4):
        part = take(DehazeDataProcessor(data, local_replicas=[replica], **options).dataset(3), 3)
        assert_equal(part, everything[replica::4])


@pytest.mark.parametrize("kind", ["local", "gfile"])
@pytest.mark.parametrize("how", ["truncated", "gone"])
def test_a_shard_that_vanishes_while_training_is_skipped(damage, kind, how):
    data = damage([])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, reader=kind, **SKIP)
    iterator = iter(processor.dataset())
    assert_equal([{name: value.numpy() for name, value in next(iterator).items()}], oracle((), [0]))
    shard = data / "tiny-train.tfrecord-00001-of-00003"
    if how == "gone":
        shard.unlink()
    else:
        with open(shard, "r+b") as file:
            file.truncate(100)
    lost = {4, 5, 6}
    seen = [set(next(iterator)["number"].numpy()) for _ in range(60)]
    assert not lost & set.union(*seen[40:])  # those before may have been read already
    assert processor.bad_records == tuple(sorted(lost))
    assert_equal(take(processor.dataset(2), 6), oracle(lost, range(2, 8)))


@pytest.mark.parametrize(
    ("bad", "numbers"),
    [
        ([5], [0, 1, 2, 3, 4, 6, 6, 7, 8, 9]),
        ([3, 4, 9], [0, 1, 2, 5, 5, 5, 6, 7, 8, 0]),
        (range(1, 10), [0] * 10),
    ],
)
def test_evaluation_takes_the_next_whole_record(damage, bad, numbers):
    processor = DehazeDataProcessor(damage(bad), batch_size=1, **SKIP)
    elements = list(processor.evaluation_dataset().as_numpy_iterator())
    assert [element["number"] for element in elements] == numbers
    for number, element in zip(numbers, elements, strict=True):
        height, width = SIZES[number % 3]
        hazy = number_picture(number, height=height, width=width)
        np.testing.assert_array_equal(element["hazy"], hazy)
        np.testing.assert_array_equal(element["clear"], clear_of(hazy))
    assert processor.bad_records == tuple(bad)
    shared = [
        [int(element["number"]) for element in processor.evaluation_dataset(replica=r, replicas=4)]
        for r in range(4)
    ]
    assert shared == [numbers[r::4] for r in range(4)]


@pytest.mark.parametrize("kind", ["local", "gfile"])
def test_where_nothing_is_whole_the_first_is_named(damage, kind, warnings):
    processor = DehazeDataProcessor(damage(range(COUNT)), batch_size=4, crop_size=16, reader=kind, **SKIP)
    for dataset, first in ((processor.dataset(), in_order([0])[0]), (processor.evaluation_dataset(), 0)):
        error = first_error(processor, dataset)
        assert isinstance(error, DataError)
        message = str(error)
        assert message.startswith("damaged record: ")
        assert f"(number {first} of split train), key 'é{first:03d}', made of {first:03d}_hazy.png" in message
        assert message.endswith("; 9 others were tried in its place, and none is whole")
        assert "\n" not in message
    assert processor.bad_records == tuple(range(COUNT))
    assert len(warnings()) == COUNT
    assert all(line.startswith("not skipped, as no whole one follows: ") for line in warnings())


def test_sixteen_others_are_tried(damage):
    data = damage(range(3, 19), count=22)
    dataset = DehazeDataProcessor(data, batch_size=1, **SKIP).evaluation_dataset()
    numbers = [int(element["number"]) for element in dataset]
    assert numbers == [0, 1, 2] + [19] * 17 + [20, 21]
    flip_byte(data, 19)
    processor = DehazeDataProcessor(data, batch_size=1, **SKIP)
    error = first_error(processor, processor.evaluation_dataset())
    assert "(number 3 of split train)" in str(error) and "; 16 others were tried in its place" in str(error)


def test_each_damaged_record_is_logged_once(damage, warnings):
    data = damage([1, 5])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, num_replicas=2, **SKIP)
    take(processor.dataset(), 40)  # eight epochs
    take(processor.dataset(3), 4)
    list(processor.evaluation_dataset())
    first, second = sorted(warnings())
    assert first.startswith(
        f"skipped: damaged record: {data / 'tiny-train.tfrecord-00000-of-00003'}, record 1 "
    )
    assert "key 'é001', made of 001_hazy.png and 001_GT.png: CRC32 is " in first
    assert first.endswith("; the next whole one takes its place")
    assert "record 1 (number 5 of split train), key 'é005'" in second
    assert all("\n" not in line for line in warnings())


def test_a_restored_count_is_not_logged_again(damage, warnings):
    data = damage([1, 5])
    before = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    take(before.dataset(), 5)
    assert before.bad_records == (1, 5) and len(warnings()) == 2
    flip_byte(data, 7)
    resumed = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    resumed.note_bad_records(json.loads(json.dumps(before.bad_records)))
    assert resumed.bad_records == (1, 5)
    assert_equal(take(resumed.dataset(5), 6), oracle({1, 5, 7}, range(5, 11)))
    assert resumed.bad_records == (1, 5, 7)
    (line,) = warnings()[2:]
    assert "'é007'" in line
    for number in (-1, COUNT):
        with pytest.raises(UsageError, match=f"bad record {number} is none of the 10 records"):
            resumed.note_bad_records([2, number])
    assert resumed.bad_records == (1, 5, 7)


def test_a_record_that_is_whole_again_is_used_again(damage):
    data = damage([1, 5])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    assert_equal(take(processor.dataset(), 5), oracle({1, 5}, range(5)))
    flip_byte(data, 5)
    assert_equal(take(processor.dataset(), 5), oracle({1}, range(5)))
    assert processor.bad_records == (1, 5)


def test_one_damaged_pair_alone_has_no_substitute(tmp_path):
    data = write_dataset(tmp_path / "one", [make_pair(0)], shards=1)
    flip_byte(data, 0)
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    assert "; 0 others were tried in its place" in str(first_error(processor, processor.dataset()))


def test_what_skipping_cannot_help_is_still_named(tmp_path):
    pairs = [make_pair(i, "JPEG") for i in range(COUNT)]
    pairs[6] = dataclasses.replace(pairs[6], clear=pairs[6].clear[:300])  # of the right CRC
    data = write_dataset(tmp_path / "broken", pairs)
    flip_byte(data, 5)
    for make in (
        DehazeDataProcessor.dataset,
        DehazeDataProcessor.evaluation_dataset,
        # Number 5 alone, whose place the broken one takes.
        lambda processor: processor.evaluation_dataset(replica=5, replicas=6),
    ):
        processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
        error = first_error(processor, make(processor))
        assert "cannot be decoded" in str(error) and "006_GT.png" in str(error) and "\n" not in str(error)


def test_errors_of_others_are_left_alone_though_records_are_damaged(damage):
    data = damage([1, 5])
    processor = DehazeDataProcessor(data, batch_size=4, crop_size=16, **SKIP)
    take(processor.dataset(), 5)
    (data / "tiny-train.tfrecord-00001-of-00003").unlink()
    assert processor.translate_error(tf.errors.ResourceExhaustedError(None, None, "out of memory")) is None


def test_garbage_collected_while_a_warning_is_logged_stops_nothing(data):
    """A handler in which Python collects an iterator that was given up, whose own reads find damage."""
    code = f"""
import gc, logging, time
from hazeheal.data import bad_records, readers
from hazeheal.data.processor import DehazeDataProcessor
from hazeheal.errors import DataError
gc.disable()
read = readers.RecordReader.read
def slow(self, number):
    if self is given_up._reader:
        time.sleep(0.1)
    if number % 2:
        raise DataError(f"record {{number}}")
    return read(self, number)
readers.RecordReader.read = slow
class Collecting(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
        if todo:
            todo.pop()
            gc.collect()
lines, todo = [], []
logging.getLogger("hazeheal").addHandler(Collecting())
make = lambda: DehazeDataProcessor({str(data)!r}, batch_size=2, crop_size=16, on_bad_record="skip")
given_up, collecting = make(), make()
cycle = [iter(given_up.dataset())]
next(cycle[0])
cycle.append(cycle)
del cycle
todo.append("collect")
print(len(list(collecting.dataset().take(20))), bad_records.flush(60), todo, len(collecting.bad_records))
"""
    assert run_python(code).splitlines()[-1] == "20 True [] 5"


# --------------------------------------------------------------------------------------------- refusal


def test_a_batch_that_does_not_divide_is_refused(data):
    with pytest.raises(UsageError) as caught:
        DehazeDataProcessor(data, batch_size=5, crop_size=16, num_replicas=2)
    assert str(caught.value) == "batch_size=5 does not divide over 2 replicas; use 4 or 6"
    with pytest.raises(UsageError, match=r"batch_size=1 does not divide over 2 replicas; use 2$"):
        DehazeDataProcessor(data, batch_size=1, crop_size=16, num_replicas=2)


def test_a_crop_larger_than_a_picture_is_refused(data):
    DehazeDataProcessor(data, batch_size=4, crop_size=32)
    with pytest.raises(UsageError) as caught:
        DehazeDataProcessor(data, batch_size=4, crop_size=33)
    message = str(caught.value)
    assert message.startswith("crop_size=33 is larger than the smallest picture, 32x32 pixels: ")
    assert "'é001'" in message and message.endswith("use crop_size=32 or less")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(batch_size=0), "batch_size=0"),
        (dict(batch_size=2.0), "batch_size=2.0"),
        (dict(crop_size=0), "crop_size=0"),
        (dict(workers=0), "workers=0"),
        (dict(seed=2**63), "seed=9223372036854775808"),
        (dict(seed="1"), "seed='1'"),
        (dict(reader="mmap"), "auto, local, gfile"),
        (dict(on_bad_record="ignore"), "on_bad_record='ignore' is not known; use one of fail, skip"),
        (dict(num_replicas=2, local_replicas=[2]), "from 0 to 1"),
        (dict(num_replicas=2, local_replicas=[]), "at least one"),
        (dict(num_replicas=2, local_replicas=[1, 0]), "ascending"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(data, options, message):
    with pytest.raises(UsageError, match=message):
        DehazeDataProcessor(data, **(dict(batch_size=4, crop_size=16) | options))


def test_refusals_of_the_datasets(data, tmp_path):
    with pytest.raises(UsageError, match="crop_size=None serves evaluation alone"):
        DehazeDataProcessor(data, batch_size=4).dataset()
    with pytest.raises(UsageError, match="start_step=-1"):
        DehazeDataProcessor(data, batch_size=4, crop_size=16).dataset(-1)
    with pytest.raises(DataError, match="no split 'val'"):
        DehazeDataProcessor(data, split="val", batch_size=4)
    with pytest.raises(DataError, match="hazeheal-tfrecords convert"):
        DehazeDataProcessor(tmp_path / "nothing", batch_size=4)
    empty = write_dataset(tmp_path / "empty", [], shards=1)
    with pytest.raises(DataError, match="holds no records"):
        DehazeDataProcessor(empty, batch_size=4)
