"""NH-HAZE (Ancuti et al. 2020): real haze that is not homogeneous, 55 pairs of 1600x1200 in one folder.

Command:  bash launch/train_multigpu.sh --config=nh_haze --hazy_dir=NH-HAZE --gt_dir=NH-HAZE --workdir=runs/nh_haze
Run time: not measured.
Result:   none measured.
"""

from hazeheal.configs import dense_haze
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return dense_haze.get_config()
