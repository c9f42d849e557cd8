"""Shared by the tests of configurations: loads one by name, writes one."""

from places import ROOT

from hazeheal import config as configs

SHIPPED = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def load(*overrides, name="default"):
    return configs.load([f"--config={name}", *(f"--config.{o}" for o in overrides)])


def changing(*lines):
    """Source of a configuration that changes the default."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"from hazeheal.configs import default\n\n\ndef get_config():\n    config = default.get_config()\n{body}    return config\n"
