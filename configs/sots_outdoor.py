"""SOTS outdoor (RESIDE, Li et al. 2019): 500 photographs with haze laid on by rule, about 550x412.

It is a test set: train on it to try things out, and report results on what you held back.

Command:  bash launch/train_multigpu.sh --config=sots_outdoor --hazy_dir=SOTS/outdoor/hazy --gt_dir=SOTS/outdoor/gt --workdir=runs/sots_outdoor
Run time: not measured.
Result:   none measured.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.rot90 = False  # the sky is above
    config.optimizer.warmup = "1 epochs"
    config.optimizer.decay = "cosine"
    return config
