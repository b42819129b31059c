"""A process and all that it starts: begun, listened to, and ended together."""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from components.shared.own_code import own_code_first


class Terminated(BaseException):
    """Somebody has asked this process to end."""

    def __init__(self, number: int) -> None:
        """Keeps the number of the signal."""
        super().__init__(number)
        self.number = number


@contextmanager
def process_group(
    arguments: Sequence[str], first_line: str, *, scratch: Path, inherited: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs this Python with `arguments`, in a process group of its own.

    Standard input stays open after `first_line`; standard output and error are one pipe. When the
    block is left, whatever way, no process of the group stays, nor its temporary files.

    Args:
        arguments: those of Python.
        first_line: what it reads from standard input first.
        scratch: the folder to make for temporary files; what an earlier run has left there goes.
        inherited: a descriptor that the process inherits, under the same number.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_environment(os.environ, str(scratch))},
            pass_fds=(inherited,),
            start_new_session=True,
        )
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(first_line.encode() + b"\n")
                process.stdin.flush()
            yield process
            # It may go on to exit with its own status, which stays unread for now: until then, the
            # id of the group can't become another's.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(BrokenPipeError):
                process.communicate()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def lines(process: subprocess.Popen[bytes], tick: float) -> Iterator[str | None]:
    """The lines that a process prints, and None whenever `tick` seconds pass without one."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(tick):
                yield None
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def _environment(current: Mapping[str, str], scratch: str) -> dict[str, str]:
    """What the environment of the tasks has beyond that of this process."""
    return {
        **own_code_first(current),
        # KFP reads what the tasks print in the encoding of the locale, and stops at other bytes.
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        # KFP leaves a temporary folder for each task.
        "TMPDIR": scratch,
    }
