"""The layers of an aerial scene, each a function that paints albedo and height onto a `Scene`.

They are painted from the ground up: fields or open ground, water, streets and houses, roads, trees.
"""

import math

import numpy as np

from hazeheal.data.synthesis.scene_canvas import palette

_CROPS = "566e34 c4ac6c bcb252 8a6c52 b09678 604c3e 68803e 7a8c54 969e64 46783c 98664e 58643a 8c8a4c"
_ROOFS = "a0523c b4644a 8c4638 6e6e74 54585e 7c5c48 c8c4bc 9a9088 5a6e86 e0dcd4"
_CARS = "f0f0f0 d8d8dc 202228 44484e 9c1c1c 2c4a86 b0b4b8 6c7076"
_LAWNS = "6a8246 5a7840 84904e 9a8e6c a8a08c 74864c"


def fields(scene):
    """Fields by repeated splitting of a rectangle: a crop, furrows and tramlines each; hedges, tracks."""
    rng, angle = scene.rng, scene.rng.uniform(0, math.pi)
    u, v = scene.rotated(angle)
    bend = scene.noise(120, 1)
    u, v = u + 2 * bend, v + 2 * np.roll(bend, scene.n // 2, 0)
    reach, size = 0.75 * scene.extent, rng.uniform(28, 75)
    todo, leaves = [(-reach, -reach, reach, reach)], []
    while todo:
        x0, y0, x1, y1 = todo.pop()
        if max(x1 - x0, y1 - y0) < size * rng.uniform(1, 2.2):
            leaves.append((x0, y0, x1, y1))
            continue
        cut = rng.uniform(0.3, 0.7)
        if x1 - x0 > y1 - y0:
            middle = x0 + cut * (x1 - x0)
            todo += [(x0, y0, middle, y1), (middle, y0, x1, y1)]
        else:
            middle = y0 + cut * (y1 - y0)
            todo += [(x0, y0, x1, middle), (x0, middle, x1, y1)]
    label, border = np.zeros((scene.n, scene.n), int), np.zeros((scene.n, scene.n), np.float32)
    for number, (x0, y0, x1, y1) in enumerate(leaves):
        inside = np.minimum(np.minimum(u - x0, x1 - u), np.minimum(v - y0, y1 - v))
        label[inside >= 0] = number
        border = np.maximum(border, inside)
    count, crops = len(leaves), palette(_CROPS)
    color = crops[rng.permutation(len(crops))[: rng.integers(4, 9)]]
    color = color[rng.integers(len(color), size=count)] * rng.uniform(0.85, 1.12, (count, 1))
    color = (color + rng.normal(0, 0.012, (count, 3))).astype(np.float32)
    across = np.where((rng.random(count) < 0.5)[label], u, v)
    furrow = np.sin(across * (2 * math.pi / rng.uniform(1.8, 5, count))[label])
    tram = np.abs(across % rng.uniform(9, 20, count)[label] - 4) < 0.7
    coarse, fine = scene.noise(35), scene.noise(2.5, 2)
    shade = 1 + 0.06 * coarse + rng.uniform(0.0, 0.09, count)[label] * furrow
    shade += rng.uniform(0.02, 0.08, count)[label] * fine - 0.14 * (tram & (rng.random(count) < 0.5)[label])
    scene.rgb[:] = color[label] * shade[..., None]
    hedged = border < rng.uniform(1.2, 2.5)
    if rng.random() < 0.6:
        scene.paint(border < 1.6, palette("b0a080") * (1 + 0.06 * fine[..., None]))
        hedged &= border > 1.4
    scene.trees = np.maximum(scene.trees, np.where(hedged & (coarse > rng.uniform(-0.5, 1)), 0.8, 0.004))


def open_ground(scene, kind):
    """Open ground without fields: meadow and wood, or dry hills with gullies and rock."""
    rng = scene.rng
    mix, fine, coarse = scene.noise(60), scene.noise(2.5, 2), scene.noise(90)
    if kind == "hills":
        ridge = scene.noise(110, 6, 0.48)
        scene.terrain = (16 - 13 * np.abs(ridge) + 3 * mix).astype(np.float32) * rng.uniform(0.6, 1.3)
        low, high = palette(rng.choice(["94825e c8ac84", "8a7256 b8966e", "6c7048 a89a70", "a07458 cca07c"]))
        strata = 0.05 * np.sin(scene.terrain * rng.uniform(1.5, 3) + mix)
        level = np.clip(0.5 + 0.3 * ridge + 0.15 * fine, 0, 1)[..., None]
        scene.rgb[:] = (low + level * (high - low)) * (1 + strata[..., None] + 0.05 * fine[..., None])
        scene.paint(coarse > 0.4, palette("6a7044"), 0.45)
        scene.trees = np.where(mix + 0.3 * coarse > 0.8, 0.35, 0.02).astype(np.float32)
    else:
        low, high = palette(rng.choice(["5e7438 8c9450", "6c7c48 a89c6a", "74703e 9a8c5c"]))
        level = np.clip(0.5 + 0.35 * mix, 0, 1)[..., None]
        scene.rgb[:] = (low + level * (high - low)) * (1 + 0.08 * fine[..., None])
        scene.trees = np.where(coarse + 0.5 * mix > rng.uniform(-0.8, 0.6), 0.93, 0.05).astype(np.float32)
        scene.terrain = 3 * coarse


def water(scene, kind):
    """A river, a lake or the sea. Returns the distance to the shore in meters, negative in the water."""
    rng = scene.rng
    rough = scene.noise(40)
    if kind == "coast":
        shore = scene.wandering(rng.uniform(0, 2 * math.pi), 0.8, rng.uniform(-0.15, 0.2))[0] + 4 * rough
    elif rng.random() < 0.65:
        line = scene.wandering(rng.uniform(0, math.pi), rng.uniform(0.4, 1.4), rng.uniform(-0.25, 0.25))[0]
        shore = np.abs(line) - rng.uniform(4, 14) - 1.2 * rough
    else:
        center = rng.uniform(0.2, 0.8, 2) * scene.extent
        shore = np.hypot(scene.x - center[0], scene.y - center[1]) - rng.uniform(20, 45) - 7 * rough
    shallow, deep = palette(rng.choice(["5c8c86 1c4658", "6c7a5a 34483e", "4c7a84 143c5c", "74785c 4a5444"]))
    if kind == "coast":
        shallow, deep = palette(rng.choice(["7cbab0 1a5478", "6ea8a0 144058", "8cb4a4 2a5a70"]))
    fine = scene.noise(3, 2)
    bank = palette("d0bc94" if kind == "coast" else rng.choice(["a8987a", "6a7442", "8c8466"]))
    width = rng.uniform(6, 18) if kind == "coast" else rng.uniform(1, 3)
    scene.paint(np.clip(1.5 - shore / width, 0, 1), bank * (1 + 0.05 * fine[..., None]))
    depth = (1 - np.exp(np.minimum(shore, 0) / (25 if kind == "coast" else 6)))[..., None]
    water = (shallow + depth * (deep - shallow)) * (1 + 0.05 * fine[..., None] + 0.04 * rough[..., None])
    scene.paint(shore < 0, water)
    if kind == "coast":
        swell = np.sin(shore * 2 * math.pi / rng.uniform(9, 16) + 1.5 * rough)
        scene.paint((np.abs(shore + 2) < 1.5 + 1.2 * rough) & (fine > -0.7), palette("eef2f0"), 0.85)
        scene.paint((shore < -3) & (shore > -30) & (swell > 0.93) & (fine > 0), palette("e4ecec"), 0.7)
    scene.terrain = np.where(shore < 0, 0, scene.terrain * np.clip(shore / 15, 0, 1)).astype(np.float32)
    scene.trees = np.where((kind != "coast") & (shore < 8) & (rough > 0.2), 0.6, scene.trees)
    scene.free &= shore > (width if kind == "coast" else 1.5)
    return shore


def built_up(scene, kind, shore):
    """Streets, lots, houses with gable or flat roofs, gardens, pools, car parks and cars."""
    rng, big = scene.rng, kind == "town"
    zone = np.ones((scene.n, scene.n), bool)
    if kind != "town":
        zone = (
            scene.noise(150, 2) > rng.uniform(-1.3, -0.2) if kind == "village" else scene.noise(90, 2) > 0.9
        )
    zone &= shore > 14
    u, v = scene.rotated(rng.uniform(0, math.pi))
    street = rng.uniform(6, 11 if big else 8)
    lot_u, lot_v = (
        (rng.uniform(32, 48), rng.uniform(28, 40)) if big else (rng.uniform(14, 20), rng.uniform(19, 28))
    )
    per_u, per_v = (2 if big else int(rng.integers(4, 7))), 2
    k = 64
    u, v = u + scene.extent + 40, v + scene.extent + 40
    block_u, block_v = per_u * lot_u + street, per_v * lot_v + street
    in_u, in_v = u % block_u - street, v % block_v - street
    column = (u // block_u * per_u + np.maximum(in_u, 0) // lot_u).astype(int) % k
    row = (v // block_v * per_v + np.maximum(in_v, 0) // lot_v).astype(int) % k
    cell = row * k + column
    du, dv = in_u % lot_u - lot_u / 2, in_v % lot_v - lot_v / 2
    sums = np.bincount(cell.ravel(), zone.ravel(), k * k) / np.maximum(
        np.bincount(cell.ravel(), None, k * k), 1
    )
    used = sums > 0.55  # a lot is built on or not as a whole, so that no house is cut
    lot_used = used[cell]
    on_street = (in_u < 0) | (in_v < 0)
    near = lot_used | (on_street & zone)
    fine = scene.noise(2, 2)[..., None]

    def per_lot(low, high):
        return rng.uniform(low, high, k * k).astype(np.float32)[cell]

    lawns, roofs, cars = palette(_LAWNS), palette(_ROOFS), palette(_CARS)
    grounds = palette("8c8a86 9a968e 7c7c7a a09c90 74806a") if big else lawns
    scene.paint(near, grounds[rng.integers(len(grounds), size=k * k)][cell] * (1 + 0.06 * fine))
    asphalt = rng.choice([0.38, 0.45, 0.52]) * np.array([1, 0.995, 0.985], np.float32)
    scene.paint(near & on_street, asphalt * (1 + 0.04 * fine))
    edge = near & on_street & ((in_u > -1.4) | (in_u < 1.4 - street) | (in_v > -1.4) | (in_v < 1.4 - street))
    scene.paint(edge & ~((in_u < -1.4) & (in_v < -1.4)), asphalt * 1.35)
    parking = lot_used & (rng.random(k * k) < (0.22 if big else 0.02))[cell] & ~on_street
    empty = (rng.random(k * k) < 0.1)[cell]
    half_u = per_lot(0.25, 0.43) * lot_u if big else per_lot(3.6, 6.0)
    half_v = per_lot(0.25, 0.42) * lot_v if big else per_lot(3.2, 5.0)
    hu = du - per_lot(-1, 1) * np.maximum(lot_u / 2 - half_u - 1.2, 0)
    hv = dv - per_lot(-1, 1) * np.maximum(lot_v / 2 - half_v - 2, 0) * (0.4 if not big else 1)
    inside = np.minimum(half_u - np.abs(hu), half_v - np.abs(hv))
    wing = (np.abs(hu - per_lot(-0.5, 0.5) * half_u) < 0.45 * half_u) & (np.abs(hv) < 1.5 * half_v) & ~parking
    house = lot_used & ~on_street & ~parking & ~empty & ((inside > 0) | (wing & (per_lot(0, 1) < 0.4)))
    flat = per_lot(0, 1) < (0.8 if big else 0.12)
    eaves = per_lot(6, 22) if big else per_lot(3, 5.5)
    slope = np.where(per_lot(0, 1) < 0.7, half_v - np.abs(hv), np.maximum(inside, 0))
    roof_height = eaves + np.where(flat, 0.7 * (inside < 0.6), 0.65 * np.maximum(slope, 0))
    color = roofs[rng.integers(0 if not big else 3, len(roofs), k * k)] * rng.uniform(0.85, 1.1, (k * k, 1))
    rows = 0.05 * np.sin(hv * 2 * math.pi / 1.1)[..., None]
    scene.paint(house, color[cell] * (1 + rows + 0.04 * fine))
    unit = house & flat & (np.abs(hu % 7 - 3) < 1.1) & (np.abs(hv % 9 - 4) < 1.3) & (inside > 2)
    scene.paint(unit, palette("c4c6c8"))
    scene.height = np.where(house, roof_height + 1.5 * unit, scene.height).astype(np.float32)
    pool = lot_used & ~house & ~on_street & (np.hypot(du - 0.2 * lot_u, (dv + 0.33 * lot_v) * 1.7) < 2.6)
    scene.paint(pool & (per_lot(0, 1) < 0.14), palette("58b4c4"))
    slots = parking & (dv % 11 < 5)
    scene.paint(parking, asphalt * 1.1 * (1 + 0.03 * fine))
    scene.paint(slots & (du % 2.7 < 0.25), palette("dcdcd8"))
    slot = (np.floor(du / 2.7).astype(int) * 7 + np.floor(dv / 11).astype(int) * 31 + cell * 13) % 997
    car = (
        slots
        & (np.abs(du % 2.7 - 1.45) < 0.9)
        & (np.abs(dv % 11 - 2.5) < 2.1)
        & (rng.random(997) < 0.6)[slot]
    )
    lane = near & on_street & (in_v < 0) & (in_u > 0) & (np.abs(in_v + 0.28 * street) < 0.9)
    place = np.floor(u / 5.6).astype(int) % 997
    car |= lane & (np.abs(u % 5.6 - 2.8) < 2.1) & (rng.random(997) < 0.3)[place]
    slot = np.where(lane, place, slot)
    scene.paint(car, cars[rng.integers(len(cars), size=997)][slot])
    scene.height = np.where(car, 1.5, scene.height).astype(np.float32)
    scene.free &= ~(house | (near & on_street & ~edge) | parking)
    wanted = 0.06 if big else rng.uniform(0.1, 0.3)
    scene.trees = np.where(near, np.where(on_street, 0.35 if big else 0.12, wanted), scene.trees)
    scene.terrain = np.where(zone, 0.3 * scene.terrain, scene.terrain).astype(np.float32)


def road(scene, shore):
    """A road with verge, lanes and markings, or a dirt track; a bridge over water, if it is narrow."""
    rng = scene.rng
    distance, along = scene.wandering(rng.uniform(0, math.pi), rng.uniform(0, 0.8), rng.uniform(-0.3, 0.3))
    if np.mean(shore[np.abs(distance) < 6] < 0) > 0.25:
        return
    fine = scene.noise(2, 2)[..., None]
    away = np.abs(distance)
    if rng.random() < 0.3:
        half, color = rng.uniform(1.3, 2.2), palette(rng.choice(["bca886", "a89070", "c8b898"]))
    else:
        half, color = rng.choice([3.2, 4.0, 8.0]), rng.choice([0.36, 0.46, 0.56]) * palette("fffefa")
        scene.paint(away < half + 1.8, palette("a09a7c"), 0.7)
    scene.paint(away < half, color * (1 + 0.04 * fine))
    scene.height = np.where(away < half + 0.5, 0, scene.height)
    scene.terrain = scene.terrain * np.clip(away / 25, 0.1, 1)
    scene.free &= away > half + 1.5
    if half > 3:
        scene.paint((away < 0.3) & (along % 9 < 5), palette("ecebe4"))
        scene.paint(np.abs(away - half + 0.5) < 0.25, palette("e4e2da"), 0.85)
        if half > 6:
            scene.paint((np.abs(away - half / 2) < 0.25) & (along % 9 < 4), palette("ecebe4"))
        place = np.floor(along / 11).astype(int) % 499 + 499 * (distance > 0)
        body = (np.abs(away - half * (0.45 if half < 6 else 0.72)) < 0.95) & (along % 11 < 4.4)
        body &= (rng.random(998) < rng.uniform(0.05, 0.35))[place]
        scene.paint(body, palette(_CARS)[rng.integers(8, size=998)][place])
        scene.height = np.where(body, 1.5, scene.height).astype(np.float32)


def plant_trees(scene):
    """Trees where `trees` wants them: on a jittered grid, each crown half an ellipsoid of its own green."""
    rng, pitch = scene.rng, scene.rng.uniform(4.2, 6.5)
    m = int(np.ceil(scene.extent / pitch)) + 2
    column, row = np.meshgrid(np.arange(m) - 1, np.arange(m) - 1)
    x = ((column + rng.random((m, m))) * pitch).astype(np.float32)
    y = ((row + rng.random((m, m))) * pitch).astype(np.float32)
    stands = (rng.random((m, m)) < scene.at(scene.trees, x, y)) & scene.at(scene.free, x, y)
    radius = np.where(stands, rng.uniform(0.42, 0.85, (m, m)) * pitch, 1e-3).astype(np.float32)
    tall = (radius * rng.uniform(1.6, 2.6, (m, m))).astype(np.float32)
    leaves = palette(scene.rng.choice(["3c5228 5c6c34", "34482c 4c6438", "4a5e2c 7a7c3a", "445428 86703a"]))
    hue = leaves[0] + rng.random((m, m, 1), np.float32) * (leaves[1] - leaves[0])
    hue = (hue * rng.uniform(0.8, 1.15, (m, m, 1))).reshape(-1, 3)
    flat = [field.ravel() for field in (x, y, 1 / radius**2, tall)]
    home = ((scene.y / pitch).astype(int) + 1) * m + (scene.x / pitch).astype(int) + 1
    best, owner = np.zeros_like(scene.height), np.zeros_like(home)
    for shift in (dy * m + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
        index = np.clip(home + shift, 0, m * m - 1)
        cx, cy, inverse, top = (field.take(index) for field in flat)
        inside = 1 - ((scene.x - cx) ** 2 + (scene.y - cy) ** 2) * inverse
        crown = top * (0.35 + 0.65 * np.sqrt(np.maximum(inside, 0))) * (inside > 0)
        higher = crown > best
        best, owner = np.where(higher, crown, best), np.where(higher, index, owner)
    crown = (best > 0.5) & (best > scene.height)
    leaf = scene.noise(1.6, 1)
    scene.paint(crown, hue[owner] * (1 + 0.12 * leaf[..., None]))
    scene.height = np.where(crown, best + 0.25 * leaf, scene.height)
