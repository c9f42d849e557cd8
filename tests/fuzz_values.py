"""Values for the fuzz tests of configurations, right and wrong ones, and sources of files that are none."""

from places import ROOT

from hazeheal import config as configs
from hazeheal.data.pipeline import haze_settings

DEFAULT = (ROOT / "configs/default.py").read_text(encoding="utf-8")
FIELDS = configs.flat(configs.load(["--config=default"]))
NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "16",
    "-1",
    "-0",
    "１２",
    "1_000",
    "0x10",
    "1e3",
    "1.0",
    "",
    " 5",
    "+5",
    "true",
)
NUMBERS += (
    "9" * 20,
    "9" * 400,
    "9" * 4299,
    "9" * 5000,
    "nan",
    "None",
    "1e-3",
    "0.5",
    "1e308",
    "1e400",
    "-inf",
    "inf",
)
NUMBERS += ("1e-400", "-1e-9", "10000000000", "()", "[1]", "é", "\udcff")
TRUTHS = ("true", "false", "True", "1", "0", "yes", "", "maybe", "None", "\n")
TEXTS = (
    "",
    "train",
    "val",
    "test",
    "imagenet",
    "/nowhere.npz",
    "/dev/null",
    "x" * 300,
    "x" * 5000,
    "é",
    "\udcff",
    "1:2",
)
TEXTS += (
    "2:1",
    "１:２",
    "1:" + "9" * 5000,
    "block1_conv2",
    "block3_conv3",
    "a b",
    "=",
    "--",
    "None",
    "[",
    "{}",
    "%s",
    ".",
)
TIMES = (
    "never",
    "5 steps",
    "1 epoch",
    "0.5 epochs",
    "0 steps",
    " 3epochs ",
    "1e3 steps",
    "-5 steps",
    "nan epochs",
    "5",
)
TIMES += (
    "9" * 400 + " steps",
    "9" * 5000 + " steps",
    "0." + "9" * 5000 + " epochs",
    "１ step",
    "٣ steps",
    "",
    "steps",
)
LINES = ("a\nb", "\x1b[31m", "tr\rain", "\u2028", "\x85")  # what would break or disguise a line
KINDS = {int: NUMBERS, float: NUMBERS, bool: TRUTHS, str: TEXTS}
SOURCES = (
    "",
    "\0",
    "\xff",
    "def get_config(:\n",
    "  x = 1\n",
    "x = 1\n",
    "get_config = 3\n",
    "import nothing_like_it\n",
    "raise SystemExit(3)\n",
    "import sys; sys.exit()\n",
    "raise BaseException('x')\n",
    "raise GeneratorExit\n",
    "raise OSError(2, 'No', 'x')\n",
    "raise ValueError\n",
    "raise ValueError('\\n\\na\\nb')\n",
    "raise ValueError('\\r\\x1b[2J\\u2028')\n",
    "raise KeyError('\\udcff')\n",
    "class E(Exception):\n    msg = 5\n    lineno = 'x'\nraise E\n",
    "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n",
    "def get_config():\n    return get_config()\n",
    "def get_config():\n    pass\n",
    "def get_config(x):\n    pass\n",
    "def get_config():\n    return {'seed': 1}\n",
    "def get_config():\n    return 1 / 0\n",
    "def get_config():\n    yield 1\n",
    "class C:\n    def to_dict(self): return [1]\n    def items(self): return []\ndef get_config():\n    return C()\n",
    "from ml_collections import ConfigDict\nget_config = ConfigDict\n",
    "from ml_collections import ConfigDict\nget_config = lambda: ConfigDict({1: 2, 'a': {3: 4}})\n",
)
CHANGES = (
    "config.seed = 10 ** 400",
    "config.train.epochs = 10 ** 400",
    "config.train.epochs = float('nan')",
    "config.seed = True",
    "config.seed = config",
    "config.data = config",
    "config.data.workers = None",
    "config.train = None",
    "config.train = 3",
    "del config.model",
    "config.model.depth = 10 ** 10",
    "config.optimizer.extra = [1, (2,)]",
    "config.loss.l1_weight = 1",
    "config.lock()",
    "config = ConfigDict(config.to_dict())",
    "config = __import__('ml_collections').FrozenConfigDict(config)",
    "config = config.to_dict()",
    "config = __import__('json').dumps(config.to_dict())",
    "config.seed = __import__('ml_collections').config_dict.placeholder(int)",
    "config.seed = __import__('ml_collections').config_dict.required_placeholder(int)",
    "config.seed = __import__('ml_collections').FieldReference(5)",
    "config.data.train_split = 'tr\\nain'",
    "config.data.train_split = '\\udcff'",
    "config.train.log_every = '\\x1b[2J'",
    "config.loss.l1_weight = __import__('numpy').float64(1)",
    "config.seed = __import__('numpy').int64(1)",
    "config.loss.l1_weight = __import__('numpy').ones(3)",
)


