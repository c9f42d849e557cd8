"""Smooth fractal noise, the common ground of the synthetic haze fields and of the synthetic scenes."""

import numpy as np


def fractal(
    rng: np.random.Generator,
    size: int | tuple[int, int],
    *,
    cells: float,
    octaves: int = 5,
    gain: float = 0.5,
) -> np.ndarray:
    """Returns fractal noise of mean 0 and standard deviation 1: a sum of uniform cubic B-spline surfaces.

    Args:
        size: Side in pixels, or (height, width).
        cells: Number of cells of the coarsest lattice along the longer side.
        octaves: Number of lattices. Each has twice as many cells per side as the previous one.
        gain: Ratio of the amplitudes of successive lattices.

    Returns:
        float32 `[height, width]`.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    longer, total = max(height, width), np.zeros((height, width), np.float32)
    for octave in range(octaves):
        count = cells * 2**octave
        if count > longer / 2 and octave:
            break
        rows, columns = (_spline_weights(count * (side / longer), side) for side in (height, width))
        lattice = rng.standard_normal((rows.shape[1], columns.shape[1]), np.float32)
        total += gain**octave * (rows @ lattice @ columns.T)
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _spline_weights(cells: float, n: int) -> np.ndarray:
    """Weights `[n, ceil(cells) + 3]` of the uniform cubic B-spline over `cells` intervals at n pixel centers."""
    position = (np.arange(n) + 0.5) * cells / n
    left = np.minimum(position.astype(int), int(np.ceil(cells)) - 1)
    f = position - left
    weights = np.zeros((n, int(np.ceil(cells)) + 3), np.float32)
    cubic = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    for k, weight in enumerate(cubic):
        weights[np.arange(n), left + k] = weight / 6
    return weights
