"""TensorFlow without its greetings: it logs to stderr while it is imported, whatever the log level."""

import importlib
import os
import sys
import tempfile


def tensorflow():
    """Imports TensorFlow and returns it; what it wrote to stderr is shown only if the import fails."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            return importlib.import_module("tensorflow")
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
