"""SOTS outdoor: photographs, synthetic haze, 500 of 550x412.

Part of RESIDE, Li et al. 2019. It is a test set: train on it to try things out, and report results on scenes that
you held back.

Command:  bash launch/train_multigpu.sh --config=sots_outdoor --hazy_dir=SOTS/outdoor/hazy --gt_dir=SOTS/outdoor/gt --workdir=runs/sots_outdoor
Run time: not measured.
Result:   not measured.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.rot90 = False  # the sky is at the top
    config.optimizer.warmup = "1 epochs"
    config.optimizer.decay = "cosine"
    return config
