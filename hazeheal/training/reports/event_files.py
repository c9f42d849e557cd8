"""TensorBoard event files as files: what is whole in them, and how steps are taken back out.

An event file is a TFRecord file of serialized `Event` protos and can only be appended to. A run that goes
on from a checkpoint would therefore show the steps after it twice. `rewind_to` rewrites such files:

    DIR/train/events.out.tfevents.1700000000.host.1.0.v2      the events up to the restored step
    DIR/set_aside/1/train/events.out.set_aside.1700000000...  the file as it was

The name without "tfevents" matters: TensorBoard looks for that word in every folder below its `--logdir`.
"""

import contextlib
import os
import pathlib
import shutil
import struct

import tensorflow as tf

from hazeheal.data.records import FRAME_FOOTER_BYTES, FRAME_HEADER_BYTES

SET_ASIDE = "set_aside"
PATTERN = "events.out.tfevents.*"


def whole_frames(path, *, start=0):
    """Counts the records of a TFRecord file that are there to their last byte; reads lengths alone.

    Args:
        path: The file.
        start: Byte at which a record begins.

    Returns:
        (number of whole records from `start` on, byte at which the last of them ends).
    """
    count, end = 0, start
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while end + FRAME_HEADER_BYTES + FRAME_FOOTER_BYTES <= size:
            file.seek(end)
            (length,) = struct.unpack("<Q", file.read(8))
            after = end + FRAME_HEADER_BYTES + length + FRAME_FOOTER_BYTES
            if after > size:
                break
            count, end = count + 1, after
    return count, end


def rewind_to(directory, *, step):
    """Takes the events past `step` out of TensorBoard's sight, so that each step will appear once.

    A file all of whose events are past the step is moved. A file that also holds earlier ones is replaced,
    in one rename, by a copy of those; before that the old bytes get a second name under `set_aside`. So a
    process killed at any moment leaves every file either as it was or as it shall be, and loses no event.
    What lies behind damage (a process was killed while writing) is treated as past the step: nothing can
    be read behind it. No writer may be open on these files.

    Args:
        directory: Holds event files, and one folder of them a split.
        step: The restored step; -1 where nothing was restored, which sets all events aside.

    Returns:
        The number of readable events that were set aside.

    Raises:
        OSError: A file could not be read, written or renamed; it is then still as it was.
    """
    directory = pathlib.Path(directory)
    splits = [path for path in sorted(directory.glob("*")) if path.is_dir() and path.name != SET_ASIDE]
    for leftover in directory.glob(f"{SET_ASIDE}/*/**/*.tmp"):  # of a process killed in here
        leftover.unlink()
    taken, target = 0, None
    for path in (path for split in [directory, *splits] for path in sorted(split.glob(PATTERN))):
        kept, later, damaged = _divide(path, step=step)
        if not later and not damaged:
            continue
        target = target or _next_folder(directory / SET_ASIDE)
        folder = target / path.parent.relative_to(directory)
        folder.mkdir(parents=True, exist_ok=True)
        old = folder / path.name.replace("tfevents", SET_ASIDE)
        if kept:
            new = old.with_name(old.name + ".tmp")
            _copy_ranges(path, kept, to=new)
            _second_name(path, old)
            os.replace(new, path)
        else:
            os.rename(path, old)
        taken += later
    return taken


def _divide(path, *, step):
    """Returns (byte ranges to keep, number of events past `step`, whether bytes are left over unread).

    The ranges are empty where nothing but the file's version would be kept.
    """
    ranges, position, earlier, later = [], 0, 0, 0
    # Small batches: an event with an image has some 100 kB. TFRecordDataset checks the CRCs; behind a
    # record that is torn or damaged it ends, as TensorBoard does.
    dataset = tf.data.TFRecordDataset(str(path)).ignore_errors().batch(64)
    for batch in dataset.as_numpy_iterator():
        for record in batch:
            end = position + FRAME_HEADER_BYTES + len(record) + FRAME_FOOTER_BYTES
            event = tf.compat.v1.Event.FromString(record)
            version = event.WhichOneof("what") == "file_version"
            if version or event.step <= step:
                earlier += not version
                if ranges and ranges[-1][1] == position:
                    ranges[-1] = (ranges[-1][0], end)
                else:
                    ranges.append((position, end))
            else:
                later += 1
            position = end
    return ranges if earlier else [], later, position != path.stat().st_size


def _copy_ranges(path, ranges, *, to):
    with open(path, "rb") as source, open(to, "wb") as target:
        for start, end in ranges:
            source.seek(start)
            while start < end:
                chunk = source.read(min(end - start, 1 << 24))
                target.write(chunk)
                start += len(chunk)
        target.flush()
        os.fsync(target.fileno())


def _second_name(path, name):
    with contextlib.suppress(OSError):  # some network file systems have no hard links
        os.link(path, name)
        return
    partial = name.with_name(name.name + ".copy.tmp")
    shutil.copy2(path, partial)
    os.replace(partial, name)


def _next_folder(parent):
    parent.mkdir(exist_ok=True)
    numbers = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
    return parent / str(1 + max(numbers, default=0))
