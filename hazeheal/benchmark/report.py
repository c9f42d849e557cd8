"""Derived figures of a benchmark, and its tables for a terminal."""

from hazeheal.benchmark.plan import KINDS

# The fields that the tables show, in this order: {field: (heading, unit)}.
COLUMNS = {
    "records": ("records", 1),
    "encoding": ("encoding", 1),
    "step_ms": ("step ms", 1),
    "steps": ("steps", 1),
    "precision": ("precision", 1),
    "xla": ("XLA", 1),
    "replicas": ("replicas", 1),
    "batch_size": ("batch", 1),
    "pairs": ("pairs", 1),
    "size": ("size", 1),
    "height": ("height", 1),
    "width": ("width", 1),
    "wait_steps_per_second": ("wait-only steps/s", 1),
    "steps_per_second": ("steps/s", 1),
    "share_of_wait": ("% of wait-only", 0.01),
    "images_per_second": ("images/s", 1),
    "pairs_per_second": ("pairs/s", 1),
    "cpu_ms_per_pair": ("CPU ms/pair", 1),
    "cached_pairs_per_second": ("cached pairs/s", 1),
    "ratio": ("ratio", 1),
    "efficiency": ("efficiency", 1),
    "seconds": ("seconds", 1),
    "bytes_per_second": ("GB/s", 1e9),
    "compile_seconds": ("compile s", 1),
    "input_wait_share": ("input wait %", 0.01),
    "overhead_share": ("overhead %", 0.01),
    "bytes": ("MiB", 2**20),
    "peak_memory_bytes": ("memory MiB", 2**20),
    "flops_per_image": ("GFLOP/image", 1e9),
    "share_of_peak": ("% of the peak", 0.01),
    "share_of_step": ("% of the step", 0.01),
}


def derive(result: dict) -> None:
    """Adds figures that follow from several rows to the result of `suite.run`.

    Rows of `step` and `restore`: share_of_peak; ratio, the images/s relative to the first row. Rows of `step` with more
    replicas than another row of the same precision and XLA: efficiency, the images/s relative to that row, divided by the
    ratio of the numbers of devices (CPU replicas share one device). Rows of `comm`: share_of_step.
    """
    device, steps = result["device"], result.get("step", [])
    on_gpu = device["kind"] == "GPU"
    for rows in (steps, result.get("restore", [])):
        for row in rows:
            speed = row["images_per_second"]["median"]
            devices = row["replicas"] if on_gpu and rows is steps else 1
            peak = devices * device["peak"][row["precision"]]["median"]
            row["share_of_peak"] = row["flops_per_image"] * speed / peak
            row["ratio"] = speed / rows[0]["images_per_second"]["median"]
    for row in steps:
        fewest = next(r for r in steps if (r["precision"], r["xla"]) == (row["precision"], row["xla"]))
        if row["replicas"] > fewest["replicas"]:
            devices = row["replicas"] / fewest["replicas"] if on_gpu else 1
            row["efficiency"] = row["ratio"] / fewest["ratio"] / devices
    step_seconds = {row["replicas"]: row["step_seconds"]["median"] for row in steps}
    for row in result.get("comm", []):
        if row["replicas"] in step_seconds:
            row["share_of_step"] = row["seconds"]["median"] / step_seconds[row["replicas"]]


def tables(result: dict) -> str:
    """Returns the derived result as text: medians, each followed by the lowest and highest value."""
    device = result["device"]
    lines = [f"device    {device['count']} {device['kind']}: {device['name']}, {device['cores']} cores of the host"]
    lines += [f"peak      {name}: {_cell(rate, 1e9)} GFLOP/s" for name, rate in device["peak"].items()]
    lines += [f"left out  {name}: {why}" for name, why in result["left_out"].items()]
    for kind in KINDS:
        if kind in result:
            lines += ["", kind, *_table(result[kind])]
    return "\n".join(lines)


def _table(rows):
    fields = [field for field in COLUMNS if any(field in row for row in rows)]
    cells = [[COLUMNS[field][0] for field in fields]]
    cells += [[_cell(row.get(field), COLUMNS[field][1]) for field in fields] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def _cell(value, unit):
    """A value as text; a spread of several values as `median (lowest to highest)`."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        median, lowest, highest = (_cell(value[name], unit) for name in ("median", "lowest", "highest"))
        return median if len(value["values"]) == 1 else f"{median} ({lowest} to {highest})"
    number = value / unit
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"
