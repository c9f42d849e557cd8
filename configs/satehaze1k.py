"""SateHaze1k: satellite, synthetic haze, 3 sets of 400 pairs.

Huang et al. 2020; thin, moderate and thick haze on images of 512x512.

Command:  bash launch/train_multigpu.sh --config=satehaze1k --hazy_dir=Haze1k_thick/input --gt_dir=Haze1k_thick/target --workdir=runs/satehaze1k
Run time: not measured.
Result:   not measured.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.optimizer.warmup = "1 epochs"
    config.optimizer.decay = "cosine"
    config.train.epochs = 300.0
    return config
