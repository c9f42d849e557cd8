"""What TensorFlow says of itself and of this machine, as JSON: `python -m hazeheal.doctor.tensorflow_facts`.

In a process of its own: where TensorFlow does not fit the machine, its import may end the process.
"""

import json
import sys

import keras
import tensorflow as tf

from hazeheal.distributed import runtime
from hazeheal.doctor.tensorflow_probe import MARK


def facts() -> dict:
    """Versions; GPUs with their compute capability; what `auto` comes to, and why."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    build = tf.sysconfig.get_build_info()
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "gpus": [
            {
                "name": d.get("device_name", "GPU"),
                "compute_capability": ".".join(map(str, d.get("compute_capability", ()))) or None,
            }
            for d in details
        ],
        "precision": runtime.choose_precision("auto", gpus=gpus),
        "xla": runtime.choose_xla("auto", on_gpu=bool(gpus)),
    }


if __name__ == "__main__":
    print(MARK + json.dumps(facts()))
    sys.exit(0)
