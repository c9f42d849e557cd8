"""Measures what the figures of `hazeheal evaluate --no_reference` can show, on pairs that have ground truth.

    python benchmarks/no_reference_figures.py --hazy_dir=D/hazy --gt_dir=D/GT

For each figure: how many clear images it prefers to their hazy ones, and how many of the results of the dark channel
prior and of a network it orders as PSNR does (against the input, and against each other). 50 % is chance.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rounds  # noqa: E402
from hazeheal.data.images import image_ops  # noqa: E402
from hazeheal.evaluation import dark_channel, no_reference, pairs  # noqa: E402
from hazeheal.evaluation.results import METRICS  # noqa: E402
from hazeheal.inference.load_model import open_model  # noqa: E402


def agreement(rows, figure, one, other):
    """The share of images for which the figure and PSNR prefer the same of two methods, in percent; ties are left out."""
    sign = METRICS[figure].sign
    changes = [(sign * (row[one][figure] - row[other][figure]), row[one]["psnr"] - row[other]["psnr"]) for row in rows]
    decided = [a * b > 0 for a, b in changes if a * b]
    return 100 * sum(decided) / len(decided) if decided else float("nan")


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--hazy_dir", required=True)
    parse.add_argument("--gt_dir", required=True)
    parse.add_argument("--every", type=int, default=1, metavar="N", help="use every Nth pair")
    parse.add_argument("--model", default="best")
    parse.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    flags = parse.parse_args(argv)
    restore, rows = open_model(flags.model).restore, []
    for pair in pairs.from_folders(flags.hazy_dir, flags.gt_dir, allow_orphans=True).pairs[:: flags.every]:
        hazy, clear = pair.load()
        images = {"input": hazy, "dark_channel": dark_channel.restore(hazy), "network": restore(hazy), "clear": clear}
        psnr = {name: min(image_ops.psnr(image, clear), 100.0) for name, image in images.items()}
        rows.append({n: no_reference.measure(image, hazy) | {"psnr": psnr[n]} for n, image in images.items()})
    comparisons = [("clear", "input"), ("dark_channel", "input"), ("network", "input"), ("network", "dark_channel")]
    print(f"{len(rows)} pairs of {flags.hazy_dir}: figures that agree with PSNR, in percent\n")
    print(
        f"| figure | {' | '.join(f'{one} or {other}' for one, other in comparisons)} | mean of the input | of clear |"
    )
    print("|---|" + "---|" * (len(comparisons) + 2))
    for figure in rows[0]["input"]:
        if figure != "psnr":
            cells = [f"{agreement(rows, figure, *names):.0f}" for names in comparisons]
            cells += [f"{sum(row[name][figure] for row in rows) / len(rows):.3g}" for name in ("input", "clear")]
            print(f"| {figure} | {' | '.join(cells)} |")
    rounds.write(flags.json, {"settings": vars(flags), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
