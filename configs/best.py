"""Larger included network (not yet trained with this version).

It differs from configs/fast.py by patches of 2x2 pixels, four levels of brightness and more channels.

Command:  hazeheal train --config=best --data_dir=records/mixed --workdir=runs/best --cpu_replicas=1 --config.train.precision=float32
Run time: not measured.
Result:   not measured; hazeheal/pretrained/best.npz is that of version 0.1.
"""

from hazeheal.configs import fast
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = fast.get_config()
    config.model.width = 32
    config.model.patch_size = 2
    config.model.bins = 4
    return config
