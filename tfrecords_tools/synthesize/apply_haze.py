"""Applies haze to one clear image and writes its copy in `GT/` and its hazy versions in `hazy/`."""

import dataclasses
import filecmp
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence

import numpy as np

from hazeheal.data.images import image_io, to_rgb
from hazeheal.data.images.passthrough import PNG_SIGNATURE
from hazeheal.data.images.pixel_options import PixelOptions
from hazeheal.data.synthesis import scattering
from hazeheal.errors import DataError, OptionNeededError
from hazeheal.utils.atomic import atomic_path
from tfrecords_tools.convert.pair_records import FOLDERS, load_source
from tfrecords_tools.synthesize.options import Options

SUFFIX = {"png": ".png", "jpeg": ".jpg"}


@dataclasses.dataclass(frozen=True)
class Task:
    """One clear image and the haze of its versions.

    Attributes:
        options: The flags of the command.
        clear: Name of the clear image in `--clear_dir`, and of its copy in `GT/`.
        hazes: (name in `hazy/`, haze) of each version.
        depth: Name of the image's depth map in `--depth_dir`, or None.
    """

    options: Options
    clear: str
    hazes: tuple[tuple[str, scattering.Haze], ...]
    depth: str | None

    @property
    def source(self) -> pathlib.Path:
        """Path of the clear image."""
        return pathlib.Path(self.options.clear_dir) / self.clear

    @property
    def depth_path(self) -> pathlib.Path:
        """Path of the depth map; only for tasks with `depth`."""
        return pathlib.Path(self.options.depth_dir) / self.depth

    @property
    def copy(self) -> pathlib.Path:
        """Path of the clear image's copy in the output."""
        return pathlib.Path(self.options.output_dir) / FOLDERS["clear"] / self.clear

    def missing(self) -> list[tuple[pathlib.Path, scattering.Haze]]:
        """Returns (path, haze) of the hazy images that do not exist yet."""
        folder = pathlib.Path(self.options.output_dir) / FOLDERS["hazy"]
        return [(folder / name, haze) for name, haze in self.hazes if not (folder / name).exists()]

    def is_stale(self) -> bool:
        """Returns whether the clear image has changed since it was copied."""
        return self.copy.exists() and not filecmp.cmp(self.source, self.copy)


def check_headers(task: Task) -> str | None:
    """Returns what the headers of a task's image and depth map show to be wrong, with the file's name, or None."""
    try:
        size = image_io.read_size(task.source, name=task.clear, options=task.options.pixels)
        if task.depth is not None:
            _check_depth_size(task, image_io.read_size(task.depth_path), size)
    except DataError as error:
        return str(error)
    return None


def check_samples(tasks: Sequence[Task]) -> None:
    """Raises OptionNeededError if the samples of the first image need an option, which is a setting of all images."""
    try:
        for task in tasks[:1]:
            load_source(task.source, task.clear, task.options.pixels)
    except OptionNeededError:
        raise
    except DataError:  # `run_task` reports it
        pass


def run_task(task: Task, progress: Callable[[int], object]) -> str | None:
    """Writes the missing files of a task, each atomically.

    The copy of the clear image is written first and gets the source's modification time, which `Task.is_stale` compares.
    `progress` is called with 1 after each hazy image, and may raise to stop.

    Returns:
        None, or why the image or its depth map cannot be used, with the file's name.

    Raises:
        OutputError: A file cannot be written.
    """
    try:
        clear = load_source(task.source, task.clear, task.options.pixels)
        depth = None if task.depth is None else _load_depth(task, (clear.image.height, clear.image.width))
    except DataError as error:
        return str(error)
    if not task.copy.exists():
        with atomic_path(task.copy, overwrite=False) as temporary:
            shutil.copyfile(task.source, temporary)
            os.utime(temporary, ns=2 * (task.source.stat().st_mtime_ns,))
    pixels = np.asarray(clear.image)
    for path, haze in task.missing():
        hazy = scattering.apply_haze(pixels, haze, depth=depth)
        data = image_io.encode(hazy, format=task.options.encoding, quality=task.options.quality)
        with atomic_path(path, overwrite=False) as temporary:
            temporary.write_bytes(data)
        progress(1)
    return None


def _load_depth(task: Task, size: tuple[int, int]) -> np.ndarray:
    """Returns the distance of each pixel of an image of (height, width) pixels: float32 [H, W]."""
    options, values = task.options, read_depth(task.depth_path)
    _check_depth_size(task, values.shape, size)
    distance = scattering.distance(values, meaning=options.depth_values, scale=options.depth_scale)
    return scattering.resize_depth(distance, size)


def _check_depth_size(task: Task, depth: tuple[int, int], size: tuple[int, int]) -> None:
    """Raises DataError if a depth map of (height, width) `depth` does not fit an image of `size`."""
    if not scattering.depth_fits(depth, size):
        raise DataError(
            f"{task.depth_path}: the depth map is {depth[1]}x{depth[0]} and {task.clear} is {size[1]}x{size[0]} "
            "(upright); use a map with the image's aspect ratio"
        )


def read_depth(path: pathlib.Path) -> np.ndarray:
    """Reads a depth map: an 8-bit gray image or a 16-bit gray PNG.

    Returns:
        float32 [H, W] in [0, 1], upright, where 1 is white.

    Raises:
        DataError: The file cannot be read, or is not such an image.
    """

    def to_gray(opened: image_io.Opened) -> np.ndarray:
        image = opened.image
        if image is None:
            raise DataError(f"{path}: {problem}; this file is a {opened.layout}; save it as a gray PNG")
        turn = to_rgb.upright_transpose(image)
        image = image if turn is None else image.transpose(turn)
        if image.mode == "L":
            return np.asarray(image, np.float32) / np.float32(255)
        if image.mode.startswith("I") and opened.data.startswith(PNG_SIGNATURE):
            return np.asarray(image).astype(np.float32) / np.float32(65535)
        if image.mode in ("RGB", "RGBA", "LA"):  # gray that a program has stored as color
            samples = np.asarray(image)[..., : len(image.mode.rstrip("A"))]
            if (samples == samples[..., :1]).all():
                return samples[..., 0].astype(np.float32) / np.float32(255)
        raise DataError(f"{path}: {problem}; this file is {image.format or ''} {image.mode}; save it as a gray PNG")

    problem = "a depth map must be an 8-bit gray image or a 16-bit gray PNG"
    # The white of a depth map is 65535, however near its scene is.
    return image_io.decode(path, to_gray, options=PixelOptions(white=65535)).extracted
