"""Clear aerial scenes drawn from a random generator.

A scene is an albedo and a height map in meters, painted layer by layer at twice the size, then lit by
one sun, which gives roofs, crowns and shadows their shape, and halved.
"""

import math

import numpy as np

from hazeheal.data.synthesis import scene_layers as layers
from hazeheal.data.synthesis.scene_canvas import Scene

KINDS = ("farmland", "village", "town", "woodland", "hills", "coast")


def _shifted(field, dy, dx):
    """`field` moved by whole pixels, its border repeated."""
    n = len(field)
    rows, columns = (np.clip(np.arange(n) - d, 0, n - 1) for d in (dy, dx))
    return field[rows][:, columns]


def _light(scene):
    """Sun and sky on the height map; returns the linear image [n, n, 3]."""
    rng = scene.rng
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(33, 62))
    east, south = math.cos(azimuth), math.sin(azimuth)
    ground = scene.terrain + scene.height
    down, right = (np.clip(g, -2.5, 2.5) for g in np.gradient(ground, scene.step))
    facing = math.sin(elevation) - math.cos(elevation) * (east * right + south * down)
    sun = np.maximum(facing, 0) / np.sqrt(1 + right**2 + down**2) / math.sin(elevation)
    drop, ray = scene.step * 2 * math.tan(elevation), np.full_like(ground, -1e9)
    steps = min(int(max(scene.height.max(), 2.0) / drop) + 2, 40)
    for k in range(1, steps):  # a shadow falls where something towards the sun stands above its ray
        dy, dx = (-round(2 * k * d) for d in (south, east))
        ray = np.maximum(ray, _shifted(scene.height, dy, dx) - k * drop)
    shade = np.clip((ray - scene.height) / 0.6, 0, 1)
    sky = np.array([0.21, 0.25, 0.32], np.float32)
    warm = np.array([1.0, 0.97, 0.91], np.float32) * 0.78
    light = sky + warm * np.clip(sun * (1 - shade), 0, 1.5)[..., None]
    return np.clip(scene.rgb, 0.01, 1) ** 2.2 * light * rng.uniform(0.9, 1.35)


def make_scene(rng, size):
    """One clear aerial image.

    Args:
        rng: numpy Generator; everything is drawn from it.
        size: Side in pixels, at least 16.

    Returns:
        float32 [size, size, 3] in [0, 1], sRGB.
    """
    kind = str(rng.choice(KINDS, p=[0.28, 0.2, 0.16, 0.12, 0.12, 0.12]))
    scene = Scene(rng, 2 * size, rng.uniform(0.38, 0.75))
    if kind in ("farmland", "village") or (kind == "coast" and rng.random() < 0.5):
        layers.fields(scene)
    else:
        layers.open_ground(scene, kind)
    shore = np.full((scene.n, scene.n), 1e3, np.float32)
    if kind == "coast" or rng.random() < {"farmland": 0.4, "woodland": 0.5, "hills": 0.2}.get(kind, 0.3):
        shore = layers.water(scene, kind)
    if kind in ("village", "town") or rng.random() < 0.3:
        layers.built_up(scene, kind, shore)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.75, 0.2, 0.05] if kind == "town" else [0.25, 0.55, 0.2]))):
        layers.road(scene, shore)
    if kind == "farmland":
        scene.trees = np.where(scene.noise(70) > rng.uniform(1.0, 2.2), 0.9, scene.trees)
    layers.plant_trees(scene)
    linear = _light(scene).reshape(size, 2, size, 2, 3).mean((1, 3))
    return np.clip(linear + rng.normal(0, 0.002, linear.shape), 0, 1).astype(np.float32) ** np.float32(
        1 / 2.2
    )
