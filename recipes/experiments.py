"""Trains variants of one baseline for a bounded number of steps and prints one table of their scores.

    python recipes/experiments.py --records=OUT/records/mixed --split=OUT --runs=RUNS [--only NAME ...] [--steps=2000]

OUT is the output of `recipes/split.py` and `recipes/synthesize.py`, converted as in `recipes/rebuild.sh`. Every experiment
is a `hazeheal train` on the same images with the same seed. A complete experiment is not repeated; an interrupted one
resumes. Scores are those of `recipes/scores.py` on the validation pairs. docs/experiments.md contains measured results.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

MIX = (
    "outdoor/=22,reside_haze/=13,rice1/=14,outdoor_haze/=7,fog/=7,aerial_haze/=15,indoor_haze/=4,its/=6,i_haze/=2,"
    "dense/=3,frida/=2,mosaic/=4,flat/=1"
)
OLD_MIX = "outdoor/=50,rice1/=50,=0"
# What differs from configs/fast_128.py in all experiments.
BASELINE = {
    **{"data.mix": MIX, "train.precision": "float32", "train.keep": 1, "samples.count": 4},
    **{"train.validate_every": "never", "train.sample_every": "1000 steps"},  # it is validated at its end
}
PIXEL_MAPS = {"model.bins": 0}
ZEROS = {"model.edges": "zero", "model.upsampling": "transposed"}
# {name: changed fields}
EXPERIMENTS = {
    "baseline": {},
    "pixel_maps_zeros": PIXEL_MAPS | ZEROS,
    "pixel_maps": PIXEL_MAPS,
    "bins_4": {"model.bins": 4},
    "bins_8": {"model.bins": 8},
    # The network gets the image itself; squeeze-excite is its only context from the whole scene.
    "no_view": PIXEL_MAPS | {"model.view_size": 0, "data.window_min": 0.0},
    "view_192": {"model.view_size": 192, "data.crop_size": 192},
    "patch_4": {"model.patch_size": 4, "model.depth": 4},
    "width_24": {"model.width": 24},
    "width_64": {"model.width": 64},
    "old_mix": {"data.mix": OLD_MIX},
    "no_relaid": {"data.fresh_haze.share_relaid": 0.0},
    "no_light": {"data.relight_share": 0.0},
    "no_logarithm": {"loss.l1_log_scale": 0.0},
    "squared": {"loss.difference": "squared", "loss.l1_log_scale": 0.01},
    "rate_2e-3": {"optimizer.learning_rate": 2e-3},
    "longer": {"train.steps": 6000},
}


def command(name, flags):
    """The command line of one experiment's training, as a list of words."""
    fields = BASELINE | {"train.steps": flags.steps, "seed": flags.seed} | EXPERIMENTS[name]
    words = [sys.executable, "-m", "hazeheal", "train", "--config=fast_128"]
    words += [f"--data_dir={flags.records}", f"--workdir={run_dir(name, flags)}"]
    words += [f"--cpu_replicas={flags.cpu_replicas}"]
    return words + [f"--config.{key}={value}" for key, value in fields.items()]


def run_dir(name, flags):
    return flags.runs / (f"{name}_seed{flags.seed}" if flags.seed else name)


def measure(name, flags) -> dict:
    """Trains and scores one experiment unless its scores exist; returns the scores."""
    import scores  # imports TensorFlow

    run = run_dir(name, flags)
    file = run / "scores.json"
    if not file.exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{run}.log", "ab") as log:
            subprocess.run(command(name, flags), check=True, cwd=ROOT, stdout=log, stderr=log)
        result = json.loads((run / "result.json").read_text())
        pairs = scores.load_pairs(flags.split, part="val", limit=flags.limit)
        found = scores.score(scores.open_model(run).restore, pairs)
        file.write_text(json.dumps(found | {"images/s": result["images_per_second"]}, indent=1) + "\n")
    return json.loads(file.read_text())


def table(scores_by_name) -> str:
    """A Markdown table of {experiment: scores}."""
    columns = list(next(iter(scores_by_name.values())))
    lines = [f"| experiment | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, scores in scores_by_name.items():
        lines.append(f"| {name} | {' | '.join(f'{scores[column]:.2f}' for column in columns)} |")
    return "\n".join(lines)


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--records", required=True, type=pathlib.Path)
    parse.add_argument("--split", required=True, type=pathlib.Path, help="the output of split.py")
    parse.add_argument("--runs", required=True, type=pathlib.Path)
    parse.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="NAME")
    parse.add_argument("--steps", type=int, default=2000)
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--limit", type=int, default=40, help="largest number of validation pairs of a set")
    parse.add_argument("--cpu_replicas", type=int, default=2)
    parse.add_argument("--show", action="store_true", help="print the commands without running them")
    flags = parse.parse_args(argv)
    flags.records, flags.runs, flags.split = (path.resolve() for path in (flags.records, flags.runs, flags.split))
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
