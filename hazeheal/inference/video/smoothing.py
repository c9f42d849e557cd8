"""Estimates of consecutive frames, smoothed over time."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hazeheal.inference.restorer import Restorer


def restore_smoothly(images: Iterable[tuple[float, np.ndarray]], restorer: "Restorer") -> Iterator[np.ndarray]:
    """Restores consecutive frames, (time in seconds, image), in order."""
    yield from restorer.restore_all(image for _, image in images)
