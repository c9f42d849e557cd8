"""Starts a host's training processes, watches them, and starts them again when one is lost.

A process is lost when a signal ended it, when it says that another group is gone (exit code 69), or when
it shows no sign of life for too long. Then all of this host's are ended and started anew; each goes on
from the last checkpoint. The other hosts' launchers do the same, as their processes cannot go on either.

An error that a person must act on (codes 1 and 2) ends the job, on the other hosts too where they can know
of it (notes.py), as does its completion, and a request to stop: the launcher hands SIGINT and SIGTERM on, and
a process that received one itself takes the others with it.
"""

import contextlib
import ctypes
import functools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from hazeheal.distributed import heartbeat
from hazeheal.errors import EXIT_ERROR, EXIT_GROUP_LOST, EXIT_INTERRUPTED, EXIT_OK, EXIT_RESTART, EXIT_USAGE
from hazeheal.utils.signals import handle_signals

FINAL = (EXIT_ERROR, EXIT_USAGE)
STOPPED = (EXIT_RESTART, EXIT_INTERRUPTED)
POLL_SECONDS = 0.1
# For the others to notice by themselves, which tells their users why; in a second, usually.
SECONDS_TO_FOLLOW = 30.0
# For a process that was asked to stop before its first step: it has nothing to save. It ends at once, but for the
# moment in which TensorFlow connects the groups: no signal handler of Python's runs, and one may be gone just then.
SECONDS_TO_STOP = 20.0
# Between two looks for notes of other hosts, over a file system that may be slow.
LOOK_SECONDS = 3.0
# Longer than this between two looks: the launcher was stopped itself (SIGSTOP, a frozen container), and its
# processes most probably with it.
UNWATCHED_SECONDS = 5.0
# Before the first step networks are built and compiled, which takes longer than any step.
START_FACTOR = 3
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
PR_SET_PDEATHSIG = 1
# Loaded here, as little may be done between fork and exec.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Worker:
    """One training process.

    Attributes:
        name: As in `group_01`.
        process: The `subprocess.Popen`.
    """

    def __init__(self, name, command, environment, folder):
        self.name = name
        self._beats = pathlib.Path(folder) / name
        self._seen = None
        self._changed = self._looked = time.monotonic()
        # In a session of its own: Ctrl-C at a terminal then reaches it once, by way of the launcher.
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment | {heartbeat.VARIABLE: str(self._beats)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=functools.partial(_end_with_parent, os.getpid()),
        )

    @property
    def code(self):
        """Exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    def step(self) -> int:
        """The last step that it has told, -1 for none."""
        return heartbeat.read_heartbeat(self._beats)[1]

    def silent_seconds(self) -> float:
        """How long it has shown no sign of life while it was watched."""
        count, _ = heartbeat.read_heartbeat(self._beats)
        now = time.monotonic()  # this process's own clock, which no one sets
        if count != self._seen:
            self._seen, self._changed = count, now
        elif now - self._looked > UNWATCHED_SECONDS:
            self._changed += now - self._looked
        self._looked = now
        return now - self._changed

    def send(self, number):
        if self.code is None:
            self.process.send_signal(number)


class Supervisor:
    """Runs one host's part of a job to its end.

    Args:
        start: Called for each attempt; returns [(name, command, environment), ...].
        max_restarts: Restarts in a row that bring no new step, after which it gives up.
        hang_timeout: Seconds without a sign of life that mean that a process hangs; 0: never.
        notes: The `Notes` that it exchanges with the other hosts' launchers; None: there are no others.
        say: Called with a line for the user.
    """

    def __init__(self, start, *, max_restarts, hang_timeout, notes=None, say=None):
        self._start = start
        self._max_restarts = max_restarts
        self._hang_timeout = hang_timeout
        self._notes = notes
        self._say = say or _say
        self._looked_at, self._error_elsewhere = time.monotonic(), None
        self._signals = []
        self._workers = []

    def run(self) -> int:
        """Returns the job's exit code: 0, 1, 2, 75 or 130; 1 also where it has given up."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        with handle_signals(self._note, *numbers):
            try:
                with tempfile.TemporaryDirectory(prefix="hazeheal-launch-") as folder:
                    return self._run(folder)
            finally:
                for worker in self._workers:
                    worker.send(signal.SIGKILL)
                    worker.process.wait()

    def _note(self, number, frame):
        del frame
        # A terminal that is closed is a request to stop and save as well.
        self._signals.append(signal.SIGTERM if number == signal.SIGHUP else number)

    def _run(self, folder):
        furthest, in_a_row = -1, 0
        while not (self._signals or self._error_elsewhere):
            for leftover in pathlib.Path(folder).iterdir():
                leftover.unlink()
            self._workers = []
            for one in self._start():
                self._workers.append(Worker(*one, folder))
            code, reason = self._watch()
            if code in FINAL and self._notes is not None:
                self._notes.leave(code)
            if code not in (EXIT_OK, *FINAL) and self._look(at_once=code is None):
                break
            if code is not None:
                return code
            reached = max(worker.step() for worker in self._workers)
            in_a_row = 1 if reached > furthest else in_a_row + 1
            furthest = max(furthest, reached)
            most = self._max_restarts
            if in_a_row > most:
                self._say(f"{reason}; given up" + f" after {most} restarts without a new step" * bool(most))
                return EXIT_ERROR
            # No power of two that is no float any more.
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(in_a_row - 1, 20))
            all_of_them = "it starts" if len(self._workers) == 1 else "all start"
            self._say(
                f"{reason}; {all_of_them} again in {delay:g} s, from the last checkpoint (restart {in_a_row} of at "
                f"most {most} without a new step)"
            )
            self._sleep(delay)
        if self._error_elsewhere is not None:
            code, whose = self._error_elsewhere
            self._say(
                f"{whose} has ended with an error (code {code}), which is told there; the job ends here too"
            )
            return code
        return self._stop_code()

    def _watch(self):
        """Waits until no process runs.

        Returns:
            (the job's exit code, or None where it must be started again; what ended the first that was lost).
        """
        reason, handed_on, asked_at, lost_at, followers = None, 0, None, None, []
        while any(worker.code is None for worker in self._workers):
            for number in self._signals[handed_on:]:
                self._send(number)
                handed_on += 1
            if asked_at is None and self._stop_code() is not None:
                asked_at = time.monotonic()
                if not self._signals:
                    # One was asked itself. Not SIGINT: others may have had one too, and a second ends them unsaved.
                    self._send(signal.SIGTERM)
            if lost_at is None and self._look():
                # They cannot go on, but one may be done with all its steps.
                lost_at = time.monotonic()
                self._send(signal.SIGTERM)
            if asked_at is not None and time.monotonic() - asked_at > SECONDS_TO_STOP:
                for worker in self._workers:
                    if worker.step() < 0:
                        worker.send(signal.SIGKILL)
            ended = [worker for worker in self._workers if worker.code is not None]
            if lost_at is None and any(self._is_lost(w.code) or w.code in FINAL for w in ended):
                lost_at = time.monotonic()
            silent = max(filter(self._hangs, self._workers), key=lambda w: w.silent_seconds(), default=None)
            if lost_at is not None:
                if time.monotonic() - lost_at > SECONDS_TO_FOLLOW:
                    followers = followers or [w for w in self._workers if w.code is None]
                    self._send(signal.SIGKILL)
            elif silent is not None:
                reason = f"{silent.name} (process {silent.process.pid}) shows no sign of life for {self._limit(silent):g} s"
                self._send(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        others = [worker for worker in self._workers if worker not in followers]
        lost = [worker for worker in others if self._is_lost(worker.code)]
        if reason is None and lost:
            # One that was killed, rather than one that has noticed it.
            reason = self._words(min(lost, key=lambda worker: worker.code == EXIT_GROUP_LOST))
            if followers:
                names = " and ".join(worker.name for worker in followers)
                reason += f", and {names} did not end by itself and was killed"
        return self._verdict(killed=any(worker.code == -signal.SIGKILL for worker in others)), reason

    def _look(self, *, at_once=False):
        """Whether another host's part has ended with an error, as a look now and then shows; then it is kept."""
        now = time.monotonic()
        due = at_once or now - self._looked_at > LOOK_SECONDS
        if self._notes is not None and self._error_elsewhere is None and due:
            self._looked_at, self._error_elsewhere = now, self._notes.news()
        return self._error_elsewhere is not None

    def _verdict(self, *, killed):
        """The job's exit code where it has ended; None where it must be started again."""
        codes = [worker.code for worker in self._workers]
        if signal.SIGINT in self._signals:
            # Python itself ends with code 1 where it is interrupted while it starts.
            young = [worker.step() < 0 for worker in self._workers]
            codes = [
                EXIT_INTERRUPTED if c == EXIT_ERROR and y else c for c, y in zip(codes, young, strict=True)
            ]
        for final in FINAL:
            # Nobody kills itself: an error beside that is most probably about the one that is gone.
            if final in codes and not killed:
                return final
        if all(code == EXIT_OK for code in codes):
            return EXIT_OK
        # Whoever was lost meanwhile: the last checkpoint is there.
        return self._stop_code()

    def _stop_code(self):
        """75 or 130 where this process or one of those it watches was asked to stop; else None."""
        asked = [EXIT_INTERRUPTED if n == signal.SIGINT else EXIT_RESTART for n in self._signals]
        asked += [worker.code for worker in self._workers if worker.code in STOPPED]
        return asked[0] if asked else None

    @staticmethod
    def _is_lost(code):
        return code not in (EXIT_OK, *FINAL, *STOPPED)

    @staticmethod
    def _words(worker):
        name = f"{worker.name} (process {worker.process.pid})"
        if worker.code < 0:
            known = {number.value: number.name for number in signal.Signals}
            return f"{name} was ended by {known.get(-worker.code, f'signal {-worker.code}')}"
        if worker.code == EXIT_GROUP_LOST:
            return f"{name} has lost another group"
        return f"{name} ended with code {worker.code}"

    def _limit(self, worker):
        return self._hang_timeout * (START_FACTOR if worker.step() < 0 else 1)

    def _hangs(self, worker):
        return self._hang_timeout and worker.code is None and worker.silent_seconds() > self._limit(worker)

    def _send(self, number):
        for worker in self._workers:
            worker.send(number)

    def _sleep(self, seconds):
        """Ends earlier when a signal comes, or a note."""
        end = time.monotonic() + seconds
        while not (self._signals or self._look()) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))


def _say(line):
    with contextlib.suppress(OSError):  # whoever read it is gone; the training goes on
        print(f"launcher: {line}", file=sys.stderr, flush=True)


def _end_with_parent(parent):
    """A launcher that is killed takes its processes with it; they save themselves."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before that
            os._exit(EXIT_RESTART)
