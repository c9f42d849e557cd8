"""HDR to SDR: the table with which FFmpeg's filter `lut3d` converts PQ or HLG in BT.2020 to BT.709.

Up to about half of SDR's white nothing changes; above, the curve of ITU-R BT.2390 compresses the range up to 1000 cd/m2.
Reference white is 203 cd/m2 (ITU-R BT.2408), and becomes 91 % of SDR's white. What is brighter than 1000 cd/m2 is
clipped. The curve is applied to the largest of the three colors, so the hue stays.
"""

import pathlib

import numpy as np

PEAK, WHITE = 1000.0, 203.0  # cd/m2: the brightest that is kept, and SDR's white
_GRID = 33
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_BT2020_LUMA = (0.2627, 0.6780, 0.0593)
_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))


def to_sdr(values: np.ndarray, *, transfer: str) -> np.ndarray:
    """Converts encoded colors.

    Args:
        values: `[..., 3]` in [0, 1], RGB of BT.2020.
        transfer: "PQ" or "HLG".

    Returns:
        `[..., 3]` in [0, 1], RGB of BT.709 for a display of BT.1886.
    """
    light = np.minimum(_pq_to_light(values) if transfer == "PQ" else _hlg_to_light(values), PEAK)
    brightest = light.max(-1, keepdims=True)
    light = light * (_compressed(brightest) / np.maximum(brightest, 1e-6))
    sdr = np.clip(light / WHITE @ np.transpose(_TO_BT709), 0, 1)
    return sdr ** (1 / 2.4)


def write_table(path: pathlib.Path, *, transfer: str) -> None:
    """Writes the table as a .cube file, red changing fastest."""
    axis = np.linspace(0, 1, _GRID)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    table = to_sdr(np.stack([red, green, blue], -1), transfer=transfer).reshape(-1, 3)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"LUT_3D_SIZE {_GRID}\n")
        np.savetxt(file, table, fmt="%.6f")


def _pq_to_light(values):
    root = values ** (1 / _M2)
    return 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _light_to_pq(light):
    power = (light / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_to_light(values):
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return PEAK * scene * np.maximum(scene @ np.array(_BT2020_LUMA), 1e-9)[..., np.newaxis] ** 0.2


def _compressed(light):
    """The curve of BT.2390 from [0, PEAK] to [0, WHITE] cd/m2."""
    peak = _light_to_pq(PEAK)
    value, top = _light_to_pq(light) / peak, _light_to_pq(WHITE) / peak
    knee = 1.5 * top - 0.5
    t = (value - knee) / (1 - knee)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    return _pq_to_light(np.where(value < knee, value, curve) * peak)
