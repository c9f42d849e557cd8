"""DehazeGAN: the networks of one configuration, with weights from a run or from a weights file.

    gan = DehazeGAN.from_run("runs/rice1")      # or DehazeGAN.from_pretrained("best")
    restored = gan.restore(hazy)                # uint8 [H, W, 3] in, uint8 [H, W, 3] out

Training does not use this class: it builds the same networks with `models.networks`.
"""

import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from hazeheal import config as configs
from hazeheal import config_fields
from hazeheal.errors import HazeHealError
from hazeheal.inference.network import Network, make_functions
from hazeheal.inference.restorer import Model
from hazeheal.models import pretrained
from hazeheal.models.networks import build_networks
from hazeheal.runs import checkpoints
from hazeheal.utils.import_keras import keras


class DehazeGAN(Model):
    """The networks of one configuration. The initial weights are a function of its seed.

    Attributes:
        config: The configuration.
        networks: The networks. The next three attributes are its members.
        generator, discriminator, perceptual: As in `hazeheal.models.networks.Networks`.
        checkpoint: The checkpoint directory or weights file that was loaded; None if none was.
        metadata: The metadata of the weights file that was loaded (`models.weights`); None for a checkpoint.
    """

    checkpoint: pathlib.Path | None = None
    metadata: dict | None = None

    def __init__(self, config: ConfigDict, *, precision: str = "float32", for_training: bool = True) -> None:
        """Builds the networks. Call it inside `strategy.scope()` to train on several replicas.

        The arguments are those of `hazeheal.models.networks.build_networks`.
        """
        self.config = config
        self.networks = build_networks(config, precision=precision, for_training=for_training)
        self.generator: keras.Model = self.networks.generator
        self.discriminator: keras.Model | None = self.networks.discriminator
        self.perceptual: keras.Model | None = self.networks.perceptual

    @classmethod
    def from_run(
        cls, run: str | os.PathLike, *, which: str | int = "best", group: int = 0, precision: str = "float32"
    ) -> "DehazeGAN":
        """Loads the generator of a training run: its moving average if the run kept one.

        Args:
            run: A run directory, or one checkpoint directory in it, for which `which` and `group` have no effect.
            which: `best` (highest validation PSNR; the newest if none was validated), `newest`, or a step.
            group: The replica group whose checkpoints are read.
            precision: Keras dtype policy to compute in.

        Raises:
            HazeHealError: The directory is not a run, or it has no intact checkpoint.
        """
        run, path = pathlib.Path(run), None
        if (run / checkpoints.MANIFEST).is_file():
            run, path = run.absolute().parents[2], run  # RUN/group_00/checkpoints/ckpt-00001000
            if reason := checkpoints.find_damage(path):
                raise HazeHealError(f"the checkpoint {path} is damaged ({reason}); use another one")
        source = run / "config.json"
        try:
            config = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise HazeHealError(f"{run} is not a run directory: config.json cannot be read ({error})") from error
        gan = cls._for_inference(config, source=source, precision=precision)
        folder = run / f"group_{group:02d}" / "checkpoints"
        path = path or checkpoints.find_checkpoint(folder, which=which)
        if path is None:
            raise HazeHealError(f"{folder} has no intact checkpoint ({which}); train first, or use another step")
        gan.load_generator(path)
        gan.checkpoint = path
        return gan

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike = pretrained.DEFAULT, *, precision: str = "float32"
    ) -> "DehazeGAN":
        """Loads a pretrained generator, or a weights file that `hazeheal export --format=weights` wrote.

        Args:
            name: One of `hazeheal.models.pretrained.names()`, or the path of a weights file.
            precision: Keras dtype policy to compute in. The file stores float16 values.

        Raises:
            HazeHealError: The file does not exist, is damaged, or does not fit its own configuration.
        """
        weights = pretrained.load(name)
        source = f"{weights.path}, of {weights.metadata['made_by']}"
        gan = cls._for_inference(weights.metadata["config"], source=source, precision=precision)
        gan._set_generator(weights.values, source=weights.path)
        gan.checkpoint, gan.metadata = weights.path, weights.metadata
        return gan

    @classmethod
    def _for_inference(cls, stored: Mapping, *, source: str | os.PathLike, precision: str) -> "DehazeGAN":
        """Builds the generator of a stored configuration, which another version may have written to `source`."""
        try:
            config = configs.from_dict(stored)
            config_fields.check_model_fields(config, source=source)
            return cls(config, precision=precision, for_training=False)
        except ValueError as error:
            raise HazeHealError(f"{source}: {error}") from error

    def load_generator(self, path: pathlib.Path) -> None:
        """Sets the generator's variables from a checkpoint directory: the moving average if it is there.

        Raises:
            HazeHealError: The checkpoint's variables are not those of this generator.
        """
        reader = tf.train.load_checkpoint(str(path / checkpoints.PREFIX))
        names, values = reader.get_variable_to_shape_map(), {}
        for variable in self.generator.variables:
            stored = (f"{network}/{variable.path}" for network in ("ema/generator", "generator"))
            if name := next((name for name in stored if name in names), None):
                values[variable.path] = reader.get_tensor(name)
        self._set_generator(values, source=path)

    def _set_generator(self, values: Mapping[str, np.ndarray], *, source: pathlib.Path) -> None:
        """Sets all variables of the generator from {path of the variable: array}, or none of them."""
        expected = {variable.path: list(variable.shape) for variable in self.generator.variables}
        stored = {name: list(value.shape) for name, value in values.items()}
        for name in sorted(expected.keys() | stored):
            if stored.get(name) != expected.get(name):
                raise HazeHealError(
                    f"{source}: {name} has shape {stored.get(name)}, but its configuration needs "
                    f"{expected.get(name)}; the weights and the configuration do not match; use another copy of both"
                )
        for variable in self.generator.variables:
            variable.assign(values[variable.path].astype(np.float32))

    def network(self, *, device: str | None = None, copy: bool = False) -> Network:
        """Returns the generator on one device. With `copy` it has its own copy of the weights."""
        return Network(make_functions(self.generator, device=device, copy=copy), device=device)
