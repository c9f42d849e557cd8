"""Importing TensorFlow when it writes to stderr, fails, or catches an interrupt."""

import os
import signal
import sys

import processes
import pytest

from hazeheal.utils import quiet_import

CATCHES_INTERRUPT = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
except BaseException:
    pass
finished = True
"""
GREETS = "import os\nos.write(2, b'welcome')\n"


@pytest.fixture
def tensorflow(tmp_path, monkeypatch):
    """A function that replaces TensorFlow by a module with the given code; no log level is set."""

    def replace(code):
        (tmp_path / "tensorflow.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "tensorflow", raising=False)

    monkeypatch.delenv(quiet_import.LOG_LEVEL, raising=False)
    return replace


def test_an_interrupt_is_handled_after_an_import_that_would_catch_it(tensorflow):
    tensorflow(CATCHES_INTERRUPT)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        quiet_import.import_tensorflow()
    assert sys.modules["tensorflow"].finished and signal.getsignal(signal.SIGINT) is before


def test_a_failed_import_raises_its_error_and_restores_stderr(tensorflow, capfd):
    tensorflow(GREETS + "raise ImportError('missing part')")
    with pytest.raises(ImportError, match="missing part"):
        quiet_import.import_tensorflow()
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


@pytest.mark.parametrize(("level", "shown"), [(None, False), ("2", False), ("1", True), ("0", True)])
def test_the_log_level_decides_whether_messages_are_shown(tensorflow, monkeypatch, capfd, level, shown):
    tensorflow(GREETS)
    if level is not None:
        monkeypatch.setenv(quiet_import.LOG_LEVEL, level)
    quiet_import.import_tensorflow()
    assert capfd.readouterr().err == ("welcome" if shown else "")
    assert os.environ[quiet_import.LOG_LEVEL] in ([level] if level else ["2", "3"])


def test_tensorflow_writes_nothing():
    code = (
        "from hazeheal.utils.quiet_import import import_tensorflow\n"
        "import_tensorflow().config.list_physical_devices('GPU')\n"
    )
    assert processes.run_python(code) == (0, "", "")
