"""The first of two stages to the larger network that ships: crops at full resolution, from initial weights.

Command:  hazeheal train --config=best_crops --data_dir=records/mixed --workdir=runs/best_crops --cpu_replicas=2
Run time: see docs/model_card.md.
Result:   see docs/model_card.md; configs/best.py goes on from it.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.crop_size = 256
    config.data.rot90 = False  # of most images the sky is above
    config.data.fresh_haze.share = 0.1
    config.data.fresh_haze.share_clear = 0.12
    config.data.fresh_haze.share_relaid = 0.25
    config.model.width = 32
    config.model.depth = 4
    config.model.patch_size = 4
    config.model.norm = "none"
    config.model.output = "scattering"
    config.model.disc_width = 8  # not used
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
