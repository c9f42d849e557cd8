"""Derived figures of a benchmark, and its tables for a terminal."""

from hazeheal.benchmark.timing import median_ratio

MIB = 2**20


def derive(result: dict) -> dict:
    """Adds figures that follow from several rows.

    Args:
        result: Of `suite.run`.

    Returns:
        The same with further fields. Rows of `step`: flops_per_image; share_of_peak; ratio: images/s relative to the
        first row; efficiency, if the same was measured on fewer replicas: images/s relative to theirs, divided by the
        ratio of the numbers of devices (CPU replicas share one device). Rows of `comm`: share_of_step. Rows of
        `restore`: share_of_peak; ratio.
    """
    device, steps, restores = result["device"], result.get("step", []), result.get("restore", [])
    derived = dict(result)
    if steps:
        work = steps[0]["flops_per_image"]
        derived["step"] = [_derive_step(row, steps, work=work, device=device) for row in steps]
    if restores:
        derived["restore"] = [_derive_restore(row, restores[0], device=device) for row in restores]
    if "comm" in result:
        step_seconds = {row["replicas"]: row["step_seconds"]["median"] for row in steps}
        derived["comm"] = [_derive_comm(row, step_seconds) for row in result["comm"]]
    return derived


def _derive_step(row, steps, *, work, device):
    speed, count = row["images_per_second"], row["replicas"]
    derived = {
        "flops_per_image": work,
        "share_of_peak": _share_of_peak(
            work * speed["median"], precision=row["precision"], device=device, replicas=count
        ),
        "ratio": median_ratio(speed, steps[0]["images_per_second"]),
    }
    fewer = next(r for r in steps if (r["precision"], r["xla"]) == (row["precision"], row["xla"]))
    if count > fewer["replicas"]:
        devices = count / fewer["replicas"] if device["kind"] == "GPU" else 1
        derived["efficiency"] = median_ratio(speed, fewer["images_per_second"]) / devices
    return row | derived


def _derive_restore(row, first, *, device):
    speed = row["images_per_second"]
    rate = row["flops_per_image"] * speed["median"]
    share = _share_of_peak(rate, precision=row["precision"], device=device)
    return row | {"share_of_peak": share, "ratio": median_ratio(speed, first["images_per_second"])}


def _derive_comm(row, step_seconds):
    if row["replicas"] not in step_seconds:
        return row
    return row | {"share_of_step": row["seconds"]["median"] / step_seconds[row["replicas"]]}


def _share_of_peak(flops_per_second, *, precision, device, replicas=1):
    """A speed relative to the peak of as many devices: that of the matrix product or convolution, whichever is higher."""
    peak = max(rate["median"] for rate in device["peak"][precision].values())
    return flops_per_second / (peak * (replicas if device["kind"] == "GPU" else 1))


def tables(result: dict) -> str:
    """Returns the derived result as text: medians, each followed by the lowest and highest value."""
    device = result["device"]
    lines = [
        f"device    {device['count']} {device['kind']}: {device['name']}, {device['cores']} cores of the host"
    ]
    for precision, rates in device.get("peak", {}).items():
        text = ", ".join(f"{name} {_range(rate, 1e9)}" for name, rate in rates.items())
        lines.append(f"peak      {precision}: {text} GFLOP/s")
    if "bandwidth" in device:
        lines.append(f"memory    {_range(device['bandwidth'], 1e9)} GB/s read and written")
    lines += [f"left out  {name}: {why}" for name, why in result["left_out"].items()]
    for kind, columns in COLUMNS.items():
        if kind in result:
            lines += ["", kind, *_table(result[kind], columns)]
    return "\n".join(lines)


def _table(rows, columns):
    cells = [list(columns), *([to_text(row) for to_text in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]


def _range(one, unit=1.0):
    """`median (lowest to highest)` of a spread with three digits; a single value without the range."""
    median, lowest, highest = (_digits(one[name] / unit) for name in ("median", "lowest", "highest"))
    return median if len(one["values"]) == 1 else f"{median} ({lowest} to {highest})"


def _digits(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


# Each of the following returns a function from a row to the text of one cell.


def _spread(name, unit=1.0):
    return lambda row: _range(row[name], unit) if name in row else "-"


def _number(name, unit=1.0):
    return lambda row: _digits(row[name] / unit) if name in row else "-"


def _percent(name):
    return lambda row: f"{100 * row[name]:.1f} %" if name in row else "-"


def _text(name):
    return lambda row: str(row[name])


COLUMNS = {
    "input": {
        "records": _text("records"),
        "pairs/s": _spread("pairs_per_second"),
        "CPU ms/pair": _spread("cpu_ms_per_pair"),
    },
    "step": {
        "precision": _text("precision"),
        "XLA": _text("xla"),
        "replicas": _text("replicas"),
        "batch": _text("batch_size"),
        "images/s": _spread("images_per_second"),
        "ratio": _number("ratio"),
        "efficiency": _number("efficiency"),
        "compile s": _spread("compile_seconds"),
        "input wait": lambda row: f"{100 * row['input_wait_share']['median']:.1f} %",
        "MiB": _spread("peak_memory_bytes", MIB),
        "GFLOP/image": _number("flops_per_image", 1e9),
        "of the peak": _percent("share_of_peak"),
    },
    "comm": {
        "replicas": _text("replicas"),
        "tensors": _text("tensors"),
        "dtype": _text("reduce_dtype"),
        "MiB": _number("bytes", MIB),
        "ms": _spread("seconds", 1e-3),
        "GB/s": _spread("bytes_per_second", 1e9),
        "of the step": _percent("share_of_step"),
    },
    "convert": {
        "encoding": _text("encoding"),
        "pairs": _text("pairs"),
        "size": _text("size"),
        "seconds": _spread("seconds"),
        "start s": _spread("start_seconds"),
        "pairs/s": _spread("pairs_per_second"),
        "pairs/s running": _spread("pairs_per_second_running"),
    },
    "restore": {
        "precision": _text("precision"),
        "image": lambda row: f"{row['width']}x{row['height']}",
        "images/s": _spread("images_per_second"),
        "ratio": _number("ratio"),
        "megapixels/s": _spread("megapixels_per_second"),
        "MiB": _spread("peak_memory_bytes", MIB),
        "GFLOP/image": _number("flops_per_image", 1e9),
        "of the peak": _percent("share_of_peak"),
    },
}
