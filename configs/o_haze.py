"""O-HAZE: real outdoor haze, 45 pairs of up to 5436x3612.

Ancuti et al. 2018. The conversion shrinks the longer side to 1600.

Command:  bash launch/train_multigpu.sh --config=o_haze --restore_from=best --hazy_dir=O-HAZE/hazy --gt_dir=O-HAZE/GT --workdir=runs/o_haze --convert.max_side=1600
Run time: not measured.
Result:   not measured.
"""

from hazeheal.configs import dense_haze
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return dense_haze.get_config()
