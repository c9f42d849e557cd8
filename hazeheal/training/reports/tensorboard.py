"""TensorBoard summaries of one replica group: scalars, images and text.

    writers = SummaryWriters("RUN/group_00/summaries")
    writers.rewind_to(restored_step)                        # before anything is written; -1: nothing was restored
    writers.text("config", config_markdown(flat_config), step=0)
    writers.scalars("train", {"gen_l1_loss": 0.12}, step=100)
    writers.images("val", hazy, restored, clear, step=100)
    writers.flush()                                         # before the checkpoint of that step is saved

The events are built from TensorBoard's protos and appended to files, without `tf.summary`: on a full disk its writer
loses events without an error, and leaves a torn one that hides all later ones.
"""

import logging
import os
import pathlib
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util import tensor_util

from hazeheal.data import tfrecord
from hazeheal.data.images import image_io
from hazeheal.training.reports.append import append
from hazeheal.training.reports.sample_sheets import side_by_side

_log = logging.getLogger("hazeheal")
_PATTERN = "events.out.tfevents.*"


class SummaryWriters:
    """Writes `directory/train` and `directory/val` (and any other split likewise) for TensorBoard.

    Summaries that cannot be written cost a warning, not the training.

    Args:
        directory: The group's summaries folder, which is itself the split "". It is created by the first write.
        max_images: The largest number of images written by one call of `images`.
        max_side: Images whose longer side has more pixels are shrunk to it.

    Raises:
        ValueError: `max_images` or `max_side` is less than 1.

    Attributes:
        failures: Number of calls whose summaries could not be written. The first one is logged.
    """

    def __init__(self, directory: str | os.PathLike, *, max_images: int = 4, max_side: int = 256):
        for name, value in {"max_images": max_images, "max_side": max_side}.items():
            if value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value}")
        self.directory = pathlib.Path(directory)
        self.failures = 0
        self._max_images = max_images
        self._max_side = max_side
        self._paths = {}
        self._restored_step = None

    def scalars(self, split: str, values: Mapping[str, float | None], *, step: int) -> None:
        """Writes `values` (name to number; None is left out) at `step`."""
        found = {name: float(value) for name, value in values.items() if value is not None}
        self.protos(split, [scalar_pb(name, value) for name, value in found.items()], step=step)

    def images(
        self,
        split: str,
        hazy: Sequence[np.ndarray],
        restored: Sequence[np.ndarray],
        clear: Sequence[np.ndarray],
        *,
        step: int,
    ) -> None:
        """Writes one image "hazy | restored | clear" per triple, under a tag of its own.

        Args:
            split: "train" or "val".
            hazy: uint8 [N, H, W, 3], or a list of [H, W, 3] of differing sizes.
            restored: Likewise.
            clear: Likewise.
            step: The step.
        """
        count = min(len(hazy), len(restored), len(clear), self._max_images)
        rows = [side_by_side([hazy[i], restored[i], clear[i]], max_side=self._max_side) for i in range(count)]
        messages = [_image_pb(f"hazy_restored_clear/{number:02d}", row) for number, row in enumerate(rows)]
        self.protos(split, messages, step=step)

    def text(self, name: str, markdown: str, *, step: int = 0, split: str = "train") -> None:
        """Writes `markdown` under `name`; see `config_markdown`."""
        self.protos(split, [text_pb(name, markdown)], step=step)

    def protos(self, split: str, messages: Iterable[Summary], *, step: int) -> None:
        """Writes `Summary` messages, such as those of `tensorboard_plugins`, at `step`."""
        now = time.time()
        events = [Event(wall_time=now, step=int(step), summary=message) for message in messages]
        if events:
            self._guard(lambda: self._write(split, events))

    def has_events(self, split: str) -> bool:
        """Returns whether `split` has event files that are not empty."""
        return any(path.stat().st_size for path in (self.directory / split).glob(_PATTERN))

    def flush(self) -> None:
        """Waits until the disk has everything that was written."""
        for path in self._paths.values():
            self._guard(lambda path=path: _sync(path))

    def rewind_to(self, step: int) -> None:
        """Makes TensorBoard drop all events after the restored step, from the next write on.

        Events at the restored step stay, so everything that belongs to a step must be written before the checkpoint
        of that step is saved. The dropped events are not lost: they stay in their files.

        Args:
            step: The restored step; -1 if nothing was restored.
        """
        self._paths.clear()
        self._restored_step = None if step < 0 else step
        if step < 0:
            self._guard(self._hide_all)

    def _hide_all(self):
        """Hides all event files from TensorBoard, which looks for "tfevents" in their names.

        A restart event is not enough: TensorBoard keeps the first plugin data of a tag, so the table of runs would
        show the hyperparameters of the discarded run.
        """
        for path in [*self.directory.glob(_PATTERN), *self.directory.glob(f"*/{_PATTERN}")]:
            path.rename(path.with_name(path.name.replace("tfevents", "set_aside")))

    def _write(self, split, events):
        if self._restored_step is not None:
            self._write_restart(self._restored_step + 1)
            self._restored_step = None
        self._append(split, events)

    def _write_restart(self, step):
        """Begins a new file in each split with an event that makes TensorBoard drop earlier events from `step` on."""
        start = Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START))
        for folder in sorted({path.parent for path in self.directory.glob(f"*/{_PATTERN}")}):
            # Twice: TensorBoard takes the first one in a split for the start of the run, and drops nothing.
            self._append(folder.name, [start, start])

    def _append(self, split, events):
        folder = self.directory / split
        folder.mkdir(parents=True, exist_ok=True)
        if split not in self._paths:
            self._paths[split] = _new_path(folder)
        version = Event(wall_time=time.time(), file_version="brain.Event:2")
        data = b"".join(map(_frame, events))
        append(self._paths[split], data, header=_frame(version), sync=False)

    def _guard(self, action):
        try:
            action()
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                _log.warning(
                    "TensorBoard summaries in %s could not be written (%s); training continues, and later "
                    "summaries are tried again without further warnings",
                    self.directory,
                    error,
                )


def _frame(event):
    return tfrecord.frame(event.SerializeToString())


def _new_path(folder):
    """Returns a path that sorts after all event files of `folder`, the order in which TensorBoard reads them."""
    names = [re.match(r"events\.out\.tfevents\.(\d+)", path.name) for path in folder.glob(_PATTERN)]
    latest = max((int(match[1]) for match in names if match), default=0)
    seconds = max(int(time.time()), latest + 1)
    return folder / f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}"


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _image_pb(tag, image):
    """Returns uint8 [H, W, 3] as the `Summary` that `tf.summary.image` writes."""
    height, width = image.shape[:2]
    content = [str(width).encode(), str(height).encode(), image_io.encode(image)]
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=image_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=tensor_util.make_tensor_proto(content, dtype=np.object_),
    )
    return summary


def config_markdown(flat: Mapping[str, object]) -> str:
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
