"""Other readers can read the shards: the `tfrecord` package, alone and for PyTorch.

TFDS's reader is tested with the conversion (test_convert.py).
"""

import hashlib
import importlib.util
import json
import subprocess
import sys

import pytest
from converting import all_records

from hazeheal.data import records

# A process of its own: the package and TensorFlow both register `tensorflow.Example` with protobuf.
LOADER = """
import hashlib, json, sys
import numpy as np
import tfrecord
columns = {"hazy": "byte", "clear": "byte", "key": "byte", "height": "int", "width": "int"}
rows = []
for path in sys.argv[1:]:
    OPEN
        digests = [hashlib.sha256(bytes(row[side])).hexdigest() for side in ("hazy", "clear")]
        rows.append([bytes(row["key"]).decode(), *(int(row[n].item()) for n in ("height", "width")), *digests])
print(json.dumps(rows))
"""
PLAIN = "for row in tfrecord.tfrecord_loader(path, None, columns):"
TORCH = "for row in tfrecord.torch.dataset.TFRecordDataset(path, None, columns):"


@pytest.mark.parametrize(
    ("opening", "needs"), [(PLAIN, ["tfrecord"]), (TORCH, ["tfrecord", "torch"])], ids=["alone", "torch"]
)
def test_the_tfrecord_package_reads_what_we_wrote(opening, needs, converted):
    for package in needs:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed (pip install 'hazeheal[readers]' torch)")
    for split in ("train", "val"):
        shards = records.open_split(converted, split).shards
        code = LOADER.replace("OPEN", opening)
        result = subprocess.run(
            [sys.executable, "-c", code, *map(str, shards)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        expected = [
            [pair.key, pair.height, pair.width] + [hashlib.sha256(data).hexdigest() for data in (pair.hazy, pair.clear)]
            for pair, _ in all_records(converted, split)
        ]
        assert json.loads(result.stdout) == expected
        assert expected
