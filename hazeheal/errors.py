"""Errors that reach the user as one line, and the exit code each stands for.

Scripts rely on the codes: 0 done, 1 error, 2 bad usage, 75 "restart me" (EX_TEMPFAIL: the run was
asked to stop, has saved itself, and the same command continues it), 69 "another replica group is gone"
(EX_UNAVAILABLE: start all groups again; the launcher does).
"""

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_GROUP_LOST = 69
EXIT_RESTART = 75
EXIT_INTERRUPTED = 130


class HazeHealError(Exception):
    """Something the user can act on: the message says what, which value, and what to do."""

    exit_code = EXIT_ERROR


class UsageError(HazeHealError):
    """A flag, a configuration key or a value that cannot be meant."""

    exit_code = EXIT_USAGE


class DataError(HazeHealError):
    """A shard, an index, a record or an image that is missing or damaged."""


class OutputError(HazeHealError):
    """A file that cannot be written, or is there already and must not be lost."""


class GroupLostError(HazeHealError):
    """Another process of the same job is gone or does not answer; all must be started again."""

    exit_code = EXIT_GROUP_LOST


class GroupFailedError(GroupLostError):
    """Another process of the same job has ended with an error that a person must act on, and has told it."""

    def __init__(self, message, *, exit_code=EXIT_ERROR):
        super().__init__(message)
        self.exit_code = exit_code


class GroupsDisagreeError(UsageError):
    """The processes of a job were started differently; every one of them has seen it."""
