"""The two ways a task ends badly, and the words a user reads then."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.shared import events

INPUT_ERROR_EXIT = 2
FAILURE_EXIT = 1
NOT_BLESSED_EXIT = 3

_STORAGE_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EROFS: "the file system is read-only: choose a directory that can be written to",
}
_DENIED = (errno.EACCES, errno.EPERM)


class InputError(ValueError):
    """What the user gave can't be used.

    The message names the input, says what is wrong with it and what to do about it; it is shown
    without a traceback.
    """


class Failure(Exception):
    """What was asked for can't be done now, though nothing is wrong with the input.

    The message says what is in the way and what to do; it is shown without a traceback.
    """


def storage_message(error: Exception) -> str | None:
    """A line for a user about a full or read-only disk, or about access that is denied.

    TensorFlow and Beam carry the operating system's error as text alone.

    Returns:
        The line, None for any other error.
    """
    for number, advice in _STORAGE_ADVICE.items():
        if isinstance(error, OSError) and error.errno == number:
            return f"cannot write {error.filename or 'an output'}: {advice}"
        if os.strerror(number) in str(error):
            return f"cannot write an output ({_last_line(error)}): {advice}"
    if isinstance(error, PermissionError) and isinstance(error.filename, str | bytes):
        return _denied(os.fsdecode(error.filename), str(error.strerror).lower())
    if any(os.strerror(number) in str(error) for number in _DENIED):
        return f"access is denied ({_last_line(error)}): give this user access, and run again"
    return None


def _denied(path: str, reason: str) -> str:
    """The line about a path, by what this user may not do with it: the error doesn't name it."""
    if os.path.lexists(path) and not os.access(path, os.R_OK):
        return f"cannot read {path}: {reason}: make it readable for this user"
    folder = Path(path).parent
    if os.access(folder, os.X_OK) and not os.access(folder, os.W_OK):
        return f"cannot write {path}: {reason}: choose a directory that this user may write to"
    return f"cannot access {path}: {reason}: give this user access, or choose another path"


def _last_line(error: Exception) -> str:
    return next(reversed(str(error).splitlines()), "")


@contextmanager
def task_boundary() -> Iterator[None]:
    """Turns a task's user error, full disk or denied access into one line and an exit status.

    Raises:
        SystemExit: 2 after an InputError, 1 after a Failure, a full disk or denied access; other
            errors pass through.
    """
    try:
        yield
    except InputError as error:
        events.emit("error", message=str(error), input_error=True)
        sys.exit(INPUT_ERROR_EXIT)
    except Failure as error:
        events.emit("error", message=str(error), input_error=False)
        sys.exit(FAILURE_EXIT)
    except Exception as error:
        message = storage_message(error)
        if message is None:
            raise
        events.emit("error", message=message, input_error=False)
        sys.exit(FAILURE_EXIT)
