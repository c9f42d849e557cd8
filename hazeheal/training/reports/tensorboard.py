"""TensorBoard summaries of one replica group: scalars, images and text.

    writers = SummaryWriters(run / "group_00/summaries")
    writers.rewind_to(restored_step)                        # before anything is written; -1: nothing was restored
    writers.scalars("train", {"loss/gen_l1_loss": 0.12}, step=100)
    writers.images("val", [(hazy, restored, clear)], step=100)
    writers.flush()                                         # before the checkpoint of that step is saved

The events are built from TensorBoard's protos and appended to files, without `tf.summary`: on a full disk its writer
loses events without an error, and leaves a torn one that hides all later ones.
"""

import contextlib
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
from hazeheal.training.reports.sample_sheets import shrink

LOG = logging.getLogger("hazeheal")
_PATTERN = "events.out.tfevents.*"
_GAP = 4  # white pixels between two images


class SummaryWriters:
    """Writes `directory/train` and `directory/val` (and any other split likewise) for TensorBoard.

    Summaries that cannot be written cost one warning, not the training.
    """

    def __init__(self, directory: pathlib.Path, *, max_side: int = 256):
        """Writes nothing yet.

        Args:
            directory: The group's summaries folder, which is itself the split "". It is created by the first write.
            max_side: Images whose longer side has more pixels are shrunk to it.
        """
        self._directory = directory
        self._max_side = max_side
        self._paths = {}
        self._has_warned = False

    def scalars(self, split: str, values: Mapping[str, float | None], *, step: int) -> None:
        """Writes `values` (tag to number; None is left out) at `step`."""
        summaries = [scalar_pb(tag, float(v)) for tag, v in values.items() if v is not None]
        self.write(split, summaries, step=step)

    def images(self, split: str, rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], *, step: int) -> None:
        """Writes one image "hazy | restored | clear" per row, under a tag of its own.

        Args:
            split: "train" or "val".
            rows: (hazy, restored, clear), uint8 `[H, W, 3]`; the three images of a row have the same size.
            step: The step.
        """
        summaries = []
        for number, row in enumerate(rows):
            hazy, restored, clear = (shrink(image, self._max_side) for image in row)
            gap = np.full((hazy.shape[0], _GAP, 3), 255, np.uint8)
            image = np.hstack([hazy, gap, restored, gap, clear])
            summaries.append(_image_pb(f"hazy_restored_clear/{number:02d}", image))
        self.write(split, summaries, step=step)

    def config(self, flat: Mapping[str, object]) -> None:
        """Writes a configuration, as `config.flat` returns it, as a text of one line per field."""
        code_block = "\n".join(f"    {name} = {value!r}" for name, value in flat.items())
        self.write("train", [text_pb("config", code_block)], step=0)

    def write(self, split: str, summaries: Iterable[Summary], *, step: int) -> None:
        """Writes `Summary` messages, such as those of `tensorboard_plugins`, at `step`."""
        now = time.time()
        events = [Event(wall_time=now, step=step, summary=summary) for summary in summaries]
        with self._warn_if_not_written():
            self._append(split, events)

    def flush(self) -> None:
        """Waits until the disk has everything that was written."""
        for path in self._paths.values():
            with self._warn_if_not_written(), open(path, "rb") as file:
                os.fsync(file.fileno())

    def rewind_to(self, step: int) -> None:
        """Makes TensorBoard drop all events after the restored step; they stay in their files.

        Events at the restored step stay, so everything that belongs to a step must be written before the checkpoint
        of that step is saved.

        Args:
            step: The restored step; -1 if nothing was restored.
        """
        self._paths.clear()
        paths = list(self._directory.glob(f"*/{_PATTERN}"))
        if step < 0:
            # A restart event is not enough: the table of runs would show the hyperparameters of the discarded run.
            for split in ("", *{path.parent.name for path in paths}):
                self.set_aside(split)
            return
        with self._warn_if_not_written():
            session_log = SessionLog(status=SessionLog.START)
            restart = Event(wall_time=time.time(), step=step + 1, session_log=session_log)
            for split in sorted({path.parent.name for path in paths}):
                # Twice: TensorBoard takes the first one in a split for the start of the run, and drops nothing.
                self._append(split, [restart, restart])

    def set_aside(self, split: str) -> None:
        """Hides all events of a split from TensorBoard, which looks for "tfevents" in names; the files stay."""
        self._paths.pop(split, None)
        with self._warn_if_not_written():
            for path in (self._directory / split).glob(_PATTERN):
                path.rename(path.with_name(path.name.replace("tfevents", "set_aside")))

    def contains(self, split: str, summary: Summary) -> bool:
        """Whether the files of a split contain an event with exactly this message."""
        content = summary.SerializeToString()
        with contextlib.suppress(OSError):
            return any(content in path.read_bytes() for path in (self._directory / split).glob(_PATTERN))
        return False

    def _append(self, split, events):
        """Appends all events or, on an error, nothing: a torn event would hide all later ones."""
        if not events:
            return
        folder = self._directory / split
        folder.mkdir(parents=True, exist_ok=True)
        if split not in self._paths:
            self._paths[split] = _new_path(folder)
        with open(self._paths[split], "ab", buffering=0) as file:
            size = file.tell()
            if size == 0:
                events = [Event(wall_time=time.time(), file_version="brain.Event:2"), *events]
            data = b"".join(tfrecord.frame(event.SerializeToString()) for event in events)
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(size)
                raise

    @contextlib.contextmanager
    def _warn_if_not_written(self):
        try:
            yield
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                LOG.warning(
                    "TensorBoard summaries in %s could not be written (%s); training continues, and later "
                    "summaries are tried again without further warnings",
                    self._directory,
                    error,
                )


def _new_path(folder):
    """Returns a path that sorts after all event files of `folder`, the order in which TensorBoard reads them."""
    names = [re.match(r"events\.out\.tfevents\.(\d+)", path.name) for path in folder.glob(_PATTERN)]
    latest = max((int(match[1]) for match in names if match), default=0)
    seconds = max(int(time.time()), latest + 1)
    return folder / f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}"


def _image_pb(tag, image):
    """Returns uint8 `[H, W, 3]` as the `Summary` that `tf.summary.image` writes."""
    height, width = image.shape[:2]
    content = [str(width).encode(), str(height).encode(), image_io.encode(image)]
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=image_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=tensor_util.make_tensor_proto(content, dtype=np.object_),
    )
    return summary
