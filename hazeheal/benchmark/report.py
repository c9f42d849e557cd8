"""What follows from the measurements, and the tables that show them."""

from hazeheal.benchmark.timing import ratio

MIB = 2**20


def derive(result: dict) -> dict:
    """Adds to the rows what follows from several of them.

    Args:
        result: Of `suite.run`.

    Returns:
        The same with, in rows of `step`: flops_per_image; share_of_peak; ratio: images/s over those of the
        first row; efficiency, where the same was measured on fewer replicas: images/s over theirs, times
        theirs over ours of devices (replicas on CPUs share the one device). Of `comm`: share_of_step.
        Of `restore`: share_of_peak; ratio.
    """
    device, steps, restores = result["device"], result.get("step", []), result.get("restore", [])
    derived = dict(result)
    if steps:
        work = steps[0]["flops_per_image"]
        derived["step"] = [_step(row, steps, work=work, device=device) for row in steps]
    if restores:
        derived["restore"] = [
            row
            | {
                "share_of_peak": share_of_peak(
                    row["flops_per_image"] * row["images_per_second"]["median"],
                    precision=row["precision"],
                    device=device,
                ),
                "ratio": ratio(row["images_per_second"], restores[0]["images_per_second"]),
            }
            for row in restores
        ]
    if "comm" in result:
        seconds = {row["replicas"]: row["step_seconds"]["median"] for row in steps}
        derived["comm"] = [
            row | ({"share_of_step": row["seconds"]["median"] / seconds[n]} if n in seconds else {})
            for row in result["comm"]
            for n in [row["replicas"]]
        ]
    return derived


def _step(row, steps, *, work, device):
    speed, count = row["images_per_second"], row["replicas"]
    more = {
        "flops_per_image": work,
        "share_of_peak": share_of_peak(
            work * speed["median"], precision=row["precision"], device=device, replicas=count
        ),
        "ratio": ratio(speed, steps[0]["images_per_second"]),
    }
    fewer = next(r for r in steps if (r["precision"], r["xla"]) == (row["precision"], row["xla"]))
    if count > fewer["replicas"]:
        devices = count / fewer["replicas"] if device["kind"] == "GPU" else 1
        more["efficiency"] = ratio(speed, fewer["images_per_second"]) / devices
    return row | more


def share_of_peak(flops_per_second, *, precision, device, replicas=1) -> float:
    """Of the most that a matrix product or a convolution reached on as many devices in this precision."""
    peak = max(one["median"] for one in device["peak"][precision].values())
    return flops_per_second / (peak * (replicas if device["kind"] == "GPU" else 1))


def tables(result: dict) -> str:
    """The derived result for a terminal: medians, and behind them the lowest and highest."""
    device = result["device"]
    lines = [
        f"device    {device['count']} {device['kind']}: {device['name']}, {device['cores']} cores of the host"
    ]
    for precision, rates in device.get("peak", {}).items():
        shown = ", ".join(f"{name} {_range(rate, 1e9)}" for name, rate in rates.items())
        lines.append(f"peak      {precision}: {shown} GFLOP/s")
    if "bandwidth" in device:
        lines.append(f"memory    {_range(device['bandwidth'], 1e9)} GB/s read and written")
    lines += [f"left out  {name}: {why}" for name, why in result["left_out"].items()]
    for kind, columns in COLUMNS.items():
        if kind in result:
            lines += ["", kind, *_table(result[kind], columns)]
    return "\n".join(lines)


def _table(rows, columns):
    cells = [list(columns), *([show(row) for show in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]


def _range(one, unit=1.0):
    """`median (lowest to highest)`, in three digits; one value stands alone."""
    shown = [_digits(one[name] / unit) for name in ("median", "lowest", "highest")]
    return shown[0] if len(one["values"]) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _digits(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


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
        "CPU ms a pair": _spread("cpu_ms_per_pair"),
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
        "waiting": lambda row: f"{100 * row['input_wait_share']['median']:.1f} %",
        "MiB": _spread("peak_memory_bytes", MIB),
        "GFLOP an image": _number("flops_per_image", 1e9),
        "of the peak": _percent("share_of_peak"),
    },
    "comm": {
        "replicas": _text("replicas"),
        "tensors": _text("tensors"),
        "as": _text("reduce_dtype"),
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
        "of them to start": _spread("start_seconds"),
        "pairs/s": _spread("pairs_per_second"),
        "running": _spread("pairs_per_second_running"),
    },
    "restore": {
        "precision": _text("precision"),
        "image": lambda row: f"{row['width']}x{row['height']}",
        "images/s": _spread("images_per_second"),
        "ratio": _number("ratio"),
        "megapixels/s": _spread("megapixels_per_second"),
        "MiB": _spread("peak_memory_bytes", MIB),
        "GFLOP an image": _number("flops_per_image", 1e9),
        "of the peak": _percent("share_of_peak"),
    },
}
