"""Lays haze on one clear image and writes what comes of it: its copy in GT, and its hazy versions."""

import dataclasses
import os
import pathlib

import numpy as np

from hazeheal.data.images import image_io, to_rgb
from hazeheal.data.synthesis import scattering
from hazeheal.errors import DataError
from hazeheal.utils.atomic import atomic_path
from tfrecords_tools.convert import pair_records

FOLDERS = ("hazy", "GT")
SUFFIX = {"png": ".png", "jpeg": ".jpg"}
_TIME_GRAIN = 2_000_000_000  # nanoseconds; some file systems keep times no finer


@dataclasses.dataclass(frozen=True)
class Task:
    """One clear image.

    Attributes:
        clear_dir, output_dir: Folders.
        clear: Its name in `clear_dir`, and that of its copy in `output_dir`/GT.
        hazes: (name in `output_dir`/hazy, haze) of each version.
        depth_dir, depth: Folder and name of its depth map, or None.
        depth_values, depth_scale: As of `haze.distance`.
        encoding, quality: Of the hazy images, as of `images.encode`.
    """

    clear_dir: str
    output_dir: str
    clear: str
    hazes: tuple[tuple[str, scattering.Haze], ...]
    depth_dir: str | None
    depth: str | None
    depth_values: str
    depth_scale: float
    encoding: str
    quality: int

    @property
    def source(self) -> pathlib.Path:
        return pathlib.Path(self.clear_dir) / self.clear

    @property
    def copy(self) -> pathlib.Path:
        return pathlib.Path(self.output_dir) / FOLDERS[1] / self.clear

    @property
    def depth_path(self) -> pathlib.Path | None:
        return self.depth and pathlib.Path(self.depth_dir) / self.depth

    def missing(self) -> list[tuple[pathlib.Path, scattering.Haze]]:
        """The hazy images that are not there yet."""
        hazy = pathlib.Path(self.output_dir) / FOLDERS[0]
        return [(hazy / name, laid) for name, laid in self.hazes if not (hazy / name).exists()]

    def is_stale(self) -> bool:
        """Whether the copy is there, and is of another state of the source than that of now."""
        try:
            copy = self.copy.stat()
        except FileNotFoundError:
            return False
        now = self.source.stat()
        return copy.st_size != now.st_size or abs(copy.st_mtime_ns - now.st_mtime_ns) > _TIME_GRAIN


def lay_task(task: Task, progress) -> str | None:
    """Writes those files of a task that are not there yet, each whole or not at all.

    The copy of the clear image comes first and has its time, so that a source which was changed later is told by it.

    Args:
        task: What to write.
        progress: Called with 1 after each hazy image; may raise to stop.

    Returns:
        None, or what is wrong with the image or its depth map, which names the file.

    Raises:
        OutputError: A file cannot be written.
    """
    try:
        clear = pair_records.load_source(task.clear_dir, task.clear)
        depth = None if task.depth is None else _depth_for(task, (clear.image.height, clear.image.width))
    except DataError as error:
        return str(error)
    if not task.copy.exists():
        state = task.source.stat()
        with atomic_path(task.copy, overwrite=False) as aside:
            aside.write_bytes(clear.data)
            os.utime(aside, ns=(state.st_mtime_ns, state.st_mtime_ns))
    scene = clear.array
    for path, laid in task.missing():
        image = scattering.apply_haze(scene, laid, depth=depth)
        data = image_io.encode(image, format=task.encoding, quality=task.quality)
        with atomic_path(path, overwrite=False) as aside:
            aside.write_bytes(data)
        progress(1)
    return None


def _depth_for(task: Task, size: tuple[int, int]) -> np.ndarray:
    values = read_depth(task.depth_path)
    if not scattering.depth_fits(values.shape, size):
        raise DataError(f"{task.depth_path}: {shape_problem(values.shape, size, of=task.clear)}")
    return scattering.resize_depth(
        scattering.distance(values, meaning=task.depth_values, scale=task.depth_scale), size
    )


def shape_problem(depth: tuple[int, int], image: tuple[int, int], *, of: str) -> str:
    return (
        f"the depth map is {depth[1]}x{depth[0]} and {of} is {image[1]}x{image[0]} (upright); give one of the same "
        "shape"
    )


def read_depth(path) -> np.ndarray:
    """Reads a gray image of 8 bits, or PNG of 16, as float32 [H, W] in [0, 1], upright: the part of white.

    Raises:
        DataError: The file cannot be read, or is no such image; the message names it.
    """

    def gray(image, data):
        turn = to_rgb.upright_transpose(image)
        image = image if turn is None else image.transpose(turn)
        if image.mode == "L":
            return np.asarray(image, np.float32) / np.float32(255)
        if image.mode.startswith("I") and data.startswith(image_io.PNG_SIGNATURE):
            return np.asarray(image).astype(np.float32) / np.float32(65535)
        if image.mode in ("RGB", "RGBA", "LA"):  # gray that a program has saved as colors
            samples = np.asarray(image)[..., : len(image.mode.rstrip("A"))]
            if (samples == samples[..., :1]).all():
                return samples[..., 0].astype(np.float32) / np.float32(255)
        raise DataError(
            f"{path}: a depth map is a gray image of 8 bits, or a gray PNG of 16; this one is {image.format or ''} "
            f"{image.mode}, of which nothing says how far a pixel is; save it as gray PNG"
        )

    return image_io.load(path, gray)[2]
