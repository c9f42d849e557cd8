"""A last stage of `best` with all losses of the original.

The adversarial and the perceptual loss (VGG19 weights: `loss.perceptual_weights`) join the Charbonnier loss, at low
learning rates. The data are those of configs/best.py.

Command:  hazeheal train --config=gan --restore_from=best --data_dir=records/mixed --workdir=runs/gan --cpu_replicas=1
Run time: 13 minutes for 700 steps at 128x128 pixels on two CPU cores (a Zen 4).
Result:   test PSNR outdoors 26.08 dB, the `best` it started from 26.74; Dense-Haze 13.30 and 13.32; docs/model_card.md.
"""

from hazeheal.configs import best, default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = best.get_config()
    config.loss = default.get_config().loss
    config.model.disc_width = 32
    config.optimizer.learning_rate = 1e-4
    config.optimizer.disc_learning_rate = 2e-4
    config.optimizer.beta1 = 0.5
    config.data.max_val_pictures = 64  # VGG19 sees the whole images: two CPU cores validate one per second
    config.train.steps = 1000
    config.train.log_every = "20 steps"
    config.train.sample_every = "500 steps"
    config.train.validate_every = "500 steps"
    config.train.save_every = "100 steps"
    return config
