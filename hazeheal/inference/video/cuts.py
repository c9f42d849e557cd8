"""Finds cuts: frames that show another scene than the one before."""

import collections

import numpy as np

_SIDE = 32  # frames are compared as at most this many means per side
_HISTORY = 8  # frames
_CHANGED = 0.5  # a frame differs by this share of its own contrast
_SUDDEN = 1.6  # times the largest recent difference
_FLAT = 4 / 127.5  # contrast below it is mostly noise


class CutDetector:
    """Compares each frame with the one before.

    The measure is what remains of a frame after the best fit by a * previous + b, relative to its own contrast. A flash and
    a fade change a and b alone. A pan, a zoom and a moving object leave something in every frame, so a frame counts as a
    cut only if much more remains than in the frames before it.
    """

    def __init__(self) -> None:
        self._last = None
        self._recent = collections.deque(maxlen=_HISTORY)

    def is_cut(self, samples: np.ndarray) -> bool:
        """Returns whether a frame starts another scene.

        Args:
            samples: Means over the blocks of a frame, `[h, w, 3]` in [-1, 1].
        """
        step = -(-max(samples.shape[:2]) // _SIDE)
        frame = samples[::step, ::step].mean(-1)
        frame = frame - frame.mean()
        last, self._last = self._last, frame
        if last is None or last.shape != frame.shape:
            self._recent.clear()
            return last is not None
        fit = max(0.0, float((last * frame).sum()) / max(float((last * last).sum()), 1e-9))
        remains = float(np.abs(frame - fit * last).mean() / max(np.abs(frame).mean(), _FLAT))
        usual = max(self._recent, default=None)
        self._recent.append(remains)
        if usual is None or remains < _CHANGED or remains < _SUDDEN * usual:
            return False
        self._recent.clear()
        return True
