"""Trains variants of one baseline for a bounded number of steps and prints one table of their scores.

    python recipes/experiments.py --records=OUT --runs=RUNS [--only NAME ...] [--steps=800]

OUT contains the data sets {mixed,outdoor,rice1}, made by `recipes/split.py` and `hazeheal-tfrecords convert`.
Every experiment is a `hazeheal train` on the same number of images with the same seed. A complete experiment is not
repeated; an interrupted one resumes. Scores are computed on the validation pairs of both sets separately, and on their
clear images, which the network should leave unchanged. docs/experiments.md contains measured results.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SETS = ("outdoor", "rice1")
FRESH = {"data.fresh_haze.share": 0.35, "data.fresh_haze.share_clear": 0.12}
NO_FRESH = dict.fromkeys(FRESH, 0.0)
# The shipped network `fast`, which trains in minutes.
BASELINE = {
    **{"model.width": 16, "model.depth": 3, "model.disc_width": 8, "model.patch_size": 4},
    **{"model.norm": "none", "model.output": "scattering"},
    **{"loss.gan_weight": 0.0, "loss.perceptual_weight": 0.0},
    **{"data.crop_size": 256, "data.rot90": False, "train.batch_size": 8, "optimizer.beta1": 0.9},
    **{"optimizer.learning_rate": 1e-3, "optimizer.decay": "cosine", "optimizer.warmup": "100 steps"},
    **{"optimizer.clip_norm": 0.0, "train.epochs": 0.0, "train.keep": 1, "samples.count": 4},
    **{"train.log_every": "100 steps", "train.validate_every": "400 steps", "train.save_every": "200 steps"},
    "train.sample_every": "400 steps",
    **FRESH,
}
GAN = {"loss.gan_weight": 1.0, "model.disc_width": 16, "optimizer.beta1": 0.5}
PERCEPTUAL = {"loss.perceptual_weight": 0.005}
LATE = {"optimizer.learning_rate": 3e-4}
WHOLE_SCENES = {"model.view_size": 256, "data.window_min": 0.6}
RELAID = {"data.fresh_haze.share": 0.1, "data.fresh_haze.share_relaid": 0.25}
# {name: (data set, changed fields)} or (data set, changed fields, experiment whose generator it starts from)
EXPERIMENTS = {
    "baseline": ("mixed", {}),
    "no_fresh_haze": ("mixed", NO_FRESH),
    "relaid_haze": ("mixed", RELAID),
    "norm_layer": ("mixed", {"model.norm": "layer"}),
    "norm_layer_rate_2e-3": ("mixed", {"model.norm": "layer", "optimizer.learning_rate": 2e-3}),
    "width_32": ("mixed", {"model.width": 32}),
    "depth_4": ("mixed", {"model.depth": 4}),
    "patch_2": ("mixed", {"model.patch_size": 2, "model.depth": 4}),
    "patch_8": ("mixed", {"model.patch_size": 8}),
    "view_windows": ("mixed", WHOLE_SCENES),
    "view_windows_relaid": ("mixed", WHOLE_SCENES | RELAID),
    "no_gate": ("mixed", {"model.se_ratio": 0.0}),
    "residual": ("mixed", {"model.output": "residual"}),
    "rate_5e-4": ("mixed", {"optimizer.learning_rate": 5e-4}),
    "rate_2e-3": ("mixed", {"optimizer.learning_rate": 2e-3}),
    "rate_constant": ("mixed", {"optimizer.decay": "constant"}),
    "ema_20000": ("mixed", {"optimizer.ema_half_life": 20000.0}),
    "half_batch": ("mixed", {"train.batch_size": 4}),
    "crop_128": ("mixed", {"data.crop_size": 128}),
    "rotations": ("mixed", {"data.rot90": True}),
    "mask_0": ("mixed", {"loss.haze_share": 0.0}),
    "perceptual": ("mixed", PERCEPTUAL),
    "gan": ("mixed", GAN),
    # Continue another experiment for half as many steps: a control, and the adversarial loss added late.
    "longer": ("mixed", LATE, "baseline"),
    "longer_gan": ("mixed", LATE | GAN | {"model.disc_width": 8}, "baseline"),
    "outdoor_alone": ("outdoor", NO_FRESH),
    "outdoor_alone_fresh": ("outdoor", {}),
    "rice1_alone": ("rice1", NO_FRESH),
    "rice1_alone_fresh": ("rice1", {}),
}


def command(name, flags):
    """The command line of one experiment's training, as a list of words."""
    data, changes, *start = EXPERIMENTS[name]
    fields = BASELINE | {"train.steps": flags.steps, "seed": flags.seed} | changes
    # The same number of images for every batch size.
    fields["train.steps"] = fields["train.steps"] * BASELINE["train.batch_size"] // fields["train.batch_size"]
    if fields["loss.perceptual_weight"]:
        fields["loss.perceptual_weights"] = flags.perceptual_weights
    words = [sys.executable, "-m", "hazeheal", "train", "--config=default"]
    words += [f"--data_dir={flags.records / data}", f"--workdir={run_dir(name, flags)}"]
    words += [f"--cpu_replicas={flags.cpu_replicas}"]
    if start:
        words += [f"--restore_from={run_dir(start[0], flags)}"]
        fields["train.steps"] //= 2
    return words + [f"--config.{key}={value}" for key, value in fields.items()]


