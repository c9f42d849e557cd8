"""The tags of scalars in TensorBoard: `loss/gen_l1_loss`, `quality/psnr`, `speed/step_seconds`.

TensorBoard shows the tags that share the part before the slash as one section. The same loss of `train` and `val` has the
same tag, and both are curves of one chart. training_log.csv, status.json and Prometheus use the names without groups.
"""

from hazeheal.training.reports.accumulators import RATES
from hazeheal.training.step.forward_backward import LOSSES

VALIDATION = "val_"  # prefix of the losses on the validation set
GROUPS = {
    "loss": LOSSES,
    "quality": ("psnr", "ssim", "psnr_input", "ssim_input"),
    "speed": RATES,
    "health": ("gen_grad_norm", "disc_grad_norm", "learning_rate", "loss_scale", "skipped_steps", "bad_records"),
}
_GROUP = {name: group for group, names in GROUPS.items() for name in names}


def tag(name: str) -> str:
    """Returns the tag of the scalar `name`."""
    name = name.removeprefix(VALIDATION)
    return f"{_GROUP[name]}/{name}"


def pattern(name: str) -> str:
    """Returns a regular expression for the tag of `name`, and for those of runs that version 0.1 began."""
    return f"({_GROUP[name]}/|{VALIDATION})?{name}$"
