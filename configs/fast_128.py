"""First stage of configs/fast.py: whole scenes at 128x128 pixels.

A step takes a third of the time of one at 256x256 pixels. The network is that of configs/fast.py and starts its second
stage.

Command:  hazeheal train --config=fast_128 --data_dir=records/mixed --workdir=runs/fast_128 --cpu_replicas=1
Run time: 50 minutes for 20,000 of the steps on two CPU cores (a Zen 3).
Result:   validation PSNR 18.53 dB, hazy input 15.37 dB (all sets together, without fog).
"""

from hazeheal.configs import fast
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return first_stage(fast.get_config())


def first_stage(config: ConfigDict) -> ConfigDict:
    config.data.crop_size = 128
    config.model.view_size = 128
    config.loss.difference = "charbonnier"
    config.loss.l1_log_scale = 0.1
    config.optimizer.learning_rate = 1e-3
    config.train.batch_size = 16
    config.train.steps = 24000
    return config
