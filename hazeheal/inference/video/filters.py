"""FFmpeg's filters on decoded frames, and how a frame is turned upright."""

import fractions
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

DEINTERLACE = (("bwdif", "mode=send_frame:deint=interlaced"),)


def tone_map(table: str) -> tuple[tuple[str, str], ...]:
    """Returns the filters that apply the table of `tone_mapping` in a file."""
    name = table.replace("\\", "/").replace(":", "\\:")
    return (
        ("scale", "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"),
        ("format", "gbrp16le"),
        ("lut3d", f"file='{name}':interp=tetrahedral"),
    )


class Chain:
    """A chain of filters. It starts again where the size or the format of the frames changes."""

    def __init__(self, filters: Sequence[tuple[str, str]], *, time_base: fractions.Fraction) -> None:
        """Takes the filters, each with its options."""
        self._filters, self._time_base, self._graph, self._layout = filters, time_base, None, None

    def push(self, frame: "av.VideoFrame") -> Iterator["av.VideoFrame"]:
        """Yields the frames that come out when one goes in."""
        layout = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if layout != self._layout:
            yield from self.flush()
            self._layout, self._graph = layout, self._start(*layout)
        self._graph.push(frame)
        yield from self._pulled()

    def flush(self) -> Iterator["av.VideoFrame"]:
        """Yields the frames that are still in the chain."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pulled()

    def _start(self, width, height, pixels, matrix, range_):
        from av.filter import Graph

        graph = Graph()
        settings = {"video_size": f"{width}x{height}", "pix_fmt": pixels, "time_base": str(self._time_base)}
        source = graph.add("buffer", **settings, colorspace=str(matrix), range=str(range_))
        graph.link_nodes(source, *(graph.add(*pair) for pair in self._filters), graph.add("buffersink"))
        graph.configure()
        return graph

    def _pulled(self):
        import av

        while True:
            try:
                yield self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return


def orientation(frame: "av.VideoFrame") -> tuple[Callable[[np.ndarray], np.ndarray], bool]:
    """Reads the display matrix of a frame.

    Returns:
        A function that makes an image `[H, W, 3]` upright, and whether it swaps height and width.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if not data:
        return (lambda image: image), False
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32)
    # (x, y) is shown at (a x + c y, b x + d y).
    turned = abs(int(b)) > abs(int(a))

    def upright(image):
        if turned:
            image = image.swapaxes(0, 1)
        across, down = (c, b) if turned else (a, d)
        if across < 0:
            image = image[:, ::-1]
        if down < 0:
            image = image[::-1]
        return image

    return upright, turned
