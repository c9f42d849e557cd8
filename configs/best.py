"""The larger of the two networks that ship: outdoor photographs and satellite images, on two CPU cores.

The second of two stages: whole scenes, as the network will see them, after crops at full resolution.

Command:  hazeheal train --config=best --restore_from=runs/best_crops --data_dir=records/mixed --workdir=runs/best --cpu_replicas=2
Run time: see docs/model_card.md.
Result:   see docs/model_card.md.
"""

from hazeheal.configs import best_crops
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return on_whole_scenes(best_crops.get_config(), steps=4000)


def on_whole_scenes(config, *, steps) -> ConfigDict:
    """What the second stage changes in the first one's configuration."""
    config.data.window_min = 0.6
    config.model.view_size = 256
    config.loss.haze_share = 0.0  # what is clear counts as much as what is hazy
    config.optimizer.learning_rate = 3e-4
    config.train.steps = steps
    config.train.validate_every = "500 steps"
    return config
