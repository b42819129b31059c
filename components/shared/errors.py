"""The two ways a task ends badly, and the words a user reads then."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from components.shared import events

INPUT_ERROR_EXIT = 2
FAILURE_EXIT = 1
NOT_BLESSED_EXIT = 3

_STORAGE_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EACCES: "permission denied: choose a directory that this user may write to",
    errno.EPERM: "operation not permitted: choose a directory that this user may write to",
    errno.EROFS: "the file system is read-only: choose a directory that can be written to",
}


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
    """A line for a user about a disk that can't take what is written, None for any other error.

    TensorFlow and Beam carry the operating system's error as text alone.
    """
    for number, advice in _STORAGE_ADVICE.items():
        if isinstance(error, OSError) and error.errno == number:
            return f"cannot write {error.filename or 'an output'}: {advice}"
        if os.strerror(number) in str(error):
            return f"cannot write an output ({str(error).splitlines()[-1]}): {advice}"
    return None


@contextmanager
def task_boundary() -> Iterator[None]:
    """Turns a user's mistake or a full disk, met within a task, into one line and an exit status.

    Raises:
        SystemExit: 2 after an InputError, 1 after a Failure or a full or closed disk; other errors
            pass through.
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
