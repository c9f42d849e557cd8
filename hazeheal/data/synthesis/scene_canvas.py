"""What an aerial scene is painted on: a grid in meters with noise, winding lines and colors.

Everything is float32: whether numpy widens a product is different in its versions 1 and 2, and the
same seed has to give the same image in both.
"""

import math

import numpy as np


def palette(text):
    return (
        np.array([[int(word[i : i + 2], 16) for i in (0, 2, 4)] for word in text.split()], np.float32) / 255
    )


def _spline(cells, n):
    """[n, cells + 3] weights of the uniform cubic B-spline over `cells` intervals, at n pixel centers."""
    position = (np.arange(n) + 0.5) * cells / n
    left = np.minimum(position.astype(int), int(np.ceil(cells)) - 1)
    f = position - left
    weights = np.zeros((n, int(np.ceil(cells)) + 3), np.float32)
    cubic = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    for k, weight in enumerate(cubic):
        weights[np.arange(n), left + k] = weight / 6
    return weights


def fractal(rng, size, *, cells, octaves=5, gain=0.5):
    """Smooth fractal noise of mean 0 and deviation 1.

    Args:
        rng: numpy Generator.
        size: Side in pixels, or (height, width).
        cells: Cells of the coarsest lattice along the longer side.
        octaves, gain: How many lattices, each twice as fine as the one before and `gain` times as strong.

    Returns:
        float32 [height, width].
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    longer, total = max(height, width), np.zeros((height, width), np.float32)
    for octave in range(octaves):
        count = cells * 2**octave
        if count > longer / 2 and octave:
            break
        down, right = (_spline(count * (side / longer), side) for side in (height, width))
        lattice = rng.standard_normal((down.shape[1], right.shape[1]), np.float32)
        total += gain**octave * (down @ lattice @ right.T)
    return (total - total.mean()) / max(float(total.std()), 1e-6)


class Scene:
    """A scene while it is painted: n x n pixels of `step` meters, albedo (sRGB) and height (meters)."""

    def __init__(self, rng, n, step):
        self.rng, self.n, self.step, self.extent = rng, n, step, n * step
        axis = ((np.arange(n) + 0.5) * step).astype(np.float32)
        self.x, self.y = np.broadcast_to(axis, (n, n)), np.broadcast_to(axis[:, None], (n, n))
        self.rgb = np.zeros((n, n, 3), np.float32)
        self.height = np.zeros((n, n), np.float32)  # of what stands on the ground
        self.terrain = np.zeros((n, n), np.float32)
        self.free = np.ones((n, n), bool)  # where a tree may stand
        self.trees = np.zeros((n, n), np.float32)  # wanted density of trees, 0 to 1

    def noise(self, scale, octaves=5, gain=0.5):
        return fractal(self.rng, self.n, cells=max(self.extent / scale, 0.5), octaves=octaves, gain=gain)

    def paint(self, mask, color, alpha=1.0):
        """Lays `color` ([3], or [n, n, 3]) where the boolean `mask` is true, or as far as a float one says."""
        if mask.dtype != bool:
            self.rgb += np.float32(alpha) * mask[..., None].astype(np.float32) * (color - self.rgb)
        else:
            color = np.asarray(color, np.float32)
            old = self.rgb[mask]
            self.rgb[mask] = old + np.float32(alpha) * ((color[mask] if color.ndim == 3 else color) - old)

    def rotated(self, angle):
        x, y = self.x - self.extent / 2, self.y - self.extent / 2
        return math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x

    def wandering(self, angle, bend, offset):
        """Signed distance in meters to a winding line, and the distance along it."""
        u, v = self.rotated(angle)
        phase = self.rng.uniform(0, 2 * math.pi, 3)
        line = slope = 0.0
        for part, size, angle in zip((1.6, 0.8, 0.43), (1, 0.4, 0.15), phase.tolist(), strict=True):
            wave, size = 2 * math.pi / (self.extent * part), bend * size * self.extent / 8
            line = line + size * np.sin(wave * u + angle)
            slope = slope + size * wave * np.cos(wave * u + angle)
        return (v - line - offset * self.extent) / np.sqrt(1 + slope**2), u

    def at(self, field, x, y):
        """`field` at points in meters (the nearest pixel; the border's beyond it)."""
        row, column = (np.clip((p / self.step).astype(int), 0, self.n - 1) for p in (y, x))
        return field[row, column]
