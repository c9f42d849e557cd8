"""`hazy_pairs`: the public data sets of hazy and clear images as one builder, a configuration each.

None of them may be downloaded by a program, so each is unpacked by hand into the manual folder. Pairs are found by the
rules that `hazeheal-tfrecords convert` goes by, and images are read as it reads them: upright 8-bit RGB, the file's own
bytes where TensorFlow decodes these to the same.
"""

import dataclasses
import io
import pathlib
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from hazeheal.data.images import image_io
from hazeheal.data.pairing.pairing import pair_folders
from hazeheal.data.pairing.public_sets import PUBLIC_SETS, PublicSet
from hazeheal.errors import DataError

_DESCRIPTION = """\
Pairs of a hazy image and the clear one of the same scene, for networks that remove haze. Every configuration is a public data set, with
the splits of its authors, or else all of it as one split. All hazy images of one clear image belong together: a split of your own
must not tear them apart.
"""


@dataclasses.dataclass(kw_only=True)
class HazyPairsConfig(tfds.core.BuilderConfig):
    """One public data set.

    Attributes:
        pairs: What is known of it.
    """

    pairs: PublicSet


class HazyPairs(tfds.core.GeneratorBasedBuilder):
    """Pairs of hazy and clear images."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = [
        HazyPairsConfig(name=one.name, description=f"{one.title}. {one.text}", pairs=one)
        for one in PUBLIC_SETS
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Unpack the data set that you want into `manual_dir`, which by default is `<data_dir>/downloads/manual`, so that its "
        "images lie in these folders. The authors' terms apply; most of them allow research alone.\n\n"
        + "\n\n".join(f"hazy_pairs/{one.name}\n{one.instructions}" for one in PUBLIC_SETS)
    )

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), doc="uint8 RGB")
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {"hazy": image, "clear": image, "key": tfds.features.Text(doc="the hazy file's name")}
            ),
            supervised_keys=("hazy", "clear"),
            homepage=self.builder_config.pairs.page,
            citation=self.builder_config.pairs.citation,
        )

    def _split_generators(self, dl_manager):
        pairs, root = self.builder_config.pairs, pathlib.Path(dl_manager.manual_dir)
        found = {}
        for split, folders in pairs.splits.items():
            hazy_dir, gt_dir = (root / folder for folder in folders)
            for folder in (hazy_dir, gt_dir):
                if not folder.is_dir():
                    raise DataError(
                        f"{folder} is not there; hazy_pairs/{pairs.name} needs\n{pairs.instructions}"
                    )
            pairing = pair_folders(hazy_dir, gt_dir, rule=pairs.rule)
            if not pairing.complete:
                raise DataError(f"{hazy_dir} and {gt_dir} do not pair: {pairing.report(limit=5)}")
            found[split] = hazy_dir, gt_dir, pairing.pairs
        return {split: self._generate_examples(*args) for split, args in found.items()}

    def _generate_examples(self, hazy_dir, gt_dir, pairs):
        for pair in pairs:
            hazy, clear = _read(hazy_dir / pair.hazy), _read(gt_dir / pair.clear)
            if hazy[0].shape != clear[0].shape:
                clear = self._cut(hazy[0], clear[0], hazy_dir / pair.hazy), None
            yield pair.key, {"hazy": _feature(*hazy), "clear": _feature(*clear), "key": pair.key}

    def _cut(self, hazy: np.ndarray, clear: np.ndarray, path) -> np.ndarray:
        """The middle of a clear image that has a border around it, where the data set is known for that."""
        whole, middle = image_io.center_crop(hazy, clear)
        if self.builder_config.pairs.size_mismatch != "center_crop" or whole is not hazy:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (hazy, clear))
            raise DataError(
                f"{path} and its clear image are of two sizes ({sizes}); remove the pair or repair it"
            )
        return middle


def _read(path: pathlib.Path) -> tuple:
    """Returns (the image, its file's bytes, or None where they must not be kept)."""
    data = path.read_bytes()
    image, kept = image_io.load_rgb(data, name=str(path))
    return image, data if kept.reusable else None


def _feature(image: np.ndarray, data: bytes | None):
    """What the feature takes: a file, which is kept as it is, or an array, which becomes PNG."""
    return image if data is None else io.BytesIO(data)
