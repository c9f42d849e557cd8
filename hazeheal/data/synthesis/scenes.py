"""Clear aerial scenes: painted in layers as colors and heights at twice the size, lit by a sun, averaged down.

All maps are float32, so that the same seed gives the same image in NumPy 1 and 2.
"""

import math

import numpy as np

from hazeheal.data.synthesis.noise import fractal

KINDS = ("farmland", "settlement", "woodland", "coast")


def _palette(codes):
    return np.array([list(bytes.fromhex(code)) for code in codes.split()], np.float32) / 255


_CROPS = _palette("566e34 c4ac6c bcb252 8a6c52 b09678 604c3e 68803e 7a8c54 969e64 46783c 98664e 8c8a4c")
_ROOFS = _palette("a0523c b4644a 8c4638 7c5c48 6e6e74 54585e c8c4bc 9a9088 5a6e86 e0dcd4")
_LEAVES = _palette("3c5228 5c6c34 34482c 4c6438 4a5e2c 6a6c38 445428 76683a")
_GRASS, _SAND, _DEEP, _SHALLOW, _ASPHALT, _WHITE = _palette("748044 d0bc94 1a5070 6ea8a0 76757a ecebe4")


class _Scene:
    """The colors of a scene, the heights of its houses and trees in meters, and the density of its trees."""

    def __init__(self, rng, n, step):
        self.rng, self.n, self.step, self.extent = rng, n, step, n * step
        self.color = np.zeros((n, n, 3), np.float32)
        self.height, self.trees = np.zeros((2, n, n), np.float32)

    def noise(self, scale, octaves=4):
        """Fractal noise whose largest features are about `scale` meters across."""
        return fractal(self.rng, self.n, cells=max(self.extent / scale, 0.5), octaves=octaves)

    def lookup(self, number, low, high):
        """One random value in [low, high) for each distinct `number` (modulo 997) of a map of integers."""
        return self.rng.uniform(low, high, 997).astype(np.float32)[number.astype(int) % 997]

    def paint(self, mask, color):
        self.color = np.where(mask[..., None], color, self.color)

    def rotated(self):
        """Coordinates in meters along two perpendicular axes of random direction."""
        angle = self.rng.uniform(0, math.pi)
        x = (np.arange(self.n) * self.step - self.extent * self.rng.uniform(0.3, 0.7)).astype(np.float32)
        cos, sin = math.cos(angle), math.sin(angle)
        return cos * x + sin * x[:, None], cos * x[:, None] - sin * x

    def winding_line(self):
        """Signed distance in meters from a winding line, and the position along it."""
        u, v = self.rotated()
        phase = 2 * math.pi * (u / self.extent + self.rng.random())
        return v - self.extent * self.rng.uniform(0, 0.1) * np.sin(phase), u


def _paint_fields(scene):
    """Fields in columns of varying width, each with its own crop and furrows, between hedges."""
    u, v = scene.rotated()
    column, across = np.divmod(u + 15 * scene.noise(200, 1), 50)
    row, along = np.divmod(v + scene.lookup(column, 0, 90), scene.lookup(column, 25, 90))
    field, border = column * 31 + row * 17, np.minimum(across, along)
    furrow = np.sin(np.where(scene.lookup(field, -1, 1) < 0, u, v) * scene.lookup(field, 1.2, 3.2))
    shade = scene.lookup(field, 0.85, 1.1) + scene.lookup(field, 0, 0.1) * furrow + 0.05 * scene.noise(30)
    scene.color = _CROPS[scene.lookup(field, 0, len(_CROPS)).astype(int)] * shade[..., None]
    scene.paint(border < 2, 0.8 * _SAND)
    scene.trees[:] = np.where(border < 4, scene.rng.uniform(0, 0.5), 0.005)


def _paint_water(scene, sea):
    """A sea with surf, or a river. Returns the distance from the shore in meters, negative in the water."""
    rough, (line, _) = scene.noise(40), scene.winding_line()
    shore = line + 4 * rough if sea else np.abs(line) - scene.rng.uniform(-20, 15) - rough
    scene.paint(shore < (8 if sea else 2) + rough, _SAND)
    shallow = np.exp(np.minimum(shore, 0) / (25 if sea else 6))
    scene.paint(shore < 0, _DEEP + shallow[..., None] * (_SHALLOW - _DEEP) + 0.015 * rough[..., None])
    scene.paint(sea & (shore < 0) & (shallow * np.sin(shore * 0.5 + scene.noise(12)) > 0.5), _WHITE)
    scene.trees[shore < 8] = 0
    return shore


