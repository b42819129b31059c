"""Follows a run to its end, through short failures of the API."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import kfp_server_api

from components.shared.errors import Failure, InputError
from pipeline.cluster.connection import Connection
from pipeline.cluster.errors import api_errors
from pipeline.console import Console
from pipeline.stream import State, Task

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 10.0
_GROWTH = 1.5
_TICK = 1.0
_SILENT_FOR = 900.0
"""Seconds without an answer after which nobody waits on."""

_REFUSED_FOR = 120.0
"""The same, of refusals: a token in a file is renewed by then, or isn't at all."""

_SETTLES_WITHIN = 30.0
"""Seconds after a run's end within which its tasks' last states arrive: KFP writes them later."""

_QUIET_FOR = 1.0
"""Seconds without a change after which an ended run is taken to have settled."""

_STUCK_AFTER = 15.0
"""Seconds without a change after which, and then as often, Kubernetes is asked about the pods."""

_HINT_AFTER = 300.0
"""Seconds without a change, and without a reason from Kubernetes, after which a hint is given."""

_UNSETTLED = ("PENDING", "RUNNING")
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_STATES = {"SUCCEEDED": State.SUCCEEDED, "FAILED": State.FAILED, "CANCELED": State.FAILED}


class Outcome(StrEnum):
    """How a run ended."""

    PUSHED = "pushed"
    NOT_BLESSED = "not blessed"
    UNCHANGED = "unchanged"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended."""

    outcome: Outcome

    tasks: dict[str, str]
    """The last state of each task that KFP has one of."""

    reason: str | None = None
    """The server's words, where it has any."""

    @property
    def failed_tasks(self) -> list[str]:
        """The names of those that failed."""
        return [name for name, state in self.tasks.items() if state == "FAILED"]


class StillRunning(Exception):
    """The wait is over and the run isn't; the message says why."""


class Gone(Failure):
    """The run isn't there any more."""

    def __init__(self) -> None:
        super().__init__("the run is no longer there; someone has deleted it")


