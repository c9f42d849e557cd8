"""What the tests of configurations share: loading one by name, writing one, and the one line of a refusal."""

import pytest
from places import ROOT

from hazeheal import config as configs
from hazeheal.errors import EXIT_USAGE, UsageError

SHIPPED = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def load(*overrides, name="default"):
    return configs.load([f"--config={name}", *(f"--config.{o}" for o in overrides)])


def refusal(action, *args, **options):
    """The message with which `action` refuses, which must be one line."""
    with pytest.raises(UsageError) as caught:
        action(*args, **options)
    message = str(caught.value)
    assert caught.value.exit_code == EXIT_USAGE == 2
    assert message.strip()
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def changing(*lines):
    """Source of a configuration that changes the default."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"from hazeheal.configs import default\n\n\ndef get_config():\n    config = default.get_config()\n{body}    return config\n"
