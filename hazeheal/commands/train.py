"""`hazeheal train`: trains a generator on a data set, or goes on with a run."""

import argparse
import shlex

from hazeheal import config as configs
from hazeheal.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, UsageError

EPILOG = """\
configuration:
  --config=NAME         a file, or a name in ./configs or among those that ship (default, quickstart, rice1, ...)
  --config.x.y=VALUE    overrides one field, as in --config.train.batch_size=8; --dry_run shows all fields

exit codes: 0 done, 1 error, 2 bad usage, 75 saved after SIGTERM: the same command goes on, 130 after SIGINT
"""


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="hazeheal train",
        description="Trains a GAN that removes haze, on all GPUs of this machine or on CPUs. A run that is "
        "already in --workdir goes on where its last checkpoint stands; nothing is overwritten.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parse.add_argument("--data_dir", help="data set made by `hazeheal-tfrecords convert`")
    parse.add_argument("--workdir", help="the run's directory, made if it is missing")
    parse.add_argument("--gpus", type=_numbers, help="numbers of the GPUs to use, as in 0,1 (default: all)")
    parse.add_argument("--cpu_replicas", type=int, help="train on this many logical CPU devices instead")
    parse.add_argument("--restore_from", help="a run or checkpoint whose networks a new run starts with")
    parse.add_argument(
        "--dry_run", action="store_true", help="show the configuration and what would run, and end"
    )
    parse.add_argument(
        "--plot_models",
        action="store_true",
        help="write generator_model.png and discriminator_model.png into --workdir, and end",
    )
    return parse


def _numbers(text):
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0,1") from None


def main(argv) -> int:
    ours, rest = configs.split_argv(argv)
    flags = parser().parse_args(rest)
    config = configs.load(ours)
    if not flags.workdir:
        raise UsageError("--workdir=DIR is needed: where the run's checkpoints and summaries go")
    if flags.plot_models:
        from hazeheal.training.plot import plot_models

        for path in plot_models(config, directory=flags.workdir):
            print(path)
        return EXIT_OK
    if not flags.data_dir:
        raise UsageError("--data_dir=DIR is needed: a data set made by `hazeheal-tfrecords convert`")
    if flags.dry_run:
        return dry_run(config, flags)

    from hazeheal.training import distribute
    from hazeheal.training.trainer import DehazeTrainer

    runtime = distribute.choose(
        gpus=flags.gpus,
        cpu_replicas=flags.cpu_replicas,
        precision=config.train.precision,
        xla=config.train.xla,
    )
    trainer = DehazeTrainer(
        config,
        data_dir=flags.data_dir,
        workdir=flags.workdir,
        runtime=runtime,
        restore_from=flags.restore_from,
    )
    result = trainer.train()
    if not result["complete"]:
        return EXIT_INTERRUPTED if result["signal"] == "SIGINT" else EXIT_RESTART
    print(report(result, workdir=flags.workdir))
    return EXIT_OK


def dry_run(config, flags) -> int:
    """Prints the configuration and checks what can be checked without TensorFlow."""
    from hazeheal import records

    print(configs.to_json(config), end="")
    train = records.open_split(flags.data_dir, config.data.train_split)
    val = records.open_split(flags.data_dir, config.data.val_split) if config.data.val_split else ()
    if config.loss.perceptual_weight:
        from hazeheal.models.perceptual import check_perceptual_weights

        check_perceptual_weights(config.loss.perceptual_weights, config.loss.perceptual_layer)
    if flags.cpu_replicas or flags.gpus:
        configs.check_batch(config, replicas=flags.cpu_replicas or len(flags.gpus))
    print(f"data      {flags.data_dir}: {len(train)} training, {len(val)} validation pairs")
    print(f"workdir   {flags.workdir}: {run_state(flags.workdir)}")
    return EXIT_OK


def run_state(workdir) -> str:
    from hazeheal.training import checkpoint
    from hazeheal.training.run_dir import RunDirectory

    found = checkpoint.find(RunDirectory(workdir).checkpoints)
    return "a new run" if found is None else f"goes on from {found.name}"


def report(result, *, workdir) -> str:
    """The last lines of a run: what it reached, and where everything lies."""
    from hazeheal.training.run_dir import RunDirectory

    run = RunDirectory(workdir)
    lines = [f"complete: {result['steps']} steps"]
    if result.get("images_per_second"):
        lines[0] += f", {result['images_per_second']:.1f} images/s"
    lines[0] += (
        f" on {result['replicas']} replica(s), {result['precision']}, XLA {'on' if result['xla'] else 'off'}"
    )
    if result.get("psnr") is not None:
        gain = result["psnr"] - result["psnr_input"]
        lines += [
            "validation            hazy input   restored",
            f"  PSNR                {result['psnr_input']:7.2f} dB {result['psnr']:7.2f} dB  ({gain:+.2f} dB)",
            f"  SSIM                {result['ssim_input']:7.4f}    {result['ssim']:7.4f}",
        ]
    lines += [
        f"sample pictures       {run.samples}",
        f"checkpoints           {run.checkpoints}",
        f"summaries             {run.summaries}",
        f"figures               {run.result}",
        "TensorBoard           " + shlex.join(["tensorboard", f"--logdir={run.path}"]),
    ]
    return "\n".join(lines)
