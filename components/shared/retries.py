"""Calls repeated while what they need doesn't answer, where a task is given the time for it.

KFP retries a task whose pod vanished, or one that failed, or both, as its version and its cluster's
configuration have it. A service that is away for some minutes should fail a task under none of
them, and a user's error should be repeated under none.
"""

import os
import time
from collections.abc import Callable
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
    is_passing: Callable[[Exception], bool],
    name: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Calls until the call succeeds, fails for good, or the time is over.

    Args:
        call: safe to repeat.
        is_passing: whether an error may be gone in a while.
        name: what doesn't answer, for the log.
        clock: seconds.
        sleep: waits so many seconds.

    Returns:
        The result of the call.

    Raises:
        InputError: the variable holds no number of seconds.
        Exception: that of the last call.
    """
    window, started, pause = _seconds(), clock(), _FIRST_PAUSE
    while True:
        try:
            return call()
        except Exception as error:
            left = window - (clock() - started)
            if left <= 0 or not is_passing(error):
                raise
            wait = min(pause, left)
            events.progress(
                f"{name}: no answer; trying again in {wait:.0f} s, for {left:.0f} s at most"
            )
            sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _seconds() -> int:
    text = os.environ.get(SECONDS_VARIABLE, "").strip() or "0"
    if not text.isdecimal():
        raise InputError(f"{SECONDS_VARIABLE}={text}: not a number of seconds; set it to 0 or more")
    return int(text)
