"""DehazeGAN: the generator, the discriminator and the perceptual network, built eagerly and together.

gan = DehazeGAN.from_run("runs/rice1")      # or DehazeGAN.from_pretrained("best"), which ships
restored = gan.restore(hazy)            # uint8 [H, W, 3] in, uint8 [H, W, 3] out
"""

import json
import pathlib

import numpy as np
import tensorflow as tf

from hazeheal import config as configs
from hazeheal.errors import HazeHealError
from hazeheal.inference.network import Network, make_functions
from hazeheal.inference.restorer import Restorer
from hazeheal.models import pretrained
from hazeheal.models.discriminator import build_discriminator
from hazeheal.models.generator import build_generator
from hazeheal.models.perceptual import build_perceptual
from hazeheal.runs import checkpoints


class DehazeGAN:
    """The networks of one configuration, with initial weights that are a function of its seed.

    Attributes:
        generator: keras.Model, [B, H, W, 3] in [-1, 1] to the same shape, float32.
        discriminator: keras.Model of [hazy, image], to logits.
        perceptual: keras.Model to VGG19 features, or None where its weight is 0.
        checkpoint: What has been loaded, a `pathlib.Path`: the directory of a checkpoint, or a file of weights; else
            None.
        metadata: What a file of weights tells of itself (`models.weights`); else None.
    """

    def __init__(self, config, *, precision="float32", for_training=True):
        """Builds the networks; inside `strategy.scope()` for several replicas.

        Args:
            config: A configuration, as `hazeheal.config.load` returns it.
            precision: Keras dtype policy of all networks.
            for_training: Without it only the generator is built.
        """
        model = config.model
        self.config = config
        self.generator = build_generator(
            width=model.width,
            depth=model.depth,
            norm=model.norm,
            output=model.output,
            se_ratio=model.se_ratio,
            patch_size=model.patch_size,
            view_size=model.view_size,
            dtype=precision,
            seed=config.seed,
        )
        self.discriminator = self.perceptual = None
        if for_training:
            self.discriminator = build_discriminator(
                width=model.disc_width, dtype=precision, seed=config.seed
            )
            if config.loss.perceptual_weight:
                self.perceptual = build_perceptual(
                    weights=config.loss.perceptual_weights,
                    layer=config.loss.perceptual_layer,
                    dtype=precision,
                )
        self.checkpoint = self.metadata = self._restorer = None

    @classmethod
    def from_run(cls, run, *, which="best", group=0, precision="float32"):
        """Loads the generator that a run has trained: its moving average where it kept one.

        Args:
            run: The run's directory, or one checkpoint's in it; `which` and `group` then mean nothing.
            which: `best` (by validation PSNR; the newest if none was validated), `newest`, or a step.
            group: Replica group whose checkpoints are read.
            precision: Keras dtype policy to compute in.

        Raises:
            HazeHealError: The directory holds no run, or no whole checkpoint.
        """
        run, found = pathlib.Path(run), None
        if (run / checkpoints.MANIFEST).is_file():
            run, found = run.absolute().parents[2], run  # RUN/group_00/checkpoints/ckpt-00001000
            if reason := checkpoints.damage(found):
                raise HazeHealError(f"the checkpoint {found} is damaged ({reason}); name another")
        try:
            config = configs.from_dict(json.loads((run / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise HazeHealError(
                f"{run} is no run's directory: config.json cannot be read ({error})"
            ) from error
        configs.check_model_fields(config, source=run / "config.json")
        folder = run / f"group_{group:02d}" / "checkpoints"
        found = found or checkpoints.find(folder, which=which)
        if found is None:
            raise HazeHealError(
                f"{folder} holds no whole checkpoint ({which}); train first, or name another step"
            )
        gan = cls(config, precision=precision, for_training=False)
        gan.load_generator(found)
        gan.checkpoint = found
        return gan

    @classmethod
    def from_pretrained(cls, name=pretrained.DEFAULT, *, precision="float32"):
        """Loads a generator that ships with the package, or one from a file of `hazeheal export --format=weights`.

        Args:
            name: One of `hazeheal.models.pretrained.names()`, or the path of a file.
            precision: Keras dtype policy to compute in; the weights are stored in float16 and taken as float32.

        Raises:
            HazeHealError: There is none, it is damaged, or of another network than its configuration makes.
        """
        found = pretrained.load(name)
        config = configs.from_dict(found.metadata["config"])
        configs.check_model_fields(config, source=f"{found.path}, of {found.metadata['made_by']}")
        try:
            gan = cls(config, precision=precision, for_training=False)
        except ValueError as error:  # a norm, say, that another version has
            raise HazeHealError(f"{found.path}, of {found.metadata['made_by']}: {error}") from error
        gan._set_generator(found.values, source=found.path)
        gan.checkpoint, gan.metadata = found.path, found.metadata
        return gan

    def load_generator(self, path) -> None:
        """Sets the generator's variables from a checkpoint's directory, the moving average preferred."""
        reader = tf.train.load_checkpoint(str(path / checkpoints.PREFIX))
        names, values = reader.get_variable_to_shape_map(), {}
        for variable in self.generator.variables:
            stored = (f"{network}/{variable.path}" for network in ("ema/generator", "generator"))
            if name := next((name for name in stored if name in names), None):
                values[variable.path] = reader.get_tensor(name)
        self._set_generator(values, source=path)

    def _set_generator(self, values, *, source):
        """Sets the generator's variables, all of them or none, from {path of a variable: array}."""
        wanted = {variable.path: list(variable.shape) for variable in self.generator.variables}
        found = {name: list(value.shape) for name, value in values.items()}
        for name in sorted(wanted.keys() | found):
            if found.get(name) != wanted.get(name):
                raise HazeHealError(
                    f"{source} holds {name} of shape {found.get(name)} where its configuration makes {wanted.get(name)}: "
                    "the two do not belong together; take another copy of both"
                )
        for variable in self.generator.variables:
            variable.assign(values[variable.path].astype(np.float32))

    def network(self, *, device=None, copy=False) -> Network:
        """The generator on one device, for a `Restorer`; with `copy` it keeps the weights as they are now."""
        return Network(make_functions(self.generator, device=device, copy=copy), device=device)

    def restore(self, image) -> np.ndarray:
        """Restores one image of any size from 1x1 up, with `restore.restorer.Restorer`'s defaults.

        Args:
            image: uint8 or uint16 [H, W, 3].

        Returns:
            The same shape and type.
        """
        if self._restorer is None:
            self._restorer = Restorer(self)
        return self._restorer.restore(image)

    def parameter_counts(self) -> dict:
        """Trainable parameters of the generator and the discriminator."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {
            name: sum(int(np.prod(v.shape)) for v in network.trainable_variables)
            for name, network in networks.items()
            if network is not None
        }
