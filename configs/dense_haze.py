"""Dense-Haze (Ancuti et al. 2019): real haze from machines, so dense that little shows, 55 pairs of 1600x1200.

Large crops: what lies under dense haze can only be told from its surroundings.

Command:  bash launch/train_multigpu.sh --config=dense_haze --hazy_dir=DenseHaze/hazy --gt_dir=DenseHaze/GT --workdir=runs/dense_haze
Run time: not measured.
Result:   none measured.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.crop_size = 512
    config.data.rot90 = False  # the sky is above
    config.optimizer.warmup = "10 epochs"
    config.optimizer.decay = "cosine"
    config.train.epochs = 2000.0  # of few pairs
    config.train.sample_every = "100 epochs"
    config.train.validate_every = "50 epochs"
    config.train.save_every = "20 epochs"
    return config
