"""Takes apart what KFP's local runner prints: by task, into states, events and log files."""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TextIO

from components.shared import events
from pipeline.loops import INDENTATION, marked

RUNNER = "pipeline"
"""Whose log holds what no task has printed."""

_TAIL_LINES = 20
_COLOR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOG_PREFIX = r"\d\d:\d\d:\d\d\.\d{3} - [A-Z]+ - "
_STARTED = re.compile(_LOG_PREFIX + r"Executing task '(?P<name>.+)'")
_FINISHED = re.compile(
    _LOG_PREFIX + r"Task '(?P<name>.+)' finished with status (?P<status>SUCCESS|FAILURE)"
)


class State(StrEnum):
    """The states of a task."""

    RUNNING = "running"
    SUCCEEDED = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Task:
    """What is known of one task; a retry takes the place of the attempt before it."""

    name: str

    started: float
    """By the clock of the stream."""

    log: Path

    state: State = State.RUNNING

    seconds: float = 0.0
    """How long it took, all attempts together; 0 while it runs."""

    figure: str = ""
    """The one figure that tells how it went."""

    error: str | None = None
    """Why it ended, where it said so itself."""

    input_error: bool = False
    """Whether it ended because of what the user gave."""

    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))
    """The last lines of its log, without events."""


class Observer(Protocol):
    """Is told how the tasks go, as they go."""

    def started(self, task: Task) -> None:
        """The task begins."""

    def progressed(self, task: Task, text: str) -> None:
        """The task says how far it is."""

    def printed(self, name: str, line: str) -> None:
        """The task of that name, or the runner, has printed a line."""

    def finished(self, task: Task) -> None:
        """The task has ended, well or not."""

    def tick(self) -> None:
        """About a second has passed in which nothing was printed."""


class TaskStream:
    """Reads the lines that KFP's local runner prints.

    Tasks run one after another, but for those of a loop, whose lines are marked with their names.
    """

    def __init__(
        self,
        logs: Path,
        observer: Observer,
        *,
        hidden: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Writes `<task>.log` files to the folder `logs`, after what is there already.

        Args:
            logs: the folder.
            observer: is told of every line and event.
            hidden: texts that nobody may see, and what stands in their place.
            clock: gives seconds.
        """
        logs.mkdir(parents=True, exist_ok=True)
        self.tasks: dict[str, Task] = {}
        self._logs = logs
        self._observer = observer
        self._hidden = hidden
        self._clock = clock
        self._running: dict[str, Task] = {}
        self._files: dict[str, TextIO] = {}
        self._runner_tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def close(self) -> None:
        """Closes the log files."""
        for file in self._files.values():
            file.close()

    @property
    def runner_tail(self) -> list[str]:
        """The last lines that no task has printed."""
        return list(self._runner_tail)

    def log(self, name: str) -> Path:
        """The log of the task of that name."""
        return self._logs / f"{name}.log"

    def feed(self, line: str) -> None:
        """Takes the next line.

        Raises:
            OSError: the log can't be written.
        """
        line = _COLOR.sub("", line)
        for secret, substitute in self._hidden.items():
            line = line.replace(secret, substitute)
        if self._running and line.startswith(INDENTATION):
            name, text = marked(line.removeprefix(INDENTATION).rstrip())
            newest = next(reversed(self._running.values()))
            self._task_line(self._running.get(name or "", newest), text)
        elif line.strip():
            self._runner_line(line.rstrip())

    def _task_line(self, task: Task, line: str) -> None:
        self._write(task.name, line)
        event = events.parse(line)
        if event is None:
            if line:
                task.tail.append(line)
            return
        kind, fields = event
        if kind == "progress":
            self._observer.progressed(task, str(fields.get("text", "")))
        elif kind == "figure":
            task.figure = str(fields.get("text", ""))
        else:
            task.error = str(fields.get("message", ""))
            task.input_error = fields.get("input_error") is True

    def _runner_line(self, line: str) -> None:
        self._write(RUNNER, line)
        self._runner_tail.append(line)
        if match := _STARTED.fullmatch(line):
            name = match["name"]
            before = self.tasks.get(name)
            started = before.started if before else self._clock()
            self._running[name] = self.tasks[name] = Task(name, started, self.log(name))
            self._observer.started(self.tasks[name])
        elif (match := _FINISHED.fullmatch(line)) and match["name"] in self.tasks:
            task = self.tasks[match["name"]]
            self._running.pop(task.name, None)
            task.state = State.SUCCEEDED if match["status"] == "SUCCESS" else State.FAILED
            task.seconds = self._clock() - task.started
            self._observer.finished(task)

    def _write(self, name: str, line: str) -> None:
        if name not in self._files:
            self._files[name] = self.log(name).open("a", encoding="utf-8", buffering=1)
        self._files[name].write(line + "\n")
        self._observer.printed(name, line)
