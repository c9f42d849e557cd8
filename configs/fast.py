"""The smaller of the two networks that ship: quicker than the dark channel prior on a CPU.

The second of two stages, as of configs/best.py.

Command:  hazeheal train --config=fast --restore_from=runs/fast_crops --data_dir=records/mixed --workdir=runs/fast --cpu_replicas=2
Run time: see docs/model_card.md.
Result:   see docs/model_card.md.
"""

from hazeheal.configs import best, fast_crops
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return best.on_whole_scenes(fast_crops.get_config(), steps=4000)
