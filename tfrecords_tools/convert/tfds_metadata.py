"""TFDS metadata: the two JSON files from which `tfds.builder_from_directory(DIR)` loads a data set.

They are written without tensorflow_datasets, whose import takes longer than the conversion of a small data set.
"""

import json

_TEXT, _IMAGE, _NUMBER = "text_feature.Text", "image_feature.Image", "scalar.Scalar"
_FEATURES = {
    "clear": _IMAGE,
    "clear_sha256": _TEXT,
    "clear_source": _TEXT,
    "hazy": _IMAGE,
    "hazy_sha256": _TEXT,
    "hazy_source": _TEXT,
    "height": _NUMBER,
    "key": _TEXT,
    "width": _NUMBER,
}
_PARAMETERS = {
    _TEXT: {"text": {}},
    _IMAGE: {
        "description": "uint8 RGB",
        "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
    },
    _NUMBER: {"tensor": {"dtype": "int64", "encoding": "none", "shape": {}}},
}
_PACKAGE = "tensorflow_datasets.core.features"

FILES = ("dataset_info.json", "features.json")


def tfds_files(name: str, splits: dict[str, dict]) -> dict[str, str]:
    """Returns the contents of the metadata files.

    Args:
        name: Name of the data set.
        splits: The manifest's entry of each split, with `shards` and their `records` and `bytes`.

    Returns:
        The text of each of `FILES`.
    """
    info = {
        "description": "Pairs of hazy and clear images, converted by hazeheal-tfrecords.",
        "fileFormat": "tfrecord",
        "name": name,
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": str(sum(shard["bytes"] for shard in entry["shards"])),
                "shardLengths": [str(shard["records"]) for shard in entry["shards"]],
            }
            for split, entry in splits.items()
        ],
        "supervisedKeys": {"tuple": {"items": [{"featureKey": "hazy"}, {"featureKey": "clear"}]}},
        "version": "1.0.0",
    }
    features = {
        "featuresDict": {
            "features": {
                feature: {"pythonClassName": f"{_PACKAGE}.{kind}", **_PARAMETERS[kind]}
                for feature, kind in _FEATURES.items()
            }
        },
        "pythonClassName": f"{_PACKAGE}.features_dict.FeaturesDict",
    }
    return {
        "dataset_info.json": json.dumps(info, indent=2, sort_keys=True),
        "features.json": json.dumps(features, indent=4, sort_keys=True),
    }
