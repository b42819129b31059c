"""What a person sees of a run: a line for each task, and a live line where there is a terminal."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from pipeline.stream import State, Task

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COLORS = {State.RUNNING: "33", State.SUCCEEDED: "32", State.FAILED: "31"}
_NAME_WIDTH = 11
_PLAIN_INTERVAL = 10.0
"""Seconds between two lines of progress where no line can be rewritten."""


class Console:
    """Shows how the tasks go, on a terminal or in a file.

    An `Observer` of a `TaskStream`.
    """

    def __init__(
        self, stream: TextIO, *, verbose: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Writes to `stream`; with `verbose`, all that the tasks print, too."""
        terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = stream
        self._verbose = verbose
        self._clock = clock
        self._live = terminal and not verbose
        self._color = terminal and not os.environ.get("NO_COLOR")
        self._shown = clock()
        self._running: dict[str, tuple[Task, str]] = {}

    @property
    def live(self) -> bool:
        """Whether a line shows the task that runs, and is rewritten as it goes on."""
        return self._live

    def say(self, text: str = "") -> None:
        """Shows some lines that stay."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def say_all(self, lines: Iterable[str]) -> None:
        """Shows what there is to say when no task runs any more."""
        self._running.clear()
        for line in lines:
            self.say(line)

    def started(self, task: Task) -> None:
        """Shows that the task runs."""
        self._shown = self._clock()
        self._now_at(task, "")
        self.tick()

    def progressed(self, task: Task, text: str) -> None:
        """Shows how far it is."""
        self._now_at(task, text)
        if self._live:
            self.tick()
        elif not self._verbose and self._clock() - self._shown >= _PLAIN_INTERVAL:
            self._shown = self._clock()
            self.say(self._line(task, State.RUNNING, text))

    def printed(self, name: str, line: str) -> None:
        """Shows the line where all is wanted."""
        if self._verbose:
            self.say(f"{name:<{_NAME_WIDTH}} | {printable(line)}")

    def finished(self, task: Task) -> None:
        """Shows how it ended."""
        self._running.pop(task.name, None)
        self.say(self._line(task, task.state, task.figure))

    def skipped(self, name: str, why: str) -> None:
        """Shows that a task didn't run, and needn't."""
        self.say(f"{name:<{_NAME_WIDTH}} skipped            {why}")

    def tick(self) -> None:
        """Brings the live line up to date: that of the task that was the last to say something."""
        if self._live and self._running:
            width = shutil.get_terminal_size().columns
            task, text = next(reversed(self._running.values()))
            line = self._line(task, State.RUNNING, text, width - 1)
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()

    def _now_at(self, task: Task, text: str) -> None:
        self._running.pop(task.name, None)
        self._running[task.name] = (task, text)

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")

    def _line(self, task: Task, state: State, text: str, width: int | None = None) -> str:
        seconds = self._clock() - task.started if state is State.RUNNING else task.seconds
        name, time_ = f"{task.name:<{_NAME_WIDTH}} ", f" {duration(seconds):>8}  "
        word = f"{state:<7}"
        room = None if width is None else max(0, width - len(name + word + time_))
        if self._color:
            word = f"\x1b[{_COLORS[state]}m{word}\x1b[0m"
        return f"{name}{word}{time_}{printable(text)[:room]}".rstrip()


def duration(seconds: float) -> str:
    """A time to read: `8.3 s`, `2 min 05 s`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def printable(text: str) -> str:
    """`text` without what would move a terminal's cursor or change its colours."""
    return _CONTROL.sub(" ", text)
