"""The larger of the two networks that ship: outdoor photographs and satellite pictures, on two CPU cores.

Command:  hazeheal train --config=best --data_dir=records/mixed --workdir=runs/best --cpu_replicas=2
Run time: see docs/model_card.md.
Result:   see docs/model_card.md.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.crop_size = 256
    config.data.window_min = 0.6
    config.data.rot90 = False  # of most pictures the sky is above
    config.data.fresh_haze.share = 0.1
    config.data.fresh_haze.share_clear = 0.12
    config.data.fresh_haze.share_relaid = 0.25
    config.model.width = 32
    config.model.depth = 4
    config.model.patch_size = 4
    config.model.view_size = 256  # the whole scene, as in training
    config.model.norm = "none"
    config.model.output = "scattering"
    config.model.disc_width = 8  # not used
    config.loss.haze_share = 0.0  # what is clear counts as much as what is hazy
    config.loss.gan_weight = 0.0
    config.loss.perceptual_weight = 0.0
    config.optimizer.learning_rate = 1e-3
    config.optimizer.beta1 = 0.9  # no adversary moves the target
    config.optimizer.warmup = "100 steps"
    config.optimizer.decay = "cosine"
    config.train.batch_size = 8
    config.train.epochs = 0.0
    config.train.steps = 14000
    config.train.log_every = "100 steps"
    config.train.sample_every = "1000 steps"
    config.train.validate_every = "1000 steps"
    config.train.save_every = "200 steps"
    return config
