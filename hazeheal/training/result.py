"""result.json: what a complete run reached."""

import pathlib
import shlex
import sys
from collections.abc import Mapping

from hazeheal.distributed.groups import Groups
from hazeheal.runs.run_dir import RunDirectory

RATES = ("images_per_second", "images_per_second_wall", "input_wait_share", "overhead_share")
QUALITY = ("psnr_input", "psnr", "ssim_input", "ssim")


def complete_result(directory: RunDirectory, *, groups: Groups, step: int, total_steps: int) -> dict | None:
    """Returns the result of a run that is complete at `step`, else None. Group 0 decides; all groups must call it."""
    result = directory.load_result()
    # The result must be that of this step: the run may have been made longer and stopped since.
    complete = step >= total_steps and result.get("steps") == step
    return result if groups.gather([complete])[0, 0] else None


def save_result(
    directory: RunDirectory,
    *,
    groups: Groups,
    step: int,
    quality: dict | None,
    rates: Mapping[str, float | None],
    facts: dict,
) -> dict:
    """Writes result.json, once on every file system that the groups use. All groups must call it.

    Args:
        directory, groups, step: As for `complete_result`.
        quality: The figures of the last validation; None without validation.
        rates: `RATES` over the whole run.
        facts: `replicas`, `precision` and `xla`.

    Returns:
        The contents of the file.
    """
    result = {
        **{name: (quality or {}).get(name) for name in QUALITY},
        "steps": step,
        **{name: rates[name] for name in RATES},
        **facts,
    }
    if groups.is_first:
        directory.save_result(result)
    groups.barrier()
    if directory.load_result().get("steps") != step:  # no file system shared with group 0
        directory.save_result(result)
    return result


def final_summary(result: dict, *, workdir: str | pathlib.Path) -> str:
    """Returns the last lines that a run prints, from the result of `DehazeTrainer.train`."""
    run = RunDirectory(workdir)
    speed = f", {result['images_per_second']:.1f} images/s" if result.get("images_per_second") else ""
    xla = "on" if result["xla"] else "off"
    lines = [
        f"complete: {result['steps']} steps{speed} on {result['replicas']} replica(s), {result['precision']}, XLA {xla}"
    ]
    if result.get("psnr") is not None:
        gain = result["psnr"] - result["psnr_input"]
        lines += [
            "validation            hazy input   restored",
            f"  PSNR                {result['psnr_input']:7.2f} dB {result['psnr']:7.2f} dB  ({gain:+.2f} dB)",
            f"  SSIM                {result['ssim_input']:7.4f}    {result['ssim']:7.4f}",
        ]
    # The Python of this environment, whether or not it is active in the user's shell.
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={run.path}"]
    lines += [
        f"sample images         {run.samples}",
        f"checkpoints           {run.checkpoints}",
        f"summaries             {run.summaries}",
        f"figures               {run.result}",
        f"TensorBoard           {shlex.join(command)}",
    ]
    return "\n".join(lines)
