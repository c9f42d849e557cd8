"""Larger included network.

It sees the whole scene as 256x256 pixels (`model.view_size`) and outputs, for each patch of 8x8 of these and for four
levels of brightness (`model.bins`), the coefficients of the scattering model. It starts from configs/best_128.py.

Command:  hazeheal train --config=best --restore_from=runs/best_128 --data_dir=records/mixed --workdir=runs/best --cpu_replicas=1
Run time: 21 minutes on two CPU cores (a Xeon with AMX), after configs/best_128.py.
Result:   validation PSNR 19.17 dB at step 6,500, hazy input 15.37 dB (all sets together); docs/model_card.md.
"""

from hazeheal.configs import fast
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = fast.get_config()
    config.model.width = 64
    config.model.bins = 4
    # With the squared error of `fast` it leaves dark smears in thick fog (docs/experiments.md).
    config.loss.difference = "charbonnier"
    config.loss.l1_log_scale = 0.1
    return config
