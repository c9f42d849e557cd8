"""The tables of `first_minutes.py`, from the figures in its JSON file.

python benchmarks/gpu/report.py first_minutes.json
"""

import json
import pathlib
import statistics
import sys

UNIT = "images_per_second"
EAGER = "pytorch eager"


def markdown(result):
    """Returns the report of one session as Markdown."""
    settings, device, peaks = result["settings"], result.get("device", {}), result.get("peaks")
    side = settings["crop_size"]
    title = [
        device.get("device", "unknown device"),
        f"width {settings['width']}",
        f"{side}x{side}",
        settings["precision"],
    ]
    title += [f"norm={settings['norm']}", f"{'with' if settings['perceptual'] else 'without'} the perceptual loss"]
    lines = [", ".join(title), ""]
    for name, answer in result["checks"].items():
        if "failed" in answer:
            lines.append(f"- {name}: **failed**: {answer['failed']}")
        else:
            lines.append(f"- {name}: relative difference from TensorFlow {answer['relative_difference']:.1e}")
    if peaks:
        flops, bandwidth = peaks["flops"] / 1e12, peaks["bandwidth"] / 1e12
        lines.append(f"- measured peaks: {flops:.3g} TFLOP/s in bfloat16, {bandwidth:.3g} TB/s")
    lines += ["", *batch_table(result), "", *depthwise_table(result)]
    lines += [
        f"- left out: {name} ({reason})" for name, reason in result["left_out"].items() if name not in result["checks"]
    ]
    lines.append(f"- {result['seconds']:.0f} s in all, of at most {result['budget']:.0f} s")
    return "\n".join(lines)


def batch_table(result):
    """Returns the lines of the table of all batch sizes and contestants."""
    head = (
        "batch, step, images/s, times PyTorch eager, ms per step, share of peak, share of bandwidth, memory GB, start s"
    )
    columns = head.split(", ")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    peaks = result.get("peaks")
    for size, contestants in result["batches"].items():
        # PyTorch's step has about the same operations, so the share of the peak is relative to HazeHeal's count.
        flops = next((c["rounds"][0]["flops"] for c in contestants.values() if "flops" in c["rounds"][0]), None)
        for name, entry in contestants.items():
            rounds = entry["rounds"]
            seconds = statistics.median(figures["step_seconds"] for figures in rounds)
            moved, memory = rounds[-1].get("bytes"), rounds[-1].get("peak_memory_bytes")
            cells = [
                size,
                name,
                f"{statistics.median(figures[UNIT] for figures in rounds):.4g}",
                ratio(entry, contestants.get(EAGER)),
                f"{1e3 * seconds:.3g}",
                f"{flops / seconds / peaks['flops']:.2f}" if peaks and flops else "",
                f"{moved / seconds / peaks['bandwidth']:.2f}" if peaks and moved else "",
                f"{memory / 1e9:.2f}" if memory else "",
                f"{entry['start']:.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def ratio(entry, base):
    """Returns the median ratio to another contestant in the same round, as text."""
    if base is None:
        return ""
    pairs = zip(entry["rounds"], base["rounds"], strict=True)
    return f"{statistics.median(ours[UNIT] / theirs[UNIT] for ours, theirs in pairs):.2f}"


def depthwise_table(result):
    """Returns the lines of the table of the depthwise convolutions, if they were measured."""
    if not result["depthwise"]:
        return []
    lines = [
        "| depthwise 3x3, forward and backward | library, ms | shifted products, ms | least by bandwidth, ms |",
        "|---|---|---|---|",
    ]
    for row in result["depthwise"]:
        bandwidth = result.get("peaks", {}).get("bandwidth")
        least = f"{1e3 * row['least_bytes'] / bandwidth:.3g}" if bandwidth else ""
        name = f"{'x'.join(map(str, row['input']))}, stride {row['strides']}"
        lines.append(f"| {name} | {row['library_ms']:.3g} | {row['shifted_ms']:.3g} | {least} |")
    return [*lines, ""]


if __name__ == "__main__":
    print(markdown(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))))
