"""Imports that write to stderr, fail, or catch an interrupt."""

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


def module(tmp_path, monkeypatch, name, text):
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_an_interrupt_is_handled_after_an_import_that_would_catch_it(tmp_path, monkeypatch):
    name = module(tmp_path, monkeypatch, "catches_interrupts", CATCHES_INTERRUPT)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        quiet_import.import_quietly(name)
    assert sys.modules[name].finished and signal.getsignal(signal.SIGINT) is before


def test_stderr_is_discarded_during_the_import_only(tmp_path, monkeypatch, capfd):
    text = "import os\nos.write(2, b'welcome')\n"
    assert quiet_import.import_quietly(module(tmp_path, monkeypatch, "greets", text)).__name__ == "greets"
    with pytest.raises(ImportError, match="missing part"):
        quiet_import.import_quietly(
            module(tmp_path, monkeypatch, "breaks", text + "raise ImportError('missing part')")
        )
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


@pytest.mark.parametrize(("level", "shown"), [(None, False), ("2", False), ("1", True), ("0", True)])
def test_the_log_level_decides_whether_messages_are_shown(tmp_path, monkeypatch, capfd, level, shown):
    monkeypatch.delenv(quiet_import.LOG_LEVEL, raising=False)
    if level is not None:
        monkeypatch.setenv(quiet_import.LOG_LEVEL, level)
    module(tmp_path, monkeypatch, "tensorflow", "import os\nos.write(2, b'welcome')\n")
    quiet_import.import_tensorflow()
    assert capfd.readouterr().err == ("welcome" if shown else "")
    assert os.environ[quiet_import.LOG_LEVEL] in ([level] if level else ["2", "3"])


def test_tensorflow_writes_nothing():
    code = (
        "from hazeheal.utils.quiet_import import import_tensorflow\n"
        "import_tensorflow().config.list_physical_devices('GPU')\n"
    )
    assert processes.run_python(code) == (0, "", "")
