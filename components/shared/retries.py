"""Retries calls to services that are temporarily unavailable.

KFP retries a task whose pod vanished, or one that failed, or both, as its version and its cluster's
configuration have it. A service that is away for some minutes should fail a task under none of
them, and a user's error should be repeated under none.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from components.shared import events
from components.shared.errors import InputError

SECONDS_VARIABLE = "TASK_RETRY_SECONDS"
"""The environment variable with the seconds for which a task repeats such calls; none without."""

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0

T = TypeVar("T")


def retried(
    call: Callable[[], T],
    transient: Callable[[Exception], str | None],
    name: str,
    pauses: Iterable[float] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Repeats a call while its errors are transient and there are pauses left.

    Args:
        call: safe to repeat.
        transient: the reason for the log; None for an error that stays.
        name: of the service, for the log.
        pauses: seconds before each further attempt; None for `task_pauses()`.
        sleep: waits so many seconds.

    Returns:
        The result of the call.

    Raises:
        InputError: the variable holds no number of seconds.
        Exception: that of the last call.
    """
    left = iter(task_pauses() if pauses is None else pauses)
    while True:
        try:
            return call()
        except Exception as error:
            reason = transient(error)
            pause = None if reason is None else next(left, None)
            if pause is None:
                raise
        events.progress(f"{name}: {reason}; trying again in {pause:.0f} s")
        sleep(pause)


def task_pauses(clock: Callable[[], float] = time.monotonic) -> Iterator[float]:
    """Growing pauses, in seconds, for as long as `SECONDS_VARIABLE` has it from the first one on.

    Args:
        clock: seconds.

    Raises:
        InputError: the variable holds no number of seconds.
    """
    text = os.environ.get(SECONDS_VARIABLE, "").strip() or "0"
    if not text.isdecimal():
        raise InputError(f"{SECONDS_VARIABLE}={text}: not a number of seconds; set it to 0 or more")
    return _pauses(int(text), clock)


def _pauses(seconds: int, clock: Callable[[], float]) -> Iterator[float]:
    started, pause = clock(), _FIRST_PAUSE
    while (left := seconds - (clock() - started)) > 0:
        yield min(pause, left)
        pause = min(2 * pause, _LONGEST_PAUSE)
