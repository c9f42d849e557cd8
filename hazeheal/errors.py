"""Errors that a command prints as one line, and the exit code of each.

Scripts can rely on the exit codes: 0 success, 1 error, 2 invalid usage, 75 the run was asked to stop, saved a
checkpoint and resumes with the same command (EX_TEMPFAIL), 69 another replica group is lost and all groups must be
restarted (EX_UNAVAILABLE; the launcher does so), 71 a device or the communication between devices failed (EX_OSERR; the
launcher restarts the job from the last checkpoint, and ends with 71 if that does not help), 130 interrupted by SIGINT.
"""

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_GROUP_LOST = 69
EXIT_DEVICE_FAILED = 71
EXIT_RESTART = 75
EXIT_INTERRUPTED = 130


class HazeHealError(Exception):
    """An error that the user can act on. The message says what is wrong, which value, and what to do."""

    exit_code = EXIT_ERROR  # of a command that ends with this error


class UsageError(HazeHealError):
    """A flag, a configuration field or an argument is invalid."""

    exit_code = EXIT_USAGE


class DataError(HazeHealError):
    """A shard, an index, a record or an image is missing or damaged."""


class OptionNeededError(DataError):
    """An image needs an option, such as its white level, before it can be read."""


class OutputError(HazeHealError):
    """A file cannot be written, or exists and must not be overwritten."""


class DeviceFailedError(HazeHealError):
    """A device or the communication between devices failed. The run resumes from the last checkpoint."""

    exit_code = EXIT_DEVICE_FAILED


class GroupLostError(HazeHealError):
    """Another process of the job ended or does not respond. All processes must be restarted."""

    exit_code = EXIT_GROUP_LOST


class GroupFailedError(GroupLostError):
    """Another process of the job ended with an error and reported it.

    The exit code is that of the error if the user must act on it, else that of a lost group.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class GroupsDisagreeError(UsageError):
    """The processes of a job were started with different settings. Raised in each of them."""
