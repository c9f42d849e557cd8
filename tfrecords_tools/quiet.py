"""Imports without their greetings: some packages log to stderr while they are imported, whatever the log level."""

import importlib
import os
import sys
import tempfile


def import_module(name: str):
    """Imports a module and returns it; what was written to stderr is shown only if the import fails."""
    if name in sys.modules:
        return sys.modules[name]
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            return importlib.import_module(name)
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