def valid_values(key):
    """Values of a field that are right by themselves, for the images of `fuzz_sets` and a run of some steps."""
    field = configs.FIELDS[key]
    if field.choices:
        return field.choices
    if key == "data.fresh_haze.kind":
        return haze_settings.KINDS
    if field.units:
        return ("5 steps", "1 epoch", "0.25 epochs", *(("0.1 minutes",) if "minute" in field.units else ()))
    special = {"train.epochs": ("0",), "train.steps": ("5", "9"), "data.train_split": ("train",)}
    special |= {
        "data.val_split": ("val", ""),
        "loss.perceptual_weights": ("imagenet",),
        "profile.steps": ("", "1:4"),
    }
    special |= {"loss.perceptual_layer": ("block1_conv1", "block3_conv3"), "data.crop_size": ("16", "24")}
    special |= {"model.depth": ("1", "2"), "model.width": ("4", "6"), "samples.max_side": ("16", "99")}
    special["model.patch_size"] = ("1", "2")
    special["data.mix"] = ("", "=1")
    special |= {"data.cache": ("auto", "off"), "data.val_tile_size": ("0", "2000")}
    special["model.view_size"] = ("0",)  # others go with some outputs alone
    special |= {
        "optimizer.accumulate": ("1", "2"),
        "train.batch_size": ("2", "4"),
        "loss.haze_share": ("0.5", "1"),
    }
    special |= dict.fromkeys(("optimizer.beta1", "optimizer.beta2"), ("0", "0.9"))
    # Right whatever the others of these are.
    fresh = {"share": ("0", "0.5"), "share_clear": ("0", "0.5"), "density_min": ("1e-3", "1")}
    fresh |= {"density_max": ("1", "9"), "airlight_min": ("0", "0.7"), "airlight_max": ("0.7", "1")}
    fresh |= {"share_relaid": ("0",), "relaid_min": ("0.1", "0.5"), "relaid_max": ("1.2", "4")}
    fresh |= {"jpeg_quality_min": ("1", "60"), "jpeg_quality_max": ("60", "100")}
    special |= {f"data.fresh_haze.{name}": values for name, values in fresh.items()}
    special |= dict.fromkeys(("seed", "data.workers"), ("0", "3"))
    kinds = {bool: ("true", "false"), int: ("1", "12"), float: ("1", "0.5", "2e-3")}
    return special.get(key) or kinds[type(FIELDS[key])]


WRONG_KEYS = (
    "train",
    "trian.steps",
    "",
    ".",
    "train.",
    "train..steps",
    "train.steps.x",
    "a" * 300,
    "seed ",
    "_fields",
    "keys",
)

ODD_NAMES = (
    "",
    ".",
    "/",
    "nothing",
    "no/thing.py",
    "default.py",
    "x" * 300,
    "\n",
    "é",
    "\udcff",
    "@run",
    "default ",
)
ODD_PLACES = (
    "",
    ".",
    "/",
    "/dev/null",
    "/dev/null/x",
    "@none",
    "x" * 300,
    "a\nb",
    "é",
    "\udcff",
    "@file",
    "@loop",
)
ODD_FLAGS = (
    ("--",),
    ("-",),
    ("extra",),
    ("--dry_run",),
    ("--dry_run=1",),
    ("--help",),
    ("--nothing",),
    ("--config",),
    ("--config=default",),
    ("--config.seed",),
    ("--configs=x",),
    ("--noconfig.data.flip",),
    ("--flagfile=/dev/null",),
    ("--gpus=0",),
    ("--gpus=0,1", "--cpu_replicas=2"),
    ("--gpus=",),
    ("--gpus=x\ny",),
    ("--cpu_replicas=2",),
    ("--cpu_replicas=٢",),
    ("--cpu_replicas=" + "9" * 400,),
    ("--cpu_replicas=" + "9" * 5000,),
    ("--restore_from=@none",),
    ("--restore_from=@data",),
    ("--restore_from=" + "x" * 300,),
    ("--restore_from=\udcff",),
    ("a\nb\x1b",),
)
