"""Finds cuts: frames that show another scene than those before."""

import collections

import numpy as np

_SIDE = 16  # frames are compared as this many means per side
_LEVELS = 128
_MEMORY = 6  # frames with which a frame is compared, so that a scene goes on behind a flash
_HISTORY = 8  # frames whose movement is taken for usual
_CHANGED = 0.25  # share of the difference between scenes that have nothing in common
_SUDDEN = 2.2  # times the largest usual difference
_FLAT = 2 / _LEVELS  # a frame of less contrast shows no scene: black, white or dense fog
_WHITE, _MOST = 0.97, 0.3  # a frame of which so much is so bright, in [-1, 1], may be a flash


class CutDetector:
    """Compares each frame with those before.

    Frames are compared by the order of their brightnesses from dark to bright, which a flash and a fade keep. A pan, a zoom
    and a moving object change it in every frame, so a frame counts as a cut only if it differs much more from the ones
    before than those do from each other.
    """

    def __init__(self) -> None:
        self._frames = collections.deque(maxlen=_MEMORY)
        self._usual = collections.deque(maxlen=_HISTORY)
        self._white, self._skipped = 0.0, 0

    def is_cut(self, samples: np.ndarray) -> bool:
        """Returns whether a frame starts another scene.

        Args:
            samples: Means over the blocks of a frame, `[h, w, 3]` in [-1, 1].
        """
        frame = samples.mean(-1)
        rows, columns = (max(1, size // _SIDE) for size in frame.shape)
        height, width = (size // step for size, step in zip(frame.shape, (rows, columns), strict=True))
        blocks = frame[: height * rows, : width * columns].reshape(height, rows, width, columns)
        frame = blocks.mean((1, 3))
        if self._frames and self._frames[-1].shape != frame.shape:
            self._start(frame)
            return True
        white = float((frame > _WHITE).mean())
        is_flash = white > self._white + _MOST and self._skipped < _MEMORY
        if (self._frames and is_flash) or frame.std() / 2 < _FLAT:
            self._skipped += 1
            return False
        self._white, self._skipped = white, 0
        frame = _ranks(frame)
        if not self._frames:
            self._start(frame)
            return False
        # The mean difference of independent ranks is a third of their range.
        apart = [3 * float(np.abs(frame - other).mean()) for other in self._frames]
        usual = max(self._usual, default=1.0)
        if min(apart) > max(_CHANGED, _SUDDEN * usual):
            self._start(frame)
            return True
        self._usual.append(apart[-1])
        self._frames.append(frame)
        return False

    def _start(self, frame):
        self._frames.clear()
        self._usual.clear()
        self._frames.append(frame)


def _ranks(frame):
    """Replaces values by the share of darker ones, in [0, 1]; equal ones get their middle."""
    levels = np.clip((frame + 1) / 2 * _LEVELS, 0, _LEVELS - 1).astype(int)
    counts = np.bincount(levels.ravel(), minlength=_LEVELS)
    return ((np.cumsum(counts) - counts / 2) / levels.size)[levels]
