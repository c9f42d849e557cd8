"""TFDS metadata: the two JSON files from which `tfds.builder_from_directory(DIR)` loads a data set.

They are written without tensorflow_datasets, whose import takes longer than the conversion of a small data set.
"""

import json

_TEXT = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
_IMAGE = {
    "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
    "description": "uint8 RGB",
    "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
}
_NUMBER = {
    "pythonClassName": "tensorflow_datasets.core.features.scalar.Scalar",
    "tensor": {"dtype": "int64", "encoding": "none", "shape": {}},
}
_FEATURES = {
    **dict.fromkeys(("hazy", "clear"), _IMAGE),
    **dict.fromkeys(("height", "width"), _NUMBER),
    **dict.fromkeys(("key", "hazy_source", "clear_source", "hazy_sha256", "clear_sha256"), _TEXT),
}

FILES = ("dataset_info.json", "features.json")


def tfds_files(name: str, splits: dict[str, dict]) -> dict[str, str]:
    """Returns the text of each of `FILES`.

    Args:
        name: Name of the data set.
        splits: The manifest's entry of each split, with `shards` and their `records` and `bytes`.
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
        "featuresDict": {"features": _FEATURES},
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    }
    return {
        "dataset_info.json": json.dumps(info, indent=2, sort_keys=True),
        "features.json": json.dumps(features, indent=4, sort_keys=True),
    }
