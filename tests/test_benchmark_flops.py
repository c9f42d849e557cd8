"""The operations counted in the graphs equal the formulas."""

import pytest
from formulas import generator_flops, step_flops
from trainings import make_config

from hazeheal.benchmark import flops
from hazeheal.models.networks import build_networks


def test_flops_of_the_generator_at_the_size_of_the_design():
    assert sum(generator_flops(64, 5, 256, 256).values()) == pytest.approx(25.6e9, rel=0.01)


@pytest.mark.parametrize(("width", "depth", "height", "side"), [(8, 2, 22, 13), (6, 3, 16, 40)])
def test_flops_of_the_generator_are_exact(width, depth, height, side):
    config = make_config(model__width=width, model__depth=depth)
    generator = build_networks(config, for_training=False).generator
    expected = sum(generator_flops(width, depth, height, side).values())
    assert flops.of_generator(generator, height=height, width=side) == expected


def test_flops_of_the_step_are_exact():
    config = make_config(model__norm="none")
    assert flops.of_step(build_networks(config), config=config) == step_flops(config)
