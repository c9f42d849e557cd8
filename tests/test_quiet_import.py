"""An import that is noisy, slow or broken, and an interrupt in the midst of it."""

import os
import signal
import sys

import pytest

from hazeheal.utils import quiet_import

SWALLOWS = """
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


def test_an_interrupt_waits_for_the_end_of_an_import_that_would_swallow_it(tmp_path, monkeypatch):
    name = module(tmp_path, monkeypatch, "swallows_interrupts", SWALLOWS)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        quiet_import.import_module(name)
    assert sys.modules[name].finished and signal.getsignal(signal.SIGINT) is before


def test_what_it_says_is_shown_only_if_it_fails(tmp_path, monkeypatch, capfd):
    greets = "import os\nos.write(2, b'welcome')\n"
    assert quiet_import.import_module(module(tmp_path, monkeypatch, "greets", greets)).__name__ == "greets"
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError, match="no such part"):
        quiet_import.import_module(
            module(tmp_path, monkeypatch, "breaks", greets + "raise ImportError('no such part')")
        )
    assert capfd.readouterr().err == "welcome"


@pytest.mark.parametrize(("level", "shown"), [(None, False), ("2", False), ("1", True), ("0", True)])
def test_tensorflow_greets_only_where_it_was_asked_to(tmp_path, monkeypatch, capfd, level, shown):
    monkeypatch.delenv(quiet_import.LOG_LEVEL, raising=False)
    if level is not None:
        monkeypatch.setenv(quiet_import.LOG_LEVEL, level)
    module(tmp_path, monkeypatch, "tensorflow", "import os\nos.write(2, b'welcome')\n")
    quiet_import.import_tensorflow()
    assert capfd.readouterr().err == ("welcome" if shown else "")
    assert os.environ[quiet_import.LOG_LEVEL] in ([level] if level else ["2", "3"])
