"""The uniform border of a film, which does not come and go with the edges that single frames show."""

import numpy as np

from hazeheal.inference.borders import NOISE, Border, find_border, levels_apart

_SAMPLES = 128  # per side: pixels that are compared
_SAME = 0.8  # share of the border that stays: subtitles may cover the rest
_LARGER = 0.98  # of the content: what a larger border leaves, at most


class SteadyBorder:
    """Finds the border of consecutive frames.

    A frame of a night scene, a fade or a subtitle may not show the edge of a bar, and noise moves it by a line. So a border
    stays for as long as its own pixels do, unless a frame shows a larger one.
    """

    def __init__(self) -> None:
        self._border: Border | None = None
        self._pixels, self._outside = None, None  # samples of the frame that showed the border, and where that is

    def __call__(self, image: np.ndarray) -> Border | None:
        """Returns the border of the next frame, `[H, W, 3]` uint8 or uint16; None without one."""
        found = find_border(image)
        if found is not None and not _content(found):  # a frame of one color shows nothing
            found = None
        steps = tuple(slice(None, None, max(1, side // _SAMPLES)) for side in image.shape[:2])
        is_larger = found is not None and self._border and _content(found) <= _LARGER * _content(self._border)
        if self._border is not None and not is_larger and self._is_there(image[steps]):
            return self._border
        if found is not None:
            self._pixels, self._outside = image[steps].copy(), found.outside(image.shape)[steps]
        self._border = found
        return found

    def _is_there(self, pixels):
        if pixels.shape != self._pixels.shape:
            return False
        same = levels_apart(pixels, self._pixels.astype(np.int32)) <= 2 * NOISE
        return same[self._outside].mean() >= _SAME


def _content(border):
    """The number of pixels within a border."""
    if border.valid is not None:
        return np.count_nonzero(border.valid)
    return (border.rows.stop - border.rows.start) * (border.columns.stop - border.columns.start)
