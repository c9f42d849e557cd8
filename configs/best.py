"""Larger included network.

It sees the whole scene as 256x256 pixels (`model.view_size`) and outputs, for each patch of 8x8 of these and for four
levels of brightness (`model.bins`), the coefficients of the scattering model. It starts from configs/best_128.py.

Command:  hazeheal train --config=best --restore_from=runs/best_128 --data_dir=records/mixed --workdir=runs/best --cpu_replicas=1
Run time: 55 minutes on two CPU cores (a Zen 3), after configs/best_128.py.
Result:   validation PSNR 19.87 dB, hazy input 15.29 dB (all sets together), after the parts in docs/model_card.md.
"""

from hazeheal.configs import fast
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = fast.get_config()
    config.model.width = 64
    config.model.bins = 4
    return config
