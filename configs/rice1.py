"""RICE1: satellite, thin cloud and haze, 500 pairs of 512x512.

Lin et al. 2019.

Command:  bash launch/train_multigpu.sh --config=rice1 --hazy_dir=RICE1/cloud --gt_dir=RICE1/label --workdir=runs/rice1
Run time: not measured at this width; docs/experiments.md has a run of width 16 on two CPU cores (31 minutes).
Result:   not measured at this width; that run reaches a PSNR of 27.36 dB, hazy input 19.23 dB.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.optimizer.warmup = "1 epochs"
    config.optimizer.decay = "cosine"
    config.train.epochs = 300.0
    return config
