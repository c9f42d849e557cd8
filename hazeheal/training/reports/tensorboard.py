"""TensorBoard summaries of one replica group: scalars, images and text that never stop the training.

    writers = SummaryWriters("RUN/group_00/summaries")
    writers.rewind_to(step=restored)                  # before anything is written; -1: nothing restored
    writers.text("config", config_markdown(flat_config), step=restored)
    writers.scalars("train", {"gen_l1_loss": 0.12}, step=100)
    writers.images("val", hazy, restored, clear, step=100)
    writers.flush()                                         # before the checkpoint of that step is saved

TensorFlow's writer alone does not survive a full disk: a record larger than its buffer is lost without an
error, and the torn half that stays in the file hides all that is appended after it. So every write is
flushed and its records are counted in the file; on a failure the file is cut back to its last whole
record, and the next write opens a fresh one.
"""

import contextlib
import logging
import os
import pathlib
import time

import numpy as np
import tensorflow as tf

from hazeheal.training.reports import event_files
from hazeheal.training.reports.sample_sheets import side_by_side

_log = logging.getLogger("hazeheal")


class SummaryWriters:
    """Writes `directory/train` and `directory/val` (any other split likewise) for TensorBoard.

    Args:
        directory: The group's summaries folder, itself the split ""; made at the first write.
        max_images: At most so many images are written at a time.
        max_side: Images whose longer side has more pixels are shrunk to it.

    Attributes:
        failures: Number of calls whose summaries could not be written. The first one is logged.
    """

    def __init__(self, directory, *, max_images=4, max_side=256):
        for name, value in {"max_images": max_images, "max_side": max_side}.items():
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, and is {value}")
        self.directory = pathlib.Path(directory)
        self.failures = 0
        self._max_images = max_images
        self._max_side = max_side
        self._files = {}

    def scalars(self, split, values, *, step):
        """Writes `values` (dict of name to number; None is left out) at `step`."""
        values = {name: float(value) for name, value in values.items() if value is not None}

        def emit():
            for name, value in values.items():
                tf.summary.scalar(name, value)

        self._write(split, emit, events=len(values), step=step)

    def images(self, split, hazy, restored, clear, *, step):
        """Writes one image "hazy | restored | clear" for each triple, bounded in number and size.

        Args:
            split: "train" or "val".
            hazy, restored, clear: uint8 [N, H, W, 3], or lists of [H, W, 3] of differing sizes.
            step: The step.
        """
        count = min(len(hazy), len(restored), len(clear), self._max_images)
        rows = [side_by_side([hazy[i], restored[i], clear[i]], max_side=self._max_side) for i in range(count)]

        def emit():
            # A tag an image: one summary holds only images of one size.
            for number, row in enumerate(rows):
                tf.summary.image(f"hazy_restored_clear/{number:02d}", row[np.newaxis])

        self._write(split, emit, events=len(rows), step=step)

    def text(self, name, markdown, *, step=0, split="train"):
        """Writes `markdown` under `name`; see `config_markdown`."""
        self._write(split, lambda: tf.summary.text(name, markdown), events=1, step=step)

    def protos(self, split, messages, *, step):
        """Writes `Summary` messages, such as those of `dashboards`; each holds one value."""

        def emit():
            for message in messages:
                tf.summary.experimental.write_raw_pb(message.SerializeToString())

        self._write(split, emit, events=len(messages), step=step)

    def holds(self, split) -> bool:
        """Whether `split` has event files."""
        return any((self.directory / split).glob(event_files.PATTERN))

    def flush(self):
        """Sees to it that what was written is on the disk (every write has already left this process)."""
        for split, file in list(self._files.items()):
            self._guard(split, file.sync)

    def close(self):
        """Closes the files; a later write opens fresh ones."""
        for split, file in list(self._files.items()):
            self._guard(split, file.close)
        self._files.clear()

    def rewind_to(self, step):
        """Takes the events past the restored step out of TensorBoard's sight.

        An event at the restored step itself stays: what is written at a step must be written before the
        checkpoint of that step is saved. See `event_files.rewind_to`.

        Args:
            step: The restored step; -1 where nothing was restored.

        Returns:
            Number of events set aside.
        """
        self.close()
        taken = []
        self._guard(None, lambda: taken.append(event_files.rewind_to(self.directory, step=step)))
        return sum(taken)

    def _write(self, split, emit, *, events, step):
        if not events:
            return

        def write():
            if split not in self._files:
                self._files[split] = _EventFile(self.directory / split)
            self._files[split].write(emit, events=events, step=step)

        self._guard(split, write)

    def _guard(self, split, action):
        try:
            action()
            return
        except (OSError, tf.errors.OpError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        file = self._files.pop(split, None)
        if file is not None:
            file.abandon()
        self.failures += 1
        if self.failures == 1:
            _log.warning(
                "TensorBoard summaries in %s could not be written (%s); training goes on, and later "
                "summaries are tried again without further warnings",
                self.directory,
                reason,
            )


class _EventFile:
    """One event file of which the last whole record is always known."""

    def __init__(self, directory):
        suffix = f".{time.time_ns():x}.v2"
        # Only our own flush writes, so that a failure is seen by the call that it belongs to.
        try:
            self._writer = tf.summary.create_file_writer(
                str(directory), max_queue=1_000_000, flush_millis=2**31 - 1, filename_suffix=suffix
            )
        except tf.errors.OpError:
            for path in directory.glob(f"*{suffix}"):  # else every try on a full disk leaves an empty file
                path.unlink()
            raise
        (self._path,) = directory.glob(f"*{suffix}")
        self._whole = 0

    def write(self, emit, *, events, step):
        with self._writer.as_default(step=step):
            emit()
        self._writer.flush()
        count, end = event_files.whole_frames(self._path, start=self._whole)
        expected = events + (self._whole == 0)  # a file begins with its version
        if count != expected or end != self._path.stat().st_size:
            raise OSError(f"{count} of {expected} events reached {self._path.name}: is the disk full?")
        self._whole = end

    def sync(self):
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self):
        self._writer.close()

    def abandon(self):
        """Closes the file and cuts it back to its last whole record; without one it is deleted."""
        with contextlib.suppress(OSError, tf.errors.OpError):
            self._writer.close()
        with contextlib.suppress(OSError):
            if self._whole:
                os.truncate(self._path, self._whole)
            else:
                self._path.unlink()


def config_markdown(flat):
    """Returns a flat dict as a Markdown table of two columns, in the order given."""

    def cell(value):
        text = " ".join(str(value).split("\n")).replace("|", "\\|")
        if not text.strip():
            return ""
        fence = "`"
        while fence in text:
            fence += "`"
        pad = " " if text[0] == "`" or text[-1] == "`" else ""
        return f"{fence}{pad}{text}{pad}{fence}"

    rows = [f"| {cell(key)} | {cell(value)} |" for key, value in flat.items()]
    return "\n".join(["| key | value |", "| --- | --- |", *rows])