def run_dir(name, flags):
    return flags.runs / (f"{name}_seed{flags.seed}" if flags.seed else name)


def score(run, records, *, restore=None) -> dict:
    """{SET: {psnr, ssim, psnr_input}, clear: {psnr, least}} of a run's best checkpoint on the validation pairs."""
    from hazeheal.data.images import image_ops
    from hazeheal.evaluation import evaluate, pairs, results
    from hazeheal.inference.gan import DehazeGAN

    restore = restore or DehazeGAN.from_run(run).restore
    methods = {results.INPUT: evaluate.unchanged, "network": restore}
    scores, clear_psnr = {}, []
    for name in SETS:
        source = pairs.from_records(records / name, split="val", limit=None).pairs
        rows = [row for row, _ in evaluate.evaluate(source, methods)]
        summary = results.summarize(rows)
        scores[name] = {metric: summary["network"][metric]["mean"] for metric in ("psnr", "ssim")}
        scores[name]["psnr_input"] = summary[results.INPUT]["psnr"]["mean"]
        clear = [pair.load()[1] for pair in source]
        clear_psnr += [image_ops.psnr(restore(image), image) for image in clear]
    return scores | {"clear": {"psnr": sum(clear_psnr) / len(clear_psnr), "least": min(clear_psnr)}}


def measure(name, flags) -> dict:
    """Trains and scores one experiment unless its scores exist; returns the scores."""
    run = run_dir(name, flags)
    file = run / "scores.json"
    if not file.exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{run}.log", "ab") as log:
            subprocess.run(command(name, flags), check=True, cwd=ROOT, stdout=log, stderr=log)
        result = json.loads((run / "result.json").read_text())
        scores = score(run, flags.records) | {"images_per_second": result["images_per_second"]}
        file.write_text(json.dumps(scores, indent=1) + "\n")
    return json.loads(file.read_text())


def table(scores_by_name) -> str:
    """A Markdown table of {experiment: scores}."""
    head = ["experiment", "outdoor PSNR", "SSIM", "RICE1 PSNR", "SSIM", "clear images, mean", "worst"]
    lines = [f"| {' | '.join([*head, 'images/s'])} |", "|---" * 8 + "|"]
    for name, scores in scores_by_name.items():
        cells = [f"{scores[s][metric]:.{places}f}" for s in SETS for metric, places in (("psnr", 2), ("ssim", 4))]
        cells += [f"{scores['clear'][key]:.1f}" for key in ("psnr", "least")]
        lines.append(f"| {name} | {' | '.join(cells)} | {scores['images_per_second']:.1f} |")
    return "\n".join(lines)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--records", required=True, type=pathlib.Path)
    parse.add_argument("--runs", required=True, type=pathlib.Path)
    parse.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="NAME")
    parse.add_argument("--steps", type=int, default=800)
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--cpu_replicas", type=int, default=2)
    parse.add_argument("--perceptual_weights", default="imagenet", help="VGG19 weights for the experiment `perceptual`")
    parse.add_argument("--show", action="store_true", help="print the commands without running them")
    flags = parse.parse_args(argv)
    flags.records, flags.runs = flags.records.resolve(), flags.runs.resolve()
    if flags.show:
        print("\n".join(" ".join(command(name, flags)) for name in flags.only))
        return 0
    scores_by_name = {}
    for name in flags.only:
        scores_by_name[name] = measure(name, flags)
        print(name, json.dumps(scores_by_name[name]), flush=True)
    print(f"\n{table(scores_by_name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
