"""`hazy_pairs`: one TFDS builder for the public data sets of hazy and clear images, with one configuration per set.

The authors do not permit automatic downloads, so the user unpacks each set into the manual folder. Pairing and image
decoding are those of `hazeheal-tfrecords convert`: upright 8-bit RGB, and the file's own bytes where TensorFlow
decodes them to the same pixels.
"""

import io
import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from hazeheal.data.images import image_io, image_ops
from hazeheal.data.images.pixel_options import TO_SRGB
from hazeheal.data.pairing.pairing import PairName, pair_folders
from hazeheal.data.pairing.public_sets import PUBLIC_SETS, PublicSet
from hazeheal.errors import DataError, UsageError
from hazeheal.utils.console import first_few

_DESCRIPTION = """\
Pairs of a hazy and a clear image of one scene, for networks that remove haze. Each configuration is a public data set
with the splits of its authors, or with one split if it has none. Keep all hazy images of one clear image in the same
split when you split a set yourself.
"""


class HazyPairs(tfds.core.GeneratorBasedBuilder):
    """Pairs of hazy and clear images."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=one.name, description=f"{one.title}. {one.text}") for one in PUBLIC_SETS
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Unpack the data set into `manual_dir` (by default `<data_dir>/downloads/manual`) so that its images are in "
        "these folders. The authors' terms apply; most permit research only.\n\n"
        + "\n\n".join(f"hazy_pairs/{one.name}\n{one.instructions}" for one in PUBLIC_SETS)
    )

    @property
    def _public_set(self) -> PublicSet:
        return next(one for one in PUBLIC_SETS if one.name == self.builder_config.name)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), doc="uint8 RGB")
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {"hazy": image, "clear": image, "key": tfds.features.Text(doc="stem of the hazy file")}
            ),
            supervised_keys=("hazy", "clear"),
            homepage=self._public_set.page,
            citation=self._public_set.citation,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        pairs, root = self._public_set, pathlib.Path(dl_manager.manual_dir)
        splits = {}
        for split, folders in pairs.splits.items():
            hazy_dir, gt_dir = (root / folder for folder in folders)
            try:
                pairing = pair_folders(hazy_dir, gt_dir, rule=pairs.rule)
            except UsageError as error:
                raise DataError(f"{error}; hazy_pairs/{pairs.name} needs\n{pairs.instructions}") from None
            if pairing.leftovers:
                files = [*pairing.orphans_hazy, *pairing.orphans_clear, *pairing.ambiguous]
                raise DataError(f"{len(files)} files of {hazy_dir} and {gt_dir} do not pair: {first_few(files)}")
            splits[split] = self._generate_examples(hazy_dir, gt_dir, pairing.pairs)
        return splits

    def _generate_examples(
        self, hazy_dir: pathlib.Path, gt_dir: pathlib.Path, pairs: list[PairName]
    ) -> Iterator[tuple[str, dict]]:
        for pair in pairs:
            hazy, hazy_file = _read(hazy_dir / pair.hazy)
            clear, clear_file = _read(gt_dir / pair.clear)
            if hazy.shape != clear.shape:
                # The clear images of some data sets have a border.
                hazy_center, clear_center = image_ops.center_crop(hazy, clear)
                if self._public_set.size_mismatch != "center_crop" or hazy_center.shape != hazy.shape:
                    sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (hazy, clear))
                    raise DataError(
                        f"{hazy_dir / pair.hazy} and its clear image have different sizes ({sizes}); remove the pair"
                    )
                clear, clear_file = clear_center, None
            # TFDS copies a file, and encodes an array as PNG.
            yield pair.key, {"hazy": hazy_file or hazy, "clear": clear_file or clear, "key": pair.key}


def _read(path: pathlib.Path) -> tuple[np.ndarray, io.BytesIO | None]:
    """Returns the image, and its file if TensorFlow decodes that to the same pixels."""
    data = path.read_bytes()
    image, passthrough = image_io.load_rgb(data, name=str(path), options=TO_SRGB)
    return image, io.BytesIO(data) if passthrough.reusable else None
