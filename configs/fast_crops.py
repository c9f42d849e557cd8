"""The first of two stages to the smaller network that ships: crops at full resolution, from initial weights.

Command:  hazeheal train --config=fast_crops --data_dir=records/mixed --workdir=runs/fast_crops --cpu_replicas=2
Run time: see docs/model_card.md.
Result:   see docs/model_card.md; configs/fast.py goes on from it.
"""

from hazeheal.configs import best_crops
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = best_crops.get_config()
    config.model.width = 16
    config.model.depth = 3
    config.train.steps = 8000
    return config
