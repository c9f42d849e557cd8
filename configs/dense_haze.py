"""Dense-Haze: real, very dense haze, 55 pairs of 1600x1200.

Ancuti et al. 2019; the haze was made with machines. The network sees most or all of a scene at 512x512 pixels, in training
and later (`model.view_size`), because the content under dense haze can only be inferred from its surroundings.

Command:  bash launch/train_multigpu.sh --config=dense_haze --hazy_dir=DenseHaze/hazy --gt_dir=DenseHaze/GT --workdir=runs/dense_haze
Run time: not measured.
Result:   not measured.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.crop_size = 512
    config.data.window_min = 0.6
    config.data.rot90 = False  # the sky is at the top
    config.model.view_size = 512
    config.model.output = "scattering"  # its maps hold no detail, which comes from the image itself
    config.optimizer.warmup = "10 epochs"
    config.optimizer.decay = "cosine"
    config.train.epochs = 2000.0  # of a small data set
    return config