def _paint_houses(scene, zone, lot):
    """Blocks of 4 x 2 square lots between streets, with gabled houses or, in a town, flat-roofed ones."""
    (u, v), town = scene.rotated(), lot > 28
    (block_u, in_u), (block_v, in_v) = np.divmod(u, 4 * lot + 7), np.divmod(v, 2 * lot + 7)
    street = zone & ((in_u > 4 * lot) | (in_v > 2 * lot))
    number = (4 * block_u + in_u // lot) * 41 + (2 * block_v + in_v // lot) * 7
    half, center = lot * scene.lookup(number, 0.2, 0.36), lot * scene.lookup(number, 0.4, 0.6)
    inside_u, inside_v = half - np.abs(in_u % lot - center), 0.8 * half - np.abs(in_v % lot - center)
    house = zone & ~street & (inside_u > 0) & (inside_v > 0)
    scene.paint(zone, (1.2 * _ASPHALT if town else _GRASS) * scene.lookup(number, 0.85, 1.1)[..., None])
    scene.paint(street, _ASPHALT)
    scene.paint(house, _ROOFS[scene.lookup(number, 0, len(_ROOFS)).astype(int)])
    scene.height = house * (lot * scene.lookup(number, 0.15, 0.4) + (0 if town else 0.65) * inside_v)
    scene.trees[zone] = np.where(house | street, 0, 0.25)[zone]


def _paint_road(scene):
    """A paved road with lane markings, clear of houses and trees."""
    (distance, along), half = scene.winding_line(), scene.rng.uniform(3, 6)
    away = np.abs(distance)
    scene.paint(away < half, _ASPHALT * scene.rng.uniform(0.75, 1.15))
    scene.paint((np.abs(away - half + 0.5) < 0.3) | ((away < 0.3) & (along % 9 < 5)), _WHITE)
    scene.height[away < half + 1] = scene.trees[away < half + 3] = 0


def _plant_trees(scene):
    """Round crowns on several grids of random direction, at most one per cell."""
    for pitch in scene.rng.uniform(4.5, 9, 4).tolist():
        (column, u), (row, v) = (np.divmod(w, pitch) for w in scene.rotated())
        cell = column * 29 + row * 101
        radius = scene.lookup(cell, 1, pitch / 2)
        du, dv = (w - radius - (pitch - 2 * radius) * scene.lookup(cell, 0, 1) for w in (u, v))
        dome = np.sqrt(np.maximum(1 - (du**2 + dv**2) / radius**2, 0))
        crown = (dome > 0) & (scene.lookup(cell, 0, 1) < scene.trees)
        scene.paint(crown, _LEAVES[scene.lookup(cell, 0, len(_LEAVES)).astype(int)])
        scene.height = np.where(crown, radius * (1 + dome), scene.height)


def _light(scene):
    """The linear image under sky and sun, with shaded slopes and cast shadows."""
    azimuth, steep = scene.rng.uniform(0, 2 * math.pi), scene.rng.uniform(0.65, 1.9)
    east, south, drop = math.cos(azimuth), math.sin(azimuth), steep * scene.step
    down, right = np.gradient(scene.height + 0.18 * scene.noise(2.5, 2), scene.step)
    sun = np.clip((1 - (east * right + south * down) / steep) / np.sqrt(1 + right**2 + down**2), 0, 1.5)
    for k in range(2, min(int(scene.height.max() / drop) + 3, 80), 2):
        obstacle = np.roll(scene.height, (round(-k * south), round(-k * east)), (0, 1))
        sun[obstacle > scene.height + k * drop] = 0
    light = np.float32([0.21, 0.25, 0.32]) + np.float32([0.78, 0.76, 0.71]) * sun[..., None]
    return np.clip(scene.color, 0.01, 1) ** 2.2 * light * scene.rng.uniform(0.9, 1.35)


def make_scene(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws one clear aerial image from `rng`: float32 sRGB `[size, size, 3]` in [0, 1], size 16 or more."""
    kind = str(rng.choice(KINDS))
    scene = _Scene(rng, 2 * size, rng.uniform(0.4, 0.75))
    if kind == "woodland" or rng.random() < 0.3:
        scene.color = _GRASS * (1 + 0.12 * scene.noise(60)[..., None])
        scene.trees[:] = np.where(scene.noise(90) > rng.uniform(-0.6, 0.6), 0.9, 0.04)
    else:
        _paint_fields(scene)
    shore = _paint_water(scene, sea=kind == "coast")
    zone = (shore > 12) & (scene.noise(200, 1) > (-1.2 if kind == "settlement" else 1.3))
    _paint_houses(scene, zone, lot=rng.uniform(15, 40))
    if kind != "coast" and rng.random() < 0.7:
        _paint_road(scene)
    _plant_trees(scene)
    linear = _light(scene).reshape(size, 2, size, 2, 3).mean((1, 3))
    return np.clip(linear, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)
