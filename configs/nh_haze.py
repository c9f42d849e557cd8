"""NH-HAZE: real, uneven haze, 55 pairs of 1600x1200.

Ancuti et al. 2020. Hazy and clear images are in one folder.

Command:  bash launch/train_multigpu.sh --config=nh_haze --restore_from=best --hazy_dir=NH-HAZE --gt_dir=NH-HAZE --workdir=runs/nh_haze
Run time: not measured.
Result:   not measured.
"""

from hazeheal.configs import dense_haze
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return dense_haze.get_config()
