"""RESIDE ITS: synthetic indoor haze, 13,990 pairs of 620x460.

Li et al. 2019; ten hazy images for each of 1,399 clear ones.

Command:  bash launch/train_multigpu.sh --config=reside_its --hazy_dir=ITS/hazy --gt_dir=ITS/clear --workdir=runs/reside_its
Run time: not measured.
Result:   not measured.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.rot90 = False  # the ceiling is at the top
    config.data.max_val_pictures = 200
    config.optimizer.warmup = "1000 steps"
    config.optimizer.decay = "cosine"
    config.optimizer.ema_half_life = 10_000.0
    config.train.batch_size = 16
    config.train.epochs = 30.0
    return config
