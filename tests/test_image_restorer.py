"""Images restored during a training: large ones part by part, as the network restores them whole."""

import numpy as np
import pytest
from configuring import load
from refusals import refusal
from test_restorer import apart, noise
from trainings import graphs_as_they_are, make_config, moved
from validations import Images, restore_with

from hazeheal.distributed.groups import Groups
from hazeheal.errors import UsageError
from hazeheal.training.image_restorer import ImageRestorer
from hazeheal.training.sampler import Sampler
from hazeheal.utils.parallel import Workers

TILE = 112
KINDS = {
    "local": {"model__se_ratio": 0.0},
    "squeeze-excite": {},
    "view": {"model__view_size": 32, "model__output": "scattering"},
}
SIZES = [(201, 180), (50, 777), (33, 1900)]


@pytest.fixture(params=KINDS)
def kind(request, training):
    """(a training whose weights are moved, its fields)."""
    fields = KINDS[request.param]
    return moved(training(**fields)), fields


def differences(restored, whole):
    return apart(restored, whole).mean(), apart(restored, whole).max()


def test_parts_equal_the_whole_image(kind, monkeypatch):
    trial, fields = kind
    restorer = ImageRestorer(trial.state, config=make_config(data__val_tile_size=TILE, **fields))
    workers = Workers([restorer.replica(0)])
    restore_whole = restore_with(trial, make_config(**fields))
    for size in SIZES:
        image = noise(*size)
        image[:, : size[1] // 3] //= 4  # parts whose averages are not those of the image
        with graphs_as_they_are():
            assert restorer.is_large(*size)
            parts = list(restorer.parts(image, workers))
            assert len(parts) > 2
            assert all(values.shape[0] * values.shape[1] <= max(TILE**2, size[1]) for _, _, values in parts)
            whole = restore_whole(image)
            assert apart(whole, image).mean() > 1, "the network must change the image"
            mean, largest = differences(restorer.restore(image, workers), whole)
            if fields:
                assert mean < 1e-3 and largest <= 1
                continue
            with monkeypatch.context() as patch:
                patch.setattr(restorer, "_uses_averages", False)
                own, _ = differences(restorer.restore(image, workers), whole)
            assert mean < own / 4 and mean < 0.5


def test_the_network_gets_at_most_a_tile(training, monkeypatch):
    trial = moved(training())
    restorer = ImageRestorer(trial.state, config=make_config(data__val_tile_size=TILE))
    sizes, call = [], restorer._call

    def recorded(name, replica, batch, *more):
        sizes.append(batch.shape[0] * batch.shape[1] * batch.shape[2])
        return call(name, replica, batch, *more)

    monkeypatch.setattr(restorer, "_call", recorded)
    ticks = []
    with graphs_as_they_are():
        restorer.restore(noise(*SIZES[0]), Workers([restorer.replica(0)], on_result=lambda: ticks.append(None)))
        restorer.restore(noise(90, 100), Workers([restorer.replica(0)]))
    assert sizes[-1] == 90 * 100, "a small image is restored whole"
    assert max(sizes) <= TILE**2
    assert len(ticks) == len(sizes) - 1


def test_several_devices_share_a_large_image(training):
    trial, image = moved(training(replicas=2)), noise(*SIZES[0])
    restorer = ImageRestorer(trial.state, config=make_config(data__val_tile_size=TILE))
    with graphs_as_they_are():
        one = restorer.restore(image, Workers([restorer.replica(0)]))
        two = restorer.restore(image, Workers([restorer.replica(0), restorer.replica(1)]))
    assert apart(one, two).max() <= 1


def test_the_tile_fits_the_network(training):
    state = training().state
    assert ImageRestorer(state, config=make_config()).tile_size == 1536
    deep = make_config(model__depth=6, data__crop_size=128)
    assert ImageRestorer(state, config=deep).tile_size > 1536
    set_tile = ImageRestorer(state, config=make_config(data__val_tile_size=500))
    assert set_tile.tile_size == 500
    assert "set --config.data.val_tile_size below 500, or lower --config.model.width" in set_tile.memory_advice


def test_a_tile_that_is_too_small_is_refused():
    message = refusal(UsageError, lambda: load("data.val_tile_size=447"))
    assert "--config.data.val_tile_size=447 is too small for --config.model.depth=5 and" in message
    assert "use 448 or more, or 0" in message
    assert load("data.val_tile_size=448").data.val_tile_size == 448
    assert "use 64 or more" in refusal(UsageError, lambda: load("data.val_tile_size=63", "model.view_size=256"))


def test_samples_are_read_one_by_one_and_only_those_of_the_group(training):
    trial = moved(training(replicas=2))
    pairs = [(noise(20 + i, 30, seed=i), noise(20 + i, 30, seed=9 + i)) for i in range(5)]
    restorer = ImageRestorer(trial.state, config=make_config())
    for number, expected in ((0, [0, 1]), (2, [4, 0])):
        groups = Groups(trial.runtime)
        groups.number = number
        images = Images(pairs)
        sampler = Sampler(restorer, count=2, processor=images, groups=groups)
        with graphs_as_they_are():
            rows = sampler.run()
            assert next(rows)[0].shape == (20 + expected[0], 30, 3) and images.read == expected[:1]
            rows = [*sampler.run()]
        assert images.read == [expected[0], *expected]
        for place, (hazy, restored, clear) in zip(expected, rows, strict=True):
            np.testing.assert_array_equal(hazy, pairs[place][0])
            np.testing.assert_array_equal(clear, pairs[place][1])
            assert restored.dtype == np.uint8 and restored.shape == hazy.shape
            assert not np.array_equal(restored, hazy)
