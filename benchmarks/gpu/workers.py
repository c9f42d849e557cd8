"""Processes that prepare side by side and are then timed one at a time.

A worker is a script that calls `serve`. It reads commands from its standard input and answers each with one line of JSON.
Everything else that it prints goes to its standard error, which the coordinator writes to a log file. Compilation takes
minutes and many processor cores, so workers compile at the same time. Timed work runs alone.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback

_ANSWER = "answer "


class WorkerFailed(Exception):
    """A worker did not answer; the text says why."""


def serve(handlers):
    """Answers commands until the input ends.

    Args:
        handlers: {command: function of the command's arguments, which are strings, that returns JSON values}. An exception
            is reported to the coordinator, and the worker continues.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            result = {"result": handlers[command](*arguments)}
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            kind = "" if isinstance(error, (ValueError, SystemExit)) else f"{type(error).__name__}: "
            result = {"error": f"{kind}{error}"}
        print(_ANSWER + json.dumps(result), file=answers, flush=True)


class Worker:
    """The coordinator's side of one worker.

    Args:
        command: The command line.
        log: File for what the worker prints.
    """

    def __init__(self, command, *, log):
        self.log = log
        with open(log, "w", encoding="utf-8") as stream:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            if line.startswith(_ANSWER):  # libraries may print too, before `serve` is called
                self._lines.put(line.removeprefix(_ANSWER))
        self._lines.put(None)

    def send(self, *command):
        """Sends a command; `receive` returns the answer, or reports that the process has ended."""
        with contextlib.suppress(OSError):
            print(*command, file=self._process.stdin, flush=True)

    def receive(self, *, until):
        """Returns the answer to the last command.

        Args:
            until: Time by `time.monotonic` after which the worker is stopped.

        Raises:
            WorkerFailed: The worker reports an error, ended, or does not answer in time.
        """
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            self.stop()
            raise WorkerFailed("stopped: the time budget was used up") from None
        if line is None:
            code = self._process.wait()
            raise WorkerFailed(f"the process ended with exit code {code} (see {self.log})")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{answer['error']} (see {self.log})")
        return answer["result"]

    def call(self, *command, until):
        """Sends a command and returns the answer."""
        self.send(*command)
        return self.receive(until=until)

    def stop(self):
        """Ends the process, which frees its memory on the device."""
        self._process.kill()
        self._process.wait()
