"""The smaller of the two networks that ship: patches of 4x4 pixels, quicker than the dark channel prior on a CPU.

Command:  hazeheal train --config=fast --data_dir=records/mixed --workdir=runs/fast --cpu_replicas=2
Run time: see docs/model_card.md.
Result:   see docs/model_card.md.
"""

from hazeheal.configs import best
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = best.get_config()
    config.model.width = 16
    config.model.depth = 3
    config.train.steps = 8000
    return config
