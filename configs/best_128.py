"""First stage of configs/best.py: whole scenes at 128x128 pixels.

A step takes a third of the time of one at 256x256 pixels. The network is that of configs/best.py and starts its second
stage. recipes/rebuild.sh makes the images and passes their shares as `data.mix`.

Command:  hazeheal train --config=best_128 --data_dir=records/mixed --workdir=runs/best_128 --cpu_replicas=1
Run time: 56 minutes on two CPU cores (a Xeon with AMX), in three parts (docs/model_card.md).
Result:   validation PSNR 18.90 dB, hazy input 15.37 dB (all sets together).
"""

from hazeheal.configs import fast
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = fast.get_config()
    config.data.crop_size = 128
    config.model.view_size = 128
    config.model.width = 64
    config.model.depth = 3
    config.model.patch_size = 8
    config.model.bins = 4
    config.loss.l1_log_scale = 0.1  # images that haze hides weigh less
    config.train.batch_size = 16
    config.train.steps = 24000
    return config