@dataclass(slots=True)
class Watch:
    """Waits for one run."""

    connection: Connection

    run_id: str

    names: Mapping[str, str]
    """Of the tasks, by what KFP may call them."""

    console: Console

    timeout: int | None = None
    """Seconds; None to wait as long as it takes."""

    reasons: Callable[[str], list[str]] = lambda run_id: []
    """Why pods of the run, by its id, don't start."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _said: set[str] = field(default_factory=set)
    _changed_at: float = 0.0
    _asked_at: float = 0.0
    _tasks: dict[str, Task] = field(default_factory=dict)
    _states: dict[str, str] = field(default_factory=dict)

    def wait(self) -> Ended:
        """Shows the tasks as their states change, until the run has ended.

        Raises:
            StillRunning: the time is up, or nothing has been heard of the run for too long.
            Gone: the run is no longer there.
        """
        started = answered = self.clock()
        self._changed_at = self._asked_at = started
        pause = _FIRST_PAUSE
        complained = False
        while True:
            try:
                run = self._ask()
            except Gone:
                raise
            except (Failure, InputError) as error:
                silent = self.clock() - answered
                if silent >= (_REFUSED_FOR if isinstance(error, InputError) else _SILENT_FOR):
                    raise StillRunning(f"no answer for {silent:.0f} s ({error})") from error
                if not complained:
                    self.console.say(f"{error}; trying again")
                complained, changed = True, False
            else:
                answered, complained = self.clock(), False
                changed = self._show(run)
                if run.state in _ENDED:
                    return self._ended(self._settled(run))
                self._explain(changed, answered)
            pause = _FIRST_PAUSE if changed else min(pause * _GROWTH, _LONGEST_PAUSE)
            self._rest(started, pause)

    def _explain(self, changed: bool, now: float) -> None:
        """Says why pods don't start, each reason once, after some seconds without a change."""
        if changed:
            self._changed_at = self._asked_at = now
        if now - self._asked_at < _STUCK_AFTER:
            return
        self._asked_at, quiet = now, now - self._changed_at
        found = self.reasons(self.run_id)
        if not found and not self._said and quiet >= _HINT_AFTER:
            selector = f"--selector pipeline/runid={self.run_id}"
            found = [
                f"nothing has changed for {quiet:.0f} s; `kubectl get pods {selector}`, in the "
                "namespace of the runs, shows whether its pods start"
            ]
        for reason in found:
            if reason not in self._said:
                self._said.add(reason)
                self.console.say(f"{', '.join(self._running()) or 'the run'}: {reason}")

    def _running(self) -> list[str]:
        return [name for name, state in self._states.items() if state in _UNSETTLED]

    def _settled(self, run: Any) -> Any:
        """The ended run, once its tasks' states have stopped changing."""
        ended = changed = self.clock()
        while self.clock() - ended < _SETTLES_WITHIN and (
            self.clock() - changed < _QUIET_FOR or self._running()
        ):
            self._sleep(_FIRST_PAUSE)
            with suppress(Failure, InputError):
                run = self._ask()
                if self._show(run):
                    changed = self.clock()
        return run

    def _ask(self) -> Any:
        with api_errors(self.connection.options):
            try:
                return self.connection.runs.run_service_get_run(self.run_id)
            except kfp_server_api.ApiException as error:
                if error.status == 404:
                    raise Gone from error
                raise

    def _rest(self, started: float, pause: float) -> None:
        if self.timeout is not None:
            left = self.timeout - (self.clock() - started)
            if left <= 0:
                raise StillRunning(f"not ended after {self.timeout} s")
            # No less than what every clock can tell.
            pause = max(min(pause, left), 0.01)
        self._sleep(pause)

    def _sleep(self, seconds: float) -> None:
        until = self.clock() + seconds
        while (rest := until - self.clock()) > 0:
            self.console.tick()
            self.sleep(min(rest, _TICK))

    def _show(self, run: Any) -> bool:
        """Shows what has changed since; says whether anything has."""
        changed = False
        for detail in (run.run_details and run.run_details.task_details) or []:
            name = self.names.get(detail.display_name)
            if name is not None and detail.state and self._states.get(name) != detail.state:
                self._states[name] = detail.state
                self._show_task(name, detail)
                changed = True
        return changed

    def _show_task(self, name: str, detail: Any) -> None:
        state = detail.state
        if state == "RUNNING":
            self._tasks[name] = Task(name, self.clock(), Path(os.devnull))
            self.console.started(self._tasks[name])
            if not self.console.live:
                self.console.say(f"{name:<11} running")
        elif state in _STATES:
            task = self._tasks.setdefault(name, Task(name, self.clock(), Path(os.devnull)))
            task.state, task.seconds = _STATES[state], _seconds(detail)
            self.console.finished(task)

    def _ended(self, run: Any) -> Ended:
        reason = run.error.message if run.error is not None else None
        return Ended(_outcome(run.state, self._states), dict(self._states), reason)


def _outcome(state: str, tasks: Mapping[str, str]) -> Outcome:
    """What became of the run: a task that isn't there is behind a condition that isn't met."""
    if state != "SUCCEEDED":
        return Outcome.FAILED if state == "FAILED" else Outcome.CANCELED
    done = {name for name, its in tasks.items() if its == "SUCCEEDED"}
    if "push" in done:
        return Outcome.PUSHED
    if "evaluate" in done:
        return Outcome.NOT_BLESSED
    # Without details nothing is known but that it went well.
    ended_early = bool(done) and done <= {"prepare", "ingest", "notify"}
    return Outcome.UNCHANGED if ended_early else Outcome.SUCCEEDED


def _seconds(detail: Any) -> float:
    if detail.start_time is None or detail.end_time is None:
        return 0.0
    # What hasn't ended has an end in 1970.
    return max(0.0, float((detail.end_time - detail.start_time).total_seconds()))
