"""Where the images of a batch come from: records that are decoded, or a cache of decoded images.

Both have the same methods for the functions of a dataset, and give the same pixels:

    read(candidates)     rows of a batch: `number` int64 `[B]`, `size` int32 `[B, 2]` and what `cut` and `whole` need
    cut(row, side)       the window `row["window"]` of one image, uint8 `[rows, columns, 3]`
    whole(row, side)     one image, uint8 `[H, W, 3]`

`side` is `hazy` or `clear`. A `row` of `cut` and `whole` is one of those of `read`, and that of `cut` also has `window`
(int32 `[4]`: y, x, rows, columns) and `outer` (the window of `with_margins`).
"""

import numpy as np
import tensorflow as tf

from hazeheal.data.pipeline.decode import decode_image, decode_window, split_records
from hazeheal.data.pipeline.graph_reader import GraphReader
from hazeheal.data.pipeline.pixel_cache import PixelCache
from hazeheal.data.records import Split


class RecordSource:
    """Reads records and decodes their images."""

    def __init__(self, reader: GraphReader):
        self._reader = reader

    def read(self, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads a record for each row of `candidates`, see `GraphReader.read`."""
        number, size, payload = self._reader.read(candidates)
        hazy, clear = split_records(payload)
        return {"number": number, "size": size, "hazy": hazy, "clear": clear}

    def cut(self, row: dict[str, tf.Tensor], side: str) -> tf.Tensor:
        """Decodes a window of an image."""
        return decode_window(row[side], row["window"], row["outer"])

    def whole(self, row: dict[str, tf.Tensor], side: str) -> tf.Tensor:
        """Decodes an image."""
        return decode_image(row[side], row["size"])


class CacheSource:
    """Copies windows of decoded images."""

    def __init__(self, cache: PixelCache, split: Split):
        self._cache = cache
        self._sizes = np.stack([split.index[name] for name in ("height", "width")], axis=1).astype(np.int32)

    def read(self, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the first candidates: all records were intact when the cache was built."""
        number = candidates[:, 0]
        return {"number": number, "size": tf.gather(self._sizes, number)}

    def cut(self, row: dict[str, tf.Tensor], side: str) -> tf.Tensor:
        """Copies a window of an image."""
        return self._cache.window(row["number"], row["window"], side=side)

    def whole(self, row: dict[str, tf.Tensor], side: str) -> tf.Tensor:
        """Copies an image."""
        return self._cache.window(row["number"], tf.concat([[0, 0], row["size"]], axis=0), side=side)

    def crops(self, rows: dict[str, tf.Tensor], crop_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Copies the windows of a whole batch, all S x S: (hazy, clear), uint8 `[B, S, S, 3]`."""
        return self._cache.crops(rows["number"], rows["window"], crop_size=crop_size)
