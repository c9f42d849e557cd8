"""What a run says of itself between two calls of the loop: scalars, images, rows, the progress line."""

import logging
import shlex
import sys

from hazeheal import config as configs
from hazeheal.runs.run_dir import RunDirectory
from hazeheal.training.reports import sample_sheets, tensorboard, tensorboard_plugins, training_log
from hazeheal.training.step.step import LOSSES

LOG = logging.getLogger("hazeheal")
SHEET_SIDE = 320  # of one image on a sample sheet


class Reports:
    """TensorBoard, training_log.csv and the sample sheets of one replica group.

    Everything is on the disk before the checkpoint of its step is written, so that each step appears once
    in a run that was killed and went on.
    """

    def __init__(self, directory, *, config, schedule, facts, is_first):
        """Args: the `RunDirectory`; the configuration; the `Schedule`, which numbers the epochs.

        `facts`: what tells the run from others besides, see `dashboards.fields`; `is_first`: whether this group
        speaks for the job.
        """
        self._directory = directory
        self._config = config
        self._schedule = schedule
        self._facts = facts
        self._is_first = is_first
        shown = config.samples
        self._summaries = tensorboard.SummaryWriters(
            directory.summaries, max_images=max(1, shown.count), max_side=shown.max_side
        )
        self._csv = training_log.TrainingLog(directory.training_log)

    def begin(self, *, restored) -> None:
        """Sets aside what lies past the restored step; None for a new run."""
        step = -1 if restored is None else restored
        self._csv.rewind_to(step=step)
        self._summaries.rewind_to(step)
        if restored is None:
            self._summaries.text("config", tensorboard.config_markdown(configs.flat(self._config)))
        if not self._summaries.has_events(""):  # a new run, or one that an older version began
            self._summaries.protos("", self._dashboards(), step=0)

    def _dashboards(self):
        found = [tensorboard_plugins.layout()]
        if self._is_first:  # a row a job: its groups have the same figures
            values = tensorboard_plugins.hyperparameters(configs.flat(self._config), self._facts)
            found += [
                tensorboard_plugins.experiment(values),
                tensorboard_plugins.trial(values, run=self._directory.path),
            ]
        return found

    def log(self, at, *, means, rates, counts, line) -> None:
        """The means since the last log, the rates, and counts so far, to TensorBoard and the progress line."""
        values = {name: value for name, value in means.items() if name != "skipped"}
        self._summaries.scalars("train", {**values, **rates, **counts}, step=at)
        line.update(
            at,
            epoch=self._schedule.epochs_done(at),
            losses={name: means[name] for name in LOSSES if means[name] is not None},
            images_per_second=rates["images_per_second"],
        )

    def validation(self, at, quality) -> None:
        self._summaries.scalars("val", quality, step=at)
        LOG.info(
            "step %d: validation PSNR %.2f dB (hazy input %.2f), SSIM %.4f (%.4f)",
            at,
            *(quality[name] for name in ("psnr", "psnr_input", "ssim", "ssim_input")),
        )

    def samples(self, at, hazy, restored, clear) -> None:
        """A sample sheet and TensorBoard's images, of lists of uint8 [H, W, 3]."""
        path = self._directory.samples / f"step_{at:08d}.png"
        side = min(SHEET_SIDE, self._config.samples.max_side)
        sample_sheets.write_sheet(path, hazy, restored, clear, max_side=side)
        self._summaries.images("val", hazy, restored, clear, step=at)

    def epoch(self, at, *, means, skipped, quality) -> None:
        """The row of the epoch that ends at step `at`; `quality` is None where it was not validated then."""
        row = {
            "epoch": self._schedule.epochs_done(at) - 1,
            "step": at,
            "images": at * self._config.train.batch_size,
            "learning_rate": means["learning_rate"],
            "skipped_steps": skipped,
        }
        row |= {name: means[name] for name in LOSSES}
        if quality is not None:
            row |= {f"val_{name}": quality[f"val_{name}"] for name in LOSSES}
            row |= {"val_psnr": quality["psnr"], "val_ssim": quality["ssim"]}
        self._csv.append(row)

    def flush(self) -> None:
        self._summaries.flush()


def final_summary(result, *, workdir) -> str:
    """The last lines of a run: what it reached, and where everything lies."""
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
        f"sample images       {run.samples}",
        f"checkpoints           {run.checkpoints}",
        f"summaries             {run.summaries}",
        f"figures               {run.result}",
        # Of this environment, whether it is active in the shell that reads this or not.
        "TensorBoard           "
        + shlex.join([sys.executable, "-m", "tensorboard.main", f"--logdir={run.path}"]),
    ]
    return "\n".join(lines)
