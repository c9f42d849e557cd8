"""The recipe of the included networks, from images to scores, on sets in miniature."""

import json
import sys

import numpy as np
import processes
import pytest
from PIL import Image
from places import ROOT

from hazeheal.data.synthesis.noise import fractal

sys.path.append(str(ROOT / "recipes"))
import haze

SCENES = 10
SIZE = (48, 64)
# {set: (folder, name of a hazy file, name of its clear file)}
PAIRS = {
    "rice1": ("rice1", "{:03d}_hazy.png", "{:03d}_GT.png"),
    "outdoor": ("sots_outdoor_288", "{:04d}_0.8_0.1.jpg", "{:04d}.jpg"),
    "full": ("sots_outdoor_full", "9{:03d}_0.8_0.1.jpg", "9{:03d}.jpg"),
    "dense": ("dense_haze_600", "{:02d}.jpg", "{:02d}.jpg"),
    "i_haze": ("i_haze_284", "{:02d}.jpg", "{:02d}.jpg"),
    "its": ("its_288", "{:03d}.jpg", "{:03d}.jpg"),
    "frida": ("frida_288", "frida{:06d}.jpg", "frida{:06d}.jpg"),
}


def scene(seed):
    rng = np.random.default_rng(seed)
    channels = [128 + 60 * fractal(rng, SIZE, cells=4) for _ in range(3)]
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_sets(root):
    for number, (folder, hazy, clear) in enumerate(PAIRS.values()):
        for index in range(1, SCENES + 1):
            image = scene(100 * number + index)
            square = image[:, : SIZE[0]] if folder == "rice1" else image
            write(root / folder / "GT" / clear.format(index), square)
            write(root / folder / "hazy" / hazy.format(index), (square // 2 + 100).astype(np.uint8))
    for folder, depth in (("rsscn7_288", None), ("sun_outdoor_288", "sun"), ("other_384", "other")):
        for index in range(SCENES):
            write(root / "clear" / folder / f"{folder[:3]}-{index}.jpg", scene(900 + index))
            if depth:
                values = np.linspace(255, 0, SIZE[0] // 2)[:, None] + np.zeros(SIZE[1] // 2)
                write(root / "clear/depth" / folder / f"{folder[:3]}-{index}.png", values.astype(np.uint8))
    (root / "clear/depth/doubtful.txt").write_text("sun_outdoor_288/sun-3\n")


def run(*arguments):
    code, out, err = processes.run(sys.executable, *map(str, arguments), cwd=ROOT)
    assert code == 0, err
    return out


@pytest.mark.slow
def test_from_images_to_scores(tmp_path):
    data, split, records = tmp_path / "data", tmp_path / "split", tmp_path / "records"
    write_sets(data)
    run("recipes/split.py", f"--data={data}", f"--output_dir={split}")
    run("recipes/synthesize.py", f"--data={data}", f"--split={split}", "--workers=2")
    names = {path.name for path in (split / "train/hazy").iterdir()}
    made = ["outdoor_haze", "fog", "reside_haze", "aerial_haze", "indoor_haze", "mosaic", "flat"]
    assert names == {*made, "rice1", "outdoor", "dense", "i_haze", "its", "frida"}
    assert not list(split.rglob("*sun-3*haze*")), "its depth map is doubtful"
    before = {path: path.stat().st_mtime_ns for path in split.rglob("*.jpg")}
    run("recipes/synthesize.py", f"--data={data}", f"--split={split}", "--workers=2")
    assert before == {path: path.stat().st_mtime_ns for path in split.rglob("*.jpg")}, "files were written again"
    folders = [f"--hazy_dir={split / 'train/hazy'}", f"--gt_dir={split / 'train/GT'}", "--pairing=same_name"]
    keys = f"--val_keys={split / 'train/val_keys.txt'}"
    run("-m", "tfrecords_tools", "convert", *folders, keys, f"--output_dir={records}")
    common = [f"--split={split}", f"--records={records}", f"--runs={tmp_path / 'runs'}"]
    run("recipes/experiments.py", *common, "--only", "baseline", "--steps=2", "--cpu_replicas=1")
    found = json.loads((tmp_path / "runs/baseline/scores.json").read_text())
    assert {"rice1", "outdoor", "dense", "bars", "mosaic of RICE1", "clear, least", "one color"} <= found.keys()
    table = run("recipes/scores.py", f"--split={split}", "--part=test", "--baselines", "--model", "fast")
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines()}
    assert float(rows["outdoor"][2]) > 5
    assert float(rows["one color"][2]) >= 0


# ------------------------------------------------------------------------------ recipes/perceptual_distance.py
def test_the_perceptual_distance_is_0_for_equal_images_and_grows_with_the_noise(tmp_path):
    from perceptual_distance import PerceptualDistance

    rng, arrays, shapes = np.random.default_rng(0), {}, [(3, 64), (64, 64), (64, 128), (128, 128)]
    for shape, name in zip(shapes, ("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"), strict=True):
        arrays[f"{name}/kernel"] = rng.normal(0, 0.1, (3, 3, *shape)).astype(np.float32)
        arrays[f"{name}/bias"] = np.zeros(shape[1], np.float32)
    np.savez(tmp_path / "vgg19.npz", **arrays)
    distance, clear = PerceptualDistance(tmp_path / "vgg19.npz"), scene(3)
    noise = rng.normal(0, 1, clear.shape)
    noisy = [np.clip(clear + sigma * noise, 0, 255).astype(np.uint8) for sigma in (0, 5, 20)]
    none, little, much = (distance(image, clear) for image in noisy)
    assert none == 0 < little < much < 4
    assert distance(clear, noisy[2]) == pytest.approx(much, rel=1e-5)


# ------------------------------------------------------------------------------------------- recipes/scores.py
def test_the_score_in_another_light_has_errors_in_the_units_of_the_first_light():
    import scores

    clear = scene(5)
    hazy = (clear // 2 + 100).astype(np.uint8)
    own = scores.psnr(hazy, clear)
    for factors in scores.LIGHTS.values():
        assert scores.relit_psnr(lambda image: image, hazy, clear, factors=factors) == pytest.approx(own, abs=0.05)
    seen = []
    assert scores.relit_psnr(lambda image: seen.append(image) or image, hazy, clear, factors=(0.5, 1, 0.25)) > 0
    np.testing.assert_array_equal(seen[0], np.rint(hazy * np.array([0.5, 1, 0.25])))


# ----------------------------------------------------------------------------------------- recipes/average.py
def test_the_average_of_weights_names_its_parts_and_claims_no_score(tmp_path):
    import average

    from hazeheal.models import weights

    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    metadata = {"config": {"seed": 3}, "psnr": 20.0, "metrics": {"psnr": 20.0}}
    for file, value in zip(files, (1.0, 4.0), strict=True):
        weights.write(file, {"kernel": np.full((2, 3), value), "bias": np.array([-value])}, metadata)
    output = tmp_path / "mean.npz"
    average.main([*map(str, files), f"--output={output}"])
    mean = weights.read(output)
    np.testing.assert_array_equal(mean.values["kernel"], np.full((2, 3), 2.5))
    np.testing.assert_array_equal(mean.values["bias"], [-2.5])
    assert mean.metadata["average_of"] == [weights.read(file).metadata["sha256"] for file in files]
    assert [mean.metadata[key] for key in ("config", "psnr", "metrics")] == [{"seed": 3}, None, {}]
    weights.write(tmp_path / "c.npz", {"kernel": np.ones((2, 4)), "bias": np.ones(1)}, metadata)
    for wrong, name in (("has other variables", "other.npz"), ("exists", "mean.npz")):
        with pytest.raises(SystemExit, match=wrong):
            average.main([str(files[0]), str(tmp_path / "c.npz"), f"--output={tmp_path / name}"])
    assert not (tmp_path / "other.npz").exists()


# --------------------------------------------------------------------------------------- recipes/plot_logs.py
def test_curves_leave_out_cells_without_a_number(tmp_path):
    from plot_logs import draw, read_log

    log = tmp_path / "log.csv"
    log.write_text("epoch,disc_loss,gen_total_loss,val_disc_loss\n0,1.5,20.25,NA\n1,,10,NA\n")
    curves = read_log(log)
    assert curves == {"disc_loss": ((0.0,), (1.5,)), "gen_total_loss": ((0.0, 1.0), (20.25, 10.0))}
    draw({"one": curves, "two": curves}, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[0] == 2000


# -------------------------------------------------------------------------------------------- recipes/haze.py
def pair(kind, seed, clear):
    rng = np.random.default_rng(seed)
    depth = np.linspace(haze.FAR, 1, 24, dtype=np.float32)[:, None] + np.zeros((24, 32), np.float32)
    if kind == "aerial":
        return haze.aerial_pair(rng, clear)
    if kind == "indoor":
        return haze.indoor_pair(rng, clear, other_depth=depth)
    return haze.outdoor_pair(rng, clear, depth=depth, other_depth=depth[::-1])


@pytest.mark.parametrize("kind", ["aerial", "indoor", "outdoor"])
def test_haze_depends_on_the_generator_alone_and_changes_no_clear_pixel_but_borders(kind):
    clear = scene(3)
    apart = []
    for seed in range(40):
        hazy, kept = pair(kind, seed, clear)
        assert hazy.dtype == kept.dtype == np.uint8
        assert hazy.shape == kept.shape == clear.shape
        for one, other in zip((hazy, kept), pair(kind, seed, clear), strict=True):
            np.testing.assert_array_equal(one, other)
        if (kept != clear).any():  # a border or a timestamp, which the hazy image has too
            border = (kept != clear).any(-1)
            apart.append(np.abs(hazy[border].astype(int) - kept[border]).mean())
    assert 0 < len(apart) < 20
    assert np.median(apart) < 15  # but for JPEG and the edges of letters


def test_haze_outdoors_is_thicker_where_the_depth_map_is_larger():
    clear = np.full((*SIZE, 3), 40, np.uint8)
    hazy = [pair("outdoor", seed, clear)[0] for seed in range(60)]
    assert (
        np.mean([image[:10].mean() > image[-10:].mean() for image in hazy]) > 0.6
    )  # a quarter has another image's depth


def test_haze_as_in_reside_is_gray_and_keeps_detail_at_every_distance():
    clear = np.random.default_rng(0).integers(0, 120, (*SIZE, 1), np.uint8).repeat(3, axis=2)
    depth = np.linspace(haze.FAR, 1, SIZE[0], dtype=np.float32)[:, None] + np.zeros(SIZE, np.float32)
    for seed in range(40):
        hazy, kept = haze.reside_pair(np.random.default_rng(seed), clear, depth=depth)
        np.testing.assert_array_equal(kept, clear)
        top, bottom = (hazy[rows].std() / clear[rows].std() for rows in (slice(8), slice(-8, None)))
        assert 0.15 < top < bottom < 1
        assert hazy.mean() > clear.mean()
        assert np.ptp(hazy.mean((0, 1))) < 1


def test_fog_keeps_its_color_in_the_sky_and_hides_from_the_clear_image_what_no_light_reaches():
    clear = np.random.default_rng(0).integers(0, 120, (*SIZE, 3), np.uint8)
    depth = np.linspace(haze.FAR, 1, SIZE[0], dtype=np.float32)[:, None] + np.zeros(SIZE, np.float32)
    pairs = [haze.fog_pair(np.random.default_rng(seed), clear, depth=depth) for seed in range(40)]
    np.testing.assert_array_equal(pairs[3], haze.fog_pair(np.random.default_rng(3), clear, depth=depth))
    sky = np.array([[image[1].mean() for image in pair] for pair in pairs])
    assert np.abs(sky[:, 0] - sky[:, 1]).max() < 20, "overcast in both"
    assert np.median(sky) > 140 > clear.max()
    assert 8 <= (sky[:, 0] > 245).sum() <= 22, "a third is white"
    contrast = np.array(
        [[image[rows].std() for image in pair] for pair in pairs for rows in (slice(24, 32), slice(-8, None))]
    )
    hazy, kept = np.median(contrast.reshape(40, 2, 2), axis=0).T
    assert hazy[0] < hazy[1] < 0.9 * kept[1], "fog is thicker in the distance"
    assert kept[1] == pytest.approx(clear.std(), rel=0.05), "what is near stays as it is"


def test_a_mosaic_holds_its_pairs_and_a_flat_pair_is_equal():
    tiles = [(np.full((4, 4, 3), i, np.uint8), np.full((4, 4, 3), 100 + i, np.uint8)) for i in range(4)]
    hazy, clear = haze.mosaic_pair(None, tiles)
    assert hazy[::4, ::4, 0].tolist() == [[0, 1], [2, 3]]
    np.testing.assert_array_equal(clear, hazy + 100)
    for seed in range(20):
        hazy, clear = haze.flat_pair(np.random.default_rng(seed), SIZE)
        np.testing.assert_array_equal(hazy, clear)
