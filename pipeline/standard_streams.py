"""Standard input, output and error, any of which may be closed or broken."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def occupy() -> None:
    """Opens those of descriptors 0 to 2 that are closed on the null device.

    A file opened later would get such a descriptor, and the output of C++ code with it. What is
    written to a closed standard output or error is discarded; `sys.stdin` stays None, as an empty
    input is no substitute for a missing one.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
    sys.stdout = sys.stdout or _writer(1)
    sys.stderr = sys.stderr or _writer(2)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character must not end a run.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def output_error() -> OSError | None:
    """What keeps standard output from being written, as far as it shows; None for nothing."""
    try:
        sys.stdout.flush()
        # With PYTHONUNBUFFERED there is nothing to flush.
        os.write(1, b"")
    except OSError as error:
        return error
    return None


def discard_unwritable() -> None:
    """Sends what can't be written to the null device.

    Python flushes both streams when it ends, and exits with 120 where that fails.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            with suppress(OSError):
                stream.flush()


def _writer(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)
