"""Starts a host's training processes, watches them, and restarts all of them when one is lost.

A process is lost if a signal ended it, if it exited because another group is lost (exit code 69) or a device failed
(71), or if it sends no heartbeat for too long. Then all processes are restarted, also by the launchers of other hosts,
and resume from the last checkpoint. These end the job: an error that the user must act on (exit codes 1 and 2) or a
device that fails again and again (71), here or on another host (`error_notes`); its completion; and a request to stop,
of the launcher or of one of its processes.
"""

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

from hazeheal.distributed.error_notes import ErrorNotes
from hazeheal.distributed.worker import Worker
from hazeheal.errors import (
    EXIT_DEVICE_FAILED,
    EXIT_ERROR,
    EXIT_GROUP_LOST,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_RESTART,
    EXIT_USAGE,
)
from hazeheal.utils.signals import handle_signals

FINAL = (EXIT_ERROR, EXIT_USAGE)
STOPPED = (EXIT_RESTART, EXIT_INTERRUPTED)
_NOTICED = (EXIT_DEVICE_FAILED, EXIT_GROUP_LOST)  # codes that the loss of another process may have caused
POLL_SECONDS = 0.1
# How long the other processes have to notice a loss by themselves and print the reason; usually one second.
SECONDS_TO_FOLLOW = 30.0
# How long a process has to stop before its first step, when it has nothing to save. It stops at once, unless TensorFlow
# is connecting the groups: then no Python signal handler runs, and another group may just have ended.
SECONDS_TO_STOP = 20.0
# Interval for reading other hosts' error notes, as the file system may be slow.
NOTES_SECONDS = 3.0
# The first step takes longer than others, because the networks are built and compiled.
START_FACTOR = 3
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
# Restarts after failed devices without a new step. A device that fails at the same step every time needs a person.
MAX_DEVICE_RESTARTS = 3


