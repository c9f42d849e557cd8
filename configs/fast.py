"""Smaller included network, stage 2: whole scenes.

On a CPU it is faster than OpenCV's dark channel prior. configs/best.py explains the two stages.

Command:  hazeheal train --config=fast --restore_from=runs/fast_crops --data_dir=records/mixed --workdir=runs/fast --cpu_replicas=2
Run time: 8 minutes on two CPU cores (Sapphire Rapids, bfloat16, with other work).
Result:   validation PSNR 27.01 dB at step 3,500, hazy input 16.72 dB (SOTS outdoor and RICE1); docs/model_card.md.
"""

from hazeheal.configs import best, fast_crops
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return best.use_whole_scenes(fast_crops.get_config(), steps=4000)
