"""Smaller included network, stage 1: crops at full resolution.

configs/fast.py is stage 2.

Command:  hazeheal train --config=fast_crops --data_dir=records/mixed --workdir=runs/fast_crops --cpu_replicas=2
Run time: 10 minutes on two CPU cores (Sapphire Rapids, bfloat16).
Result:   validation PSNR 26.90 dB, hazy input 16.72 dB (SOTS outdoor and RICE1); docs/model_card.md.
"""

from hazeheal.configs import best_crops
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = best_crops.get_config()
    config.model.width = 16
    config.model.depth = 3
    config.train.steps = 8000
    return config