class Supervisor:
    """Runs one host's part of a job to its end.

    Args:
        start: Called for each attempt; returns [(name, command, environment), ...] for `Worker`.
        max_restarts: Number of restarts in a row without a new step after which it gives up. None: the caller restarts
            the job, and `run` returns 69 when that is needed.
        hang_timeout: Seconds without a heartbeat after which a process counts as hung; 0 disables the check.
        notes: Exchanges errors with the launchers of other hosts; None if there are none.
        report: Called with each line for the user; prints to stderr by default.
    """

    def __init__(
        self,
        start: Callable[[], Sequence[tuple[str, Sequence[str], Mapping[str, str]]]],
        *,
        max_restarts: int | None,
        hang_timeout: float,
        notes: ErrorNotes | None = None,
        report: Callable[[str], None] | None = None,
    ):
        self._start = start
        self._max_restarts = max_restarts
        self._hang_timeout = hang_timeout
        self._notes, self._notes_read_at, self._remote_error = notes, time.monotonic(), None
        self._report = report or _print
        self._signals, self._workers = [], []

    def run(self) -> int:
        """Runs the job and returns its exit code: 0, 1, 2, 71, 75 or 130.

        After too many restarts it is 71 if a device failed at last, else 1. Signals of this process are handled only in
        the main thread; elsewhere, call `stop`.
        """
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
            signals.append(signal.SIGHUP)
        with (
            handle_signals(lambda number, frame: self.stop(number), *signals),
            tempfile.TemporaryDirectory(prefix="hazeheal-launch-") as folder,
        ):
            try:
                return self._run(folder)
            finally:
                for worker in self._workers:
                    worker.send(signal.SIGKILL)
                    worker.process.wait()

    def stop(self, number: int) -> None:
        """Ends the job as a signal with this number to the launcher does. May be called in any thread."""
        # Closing the terminal (SIGHUP) also stops and saves.
        self._signals.append(signal.SIGTERM if number == signal.SIGHUP else number)

    def _run(self, folder):
        furthest_step, restarts, device_failures = -1, 0, 0
        while not (self._signals or self._remote_error):
            self._workers = []
            for arguments in self._start():
                self._workers.append(Worker(*arguments, folder))
            code, reason, has_device_failed = self._watch()
            if code in FINAL and self._notes is not None:
                self._notes.write(code)
            if code not in (EXIT_OK, *FINAL) and self._read_notes(now=code is None):
                break
            if code is not None:
                return code
            if self._max_restarts is None:
                self._report(reason)
                # The cause may be an error on another host, whose launcher is about to write a note.
                self._sleep(FIRST_DELAY)
                if not (self._signals or self._read_notes(now=True)):
                    return EXIT_GROUP_LOST
                break
            step = max(worker.step() for worker in self._workers)
            if step > furthest_step:
                furthest_step, restarts, device_failures = step, 0, 0
            restarts, device_failures = restarts + 1, device_failures + has_device_failed
            if restarts > self._max_restarts or device_failures > MAX_DEVICE_RESTARTS:
                self._report(f"{reason}; giving up after {restarts - 1} restarts without a new step")
                if not has_device_failed:
                    return EXIT_ERROR
                if self._notes is not None:  # the other hosts would wait for this one
                    self._notes.write(EXIT_DEVICE_FAILED)
                return EXIT_DEVICE_FAILED
            # The exponent is limited, as a float cannot hold any power of two.
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(restarts - 1, 20))
            restarted = "it" if len(self._workers) == 1 else "all processes"
            self._report(
                f"{reason}; restarting {restarted} in {delay:g} s from the last checkpoint (restart {restarts} of at "
                f"most {self._max_restarts} without a new step)"
            )
            self._sleep(delay)
        if self._remote_error is not None:
            code, name = self._remote_error
            self._report(f"{name} ended with an error (code {code}), which its host reports; stopping the job")
            return code
        return self._stop_code()

    def _watch(self):
        """Waits until all processes have ended.

        Returns:
            (exit code of the job, or None if it must be restarted; why the first process was lost, or None; whether a
            failed device is the reason).
        """
        reason, num_forwarded, stop_requested_at, failed_at, killed = None, 0, None, None, []
        has_device_failed = False
        while any(worker.code is None for worker in self._workers):
            now = time.monotonic()
            for number in self._signals[num_forwarded:]:
                self._send(number)
                num_forwarded += 1
            if stop_requested_at is None and self._stop_code() is not None:
                stop_requested_at = now
                if not self._signals:
                    # A process was stopped directly. Not SIGINT: other processes may have received it too, and a
                    # second one would end them without saving.
                    self._send(signal.SIGTERM)
            if stop_requested_at is not None and now - stop_requested_at > SECONDS_TO_STOP:
                for worker in self._workers:
                    if worker.step() < 0:
                        worker.send(signal.SIGKILL)
            if failed_at is None and self._read_notes():
                failed_at = now
                # Not SIGKILL: a process may have completed all steps and be about to exit.
                self._send(signal.SIGTERM)
            codes = [worker.code for worker in self._workers if worker.code is not None]
            if failed_at is None and any(_is_lost(code) or code in FINAL for code in codes):
                failed_at = now
            hung = max(filter(self._hangs, self._workers), key=lambda w: w.silent_seconds(), default=None)
            if failed_at is not None:
                if now - failed_at > SECONDS_TO_FOLLOW:
                    killed = killed or [worker for worker in self._workers if worker.code is None]
                    self._send(signal.SIGKILL)
            elif hung is not None:
                reason = f"{_describe(hung)} sent no heartbeat for {self._hang_limit(hung):g} s"
                self._send(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        others = [worker for worker in self._workers if worker not in killed]
        lost = [worker for worker in others if _is_lost(worker.code)]
        if reason is None and lost:
            # Preferably a process that was killed, not one that noticed the loss or lost a connection by it.
            first = min(lost, key=lambda worker: _NOTICED.index(worker.code) + 1 if worker.code in _NOTICED else 0)
            reason, has_device_failed = _describe_end(first), first.code == EXIT_DEVICE_FAILED
        was_lost = any(worker.code in (-signal.SIGKILL, EXIT_DEVICE_FAILED) for worker in others)
        return self._exit_code(was_lost=was_lost), reason, has_device_failed

    def _read_notes(self, *, now=False):
        """Returns whether another host's part ended with an error; reads the notes now or at their interval."""
        is_due = now or time.monotonic() - self._notes_read_at > NOTES_SECONDS
        if self._notes is not None and self._remote_error is None and is_due:
            self._notes_read_at, self._remote_error = time.monotonic(), self._notes.read_new()
        return self._remote_error is not None

    def _exit_code(self, *, was_lost):
        """Returns the exit code of the job, or None if it must be restarted. All processes have ended."""
        codes = [worker.code for worker in self._workers]
        # Python exits with code 1 if it is interrupted while it starts.
        is_starting = max(worker.step() for worker in self._workers) < 0
        is_interrupted = signal.SIGINT in self._signals and is_starting
        for code in FINAL:
            # If a process was killed or lost a device, the error of another one is probably about that.
            if code in codes and not was_lost and not is_interrupted:
                return code
        if all(code == EXIT_OK for code in codes):
            return EXIT_OK
        # A request to stop ends the job even if a process was lost meanwhile: there is a checkpoint.
        return self._stop_code()

    def _stop_code(self):
        """Returns 75 or 130 if the launcher or one of its processes was asked to stop, else None."""
        codes = [EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESTART for number in self._signals]
        codes += [worker.code for worker in self._workers if worker.code in STOPPED]
        return codes[0] if codes else None

    def _hang_limit(self, worker):
        return self._hang_timeout * (START_FACTOR if worker.step() < 0 else 1)

    def _hangs(self, worker):
        is_silent = worker.silent_seconds() > self._hang_limit(worker)
        return self._hang_timeout and worker.code is None and is_silent

    def _send(self, number):
        for worker in self._workers:
            worker.send(number)

    def _sleep(self, seconds):
        """Sleeps, but returns early after a signal or an error note."""
        end = time.monotonic() + seconds
        while not (self._signals or self._read_notes()) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))


def _is_lost(code):
    return code not in (EXIT_OK, *FINAL, *STOPPED)


def _describe(worker):
    return f"{worker.name} (process {worker.process.pid})"


def _describe_end(worker):
    if worker.code == EXIT_GROUP_LOST:
        return f"{_describe(worker)} lost another group"
    if worker.code == EXIT_DEVICE_FAILED:
        return f"{_describe(worker)} reported a failed device"
    if worker.code >= 0:
        return f"{_describe(worker)} exited with code {worker.code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"{_describe(worker)} was ended by {names.get(-worker.code, f'signal {-worker.code}')}"


def _print(line):
    with contextlib.suppress(OSError):  # stderr has been closed; training continues
        print(f"launcher: {line}", file=sys.stderr, flush=True)
