"""The message of an error that stops the user, which must be one line."""

import pytest

from hazeheal.errors import EXIT_ERROR, EXIT_USAGE, UsageError


def refusal(kind, action, *args, **options):
    """The message with which `action(*args, **options)` refuses: an error of exactly that kind, of one line."""
    with pytest.raises(kind) as caught:
        action(*args, **options)
    assert type(caught.value) is kind
    assert caught.value.exit_code == (EXIT_USAGE if kind is UsageError else EXIT_ERROR)
    message = str(caught.value)
    assert message.strip()
    assert "\n" not in message
    assert "Traceback" not in message
    return message
