"""Dense-Haze: real, very dense haze, 55 pairs of 1600x1200.

Ancuti et al. 2019; the haze was made with machines. The network is that of configs/best.py and starts from the weights
that are included, because 55 pairs teach little; the losses are those of the original.

Command:  bash launch/train_multigpu.sh --config=dense_haze --restore_from=best --hazy_dir=DenseHaze/hazy --gt_dir=DenseHaze/GT --workdir=runs/dense_haze
Run time: 53 minutes at 128x128 pixels, batch 1, on two CPU cores (35 pairs of 800x600).
Result:   test PSNR 13.77 dB, hazy input 8.31 dB (5 pairs); docs/experiments.md.
"""

from hazeheal.configs import best, default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = best.get_config()
    original = default.get_config()
    config.data.fresh_haze = original.data.fresh_haze
    config.data.relight_share = original.data.relight_share
    config.loss = original.loss
    config.model.disc_width = original.model.disc_width
    config.optimizer = original.optimizer
    config.optimizer.learning_rate = 1e-4
    config.optimizer.warmup = "10 epochs"
    config.optimizer.decay = "cosine"
    config.train = original.train
    return config
