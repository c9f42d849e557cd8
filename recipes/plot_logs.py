"""Draws the losses of several trainings, epoch by epoch, into one picture.

    python recipes/plot_logs.py --log "original=original_training_log.csv" \\
        --log "HazeHeal=RUN/group_00/training_log.csv" --output=losses.png

Each log is a CSV file with a column `epoch` and one column for each loss. Needs matplotlib.
"""

import argparse
import csv
import pathlib

from matplotlib import pyplot

LOSSES = ("gen_total_loss", "gen_l1_loss", "gen_perceptual_loss", "gen_gan_loss", "disc_loss")


def read_log(path):
    """{loss: ([epoch], [value])} of the losses that the log has; cells without a number are left out."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    curves = {}
    for loss in LOSSES:
        points = [(float(row["epoch"]), number(row.get(loss))) for row in rows]
        points = [(epoch, value) for epoch, value in points if value is not None]
        if points:
            curves[loss] = tuple(zip(*points, strict=True))
    return curves


def number(cell):
    try:
        return float(cell)
    except (TypeError, ValueError):  # NA, an empty cell or no such column
        return None


def draw(logs, output):
    """Draws {label: curves of `read_log`} side by side, with a panel for each loss."""
    figure, panels = pyplot.subplots(1, len(LOSSES), figsize=(4 * len(LOSSES), 3.2), constrained_layout=True)
    for panel, loss in zip(panels, LOSSES, strict=True):
        for label, curves in logs.items():
            if loss in curves:
                panel.plot(*curves[loss], label=label, linewidth=1)
        panel.set(title=loss, xlabel="epoch", yscale="linear" if loss in ("gen_gan_loss", "disc_loss") else "log")
        panel.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(output, dpi=100)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--log", action="append", required=True, metavar="LABEL=FILE")
    parse.add_argument("--output", required=True, type=pathlib.Path, help="picture to write")
    flags = parse.parse_args(argv)
    logs = {}
    for word in flags.log:
        label, separator, path = word.partition("=")
        if not separator:
            parse.error(f"--log={word}: give LABEL=FILE")
        logs[label] = read_log(path)
    draw(logs, flags.output)
    print(f"wrote {flags.output}")


if __name__ == "__main__":
    main()
