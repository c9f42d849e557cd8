"""Smaller included network, after configs/fast_128.py.

It sees the whole scene as 256x256 pixels (`model.view_size`) and outputs, for each patch of 8x8 of these and for dark and
bright pixels, the coefficients of the scattering model (`model.bins`). An image of one color stays so by construction
(`model.edges`, `model.upsampling`). recipes/rebuild.sh makes its images and passes their shares as `data.mix`;
docs/experiments.md compares it with others.

Command:  hazeheal train --config=fast --restore_from=runs/fast_128 --data_dir=records/mixed --workdir=runs/fast --cpu_replicas=1
Run time: 35 minutes on two CPU cores (a Zen 3), after configs/fast_128.py.
Result:   validation PSNR 19.40 dB, hazy input 15.76 dB (all sets together); docs/model_card.md.
"""

from hazeheal.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.crop_size = 256
    config.data.window_min = 0.6  # most or all of a scene, as the network sees it later
    config.data.rot90 = False  # most images have the sky at the top
    config.data.fresh_haze.share_clear = 0.1
    config.data.fresh_haze.share_relaid = 0.3
    config.data.fresh_haze.relaid_tint = 0.15  # dust and smoke
    config.data.relight_share = 0.5  # evenings, clouds and white balances that the sets lack
    config.model.width = 32
    config.model.depth = 3
    config.model.patch_size = 8
    config.model.view_size = 256
    config.model.bins = 2
    config.model.norm = "none"
    config.model.output = "scattering"
    config.model.edges = "repeat"
    config.model.upsampling = "nearest"
    config.model.disc_width = 8  # not used: loss.gan_weight is 0
    config.loss.gan_weight = 0.0
    config.loss.perceptual_weight = 0.0
    config.loss.haze_share = 0.0  # clear and hazy regions have the same weight
    config.loss.difference = "squared"
    config.loss.l1_log_scale = 0.01  # images that haze hides weigh less
    config.optimizer.learning_rate = 3e-4
    config.optimizer.beta1 = 0.9  # without a discriminator the objective is fixed
    config.optimizer.warmup = "100 steps"
    config.optimizer.decay = "cosine"
    config.train.batch_size = 8
    config.train.epochs = 0.0
    config.train.steps = 9000
    config.train.log_every = "100 steps"
    config.train.sample_every = "5000 steps"
    config.train.validate_every = "2500 steps"
    config.train.save_every = "500 steps"
    return config
