"""An ablation of bounded cost: the generator's norm layer and output, then more seeds for the best two variants.

    python recipes/ablation.py --data_dir=DATA --output_dir=OUT [--steps=1000] [--width=16]

Every run is a `hazeheal train` of the same number of steps on the same images in the same order, so the machine's load
affects only the time. Complete runs are not repeated. Unknown flags (--config.x.y=VALUE) are passed to the training.
Prints a Markdown table; docs/experiments.md contains measured results.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys

NORMS = ("layer", "none")
OUTPUTS = ("residual", "scattering")


def train(flags, *, norm, output, seed):
    """Trains one variant unless its run is complete; returns the content of its result.json."""
    run = pathlib.Path(flags.output_dir) / f"{norm}_{output}_seed{seed}"
    if not (run / "result.json").exists():
        command = [
            *(sys.executable, "-m", "hazeheal", "train", f"--config={flags.config}"),
            *(f"--data_dir={flags.data_dir}", f"--workdir={run}", f"--cpu_replicas={flags.cpu_replicas}"),
            *(f"--config.model.norm={norm}", f"--config.model.output={output}", f"--config.seed={seed}"),
            *("--config.train.epochs=0.0", f"--config.train.steps={flags.steps}"),
            *(f"--config.model.width={flags.width}", f"--config.model.disc_width={flags.width}"),
            *("--config.model.depth=4", "--config.data.crop_size=128", "--config.train.batch_size=4"),
            *("--config.loss.perceptual_weight=0.0", f"--config.train.log_every={flags.steps // 4} steps"),
            *("--config.train.validate_every=never", "--config.train.sample_every=never"),
            *("--config.train.save_every=500 steps", "--config.train.keep=1"),
            *flags.overrides,
        ]
        with open(f"{run}.log", "ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return json.loads((run / "result.json").read_text())


def table(results):
    """Markdown rows of {(norm, output): {seed: result}}, best first."""
    mean = {v: statistics.mean(r["psnr"] for r in runs.values()) for v, runs in results.items()}
    lines = ["| norm | output | PSNR by seed (dB) | mean | SSIM | images/s |", "|---|---|---|---|---|---|"]
    for variant in sorted(mean, key=mean.get, reverse=True):
        runs = results[variant]
        lines.append(
            "| {} | {} | {} | {:.2f} | {:.4f} | {:.1f} |".format(
                *variant,
                ", ".join(f"{seed}: {r['psnr']:.2f}" for seed, r in runs.items()),
                mean[variant],
                statistics.mean(r["ssim"] for r in runs.values()),
                statistics.median(r["images_per_second"] for r in runs.values()),
            )
        )
    return "\n".join(lines)


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data_dir", required=True, help="data set made by `hazeheal-tfrecords convert`")
    parse.add_argument("--output_dir", required=True, help="directory for the runs")
    parse.add_argument("--config", default="default")
    parse.add_argument("--steps", type=int, default=1000)
    parse.add_argument("--width", type=int, default=16)
    parse.add_argument("--outputs", nargs="+", choices=OUTPUTS, default=OUTPUTS)
    parse.add_argument("--cpu_replicas", type=int, default=1)
    parse.add_argument("--seeds", type=int, default=3, help="for the best two variants; the others use one")
    flags, flags.overrides = parse.parse_known_args()
    pathlib.Path(flags.output_dir).mkdir(parents=True, exist_ok=True)

    results = {}
    for norm, output in itertools.product(NORMS, flags.outputs):
        results[norm, output] = {0: train(flags, norm=norm, output=output, seed=0)}
        print(norm, output, results[norm, output][0]["psnr"], flush=True)
    best = sorted(results, key=lambda v: results[v][0]["psnr"], reverse=True)[:2]
    for seed, (norm, output) in itertools.product(range(1, flags.seeds), best):
        results[norm, output][seed] = train(flags, norm=norm, output=output, seed=seed)
        print(norm, output, seed, results[norm, output][seed]["psnr"], flush=True)
    psnr = next(iter(results.values()))[0]["psnr_input"]
    print(f"\n{table(results)}\n\nhazy input: {psnr:.2f} dB")


if __name__ == "__main__":
    main()
