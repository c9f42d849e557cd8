"""Larger included network.

It sees the whole scene as 256x256 pixels (`model.view_size`) and outputs, for each patch of 8x8 of these and for four
levels of brightness (`model.bins`), the coefficients of the scattering model. It starts from configs/best_128.py.

Command:  hazeheal train --config=best --restore_from=runs/best_128 --data_dir=records/mixed --workdir=runs/best --cpu_replicas=1
Run time: 21 minutes on two CPU cores (a Xeon with AMX), after configs/best_128.py.
Result:   validation PSNR 19.17 dB at step 6,500, hazy input 15.37 dB (all sets together); docs/model_card.md.
"""

from hazeheal.configs import best_128, fast
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = best_128.get_config()
    whole = fast.get_config()
    config.data.crop_size = whole.data.crop_size
    config.model.view_size = whole.model.view_size
    config.optimizer.learning_rate = 3e-4
    config.train.batch_size = 8
    config.train.steps = 6500
    return config
