"""Larger included network, stage 2: whole scenes.

Stage 1, configs/best_crops.py, trains on crops at full resolution. Stage 2 shows the network whole scenes at the size
at which it will see them.

Command:  hazeheal train --config=best --restore_from=runs/best_crops --data_dir=records/mixed --workdir=runs/best --cpu_replicas=2
Run time: 10 minutes on two CPU cores (Sapphire Rapids, bfloat16, with other work).
Result:   validation PSNR 28.13 dB at step 1,500, hazy input 16.72 dB (SOTS outdoor and RICE1); docs/model_card.md.
"""

from hazeheal.configs import best_crops
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return use_whole_scenes(best_crops.get_config(), steps=4000)


def use_whole_scenes(config: ConfigDict, *, steps: int) -> ConfigDict:
    """Changes the configuration of stage 1 to that of stage 2, and returns it."""
    config.data.window_min = 0.6
    config.model.view_size = 256
    config.loss.haze_share = 0.0  # clear and hazy regions have the same weight
    config.optimizer.learning_rate = 3e-4
    config.train.steps = steps
    config.train.validate_every = "500 steps"
    return config
