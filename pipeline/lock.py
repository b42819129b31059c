"""Who works on a run: one process at a time, and nothing that an earlier one has left.

<run_dir>/.lock          locked by the process that runs it
<run_dir>/.tasks.lock    locked by each process of its tasks, whose group it names
"""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.shared.errors import InputError

_LOCK = ".lock"
_TASKS_LOCK = ".tasks.lock"


@contextmanager
def claimed(run_dir: Path) -> Iterator[int]:
    """Keeps everybody else from working on the same run.

    Gives the descriptor that the processes of its tasks inherit. What is left of them, where the
    process that had started them was killed, is ended first.

    Raises:
        InputError: another process runs it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / _LOCK).open("w") as lock, (run_dir / _TASKS_LOCK).open("a+") as tasks:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"run {run_dir.name}: another process is at it; wait for it, or end it first"
            ) from None
        _end_orphans(tasks.fileno())
        yield tasks.fileno()


def _end_orphans(tasks: int) -> None:
    try:
        fcntl.flock(tasks, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Its id can't have become another's: a process of the group still holds the lock.
        group = os.pread(tasks, 20, 0)
        if group.strip().isdigit():
            with suppress(ProcessLookupError):
                os.killpg(int(group), signal.SIGKILL)
        fcntl.flock(tasks, fcntl.LOCK_EX)


def note_group(tasks: int, group: int) -> None:
    """Writes down the process group of the tasks, for whoever has to end it."""
    os.ftruncate(tasks, 0)
    os.pwrite(tasks, f"{group}\n".encode(), 0)
