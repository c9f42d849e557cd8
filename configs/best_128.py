"""First stage of configs/best.py: whole scenes at 128x128 pixels.

A step takes a third of the time of one at 256x256 pixels. The network is that of configs/best.py and starts its second
stage. recipes/rebuild.sh makes the images and passes their shares as `data.mix`.

Command:  hazeheal train --config=best_128 --data_dir=records/mixed --workdir=runs/best_128 --cpu_replicas=1
Run time: 56 minutes on two CPU cores (a Xeon with AMX), in three parts (docs/model_card.md).
Result:   validation PSNR 18.90 dB, hazy input 15.37 dB (all sets together, without fog).
"""

from hazeheal.configs import best, fast_128
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return fast_128.first_stage(best.get_config())
