"""Brings the recurring runs of a schedule to what is wanted, one request at a time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from components.shared.errors import Failure
from pipeline.schedule.cron import Cron
from pipeline.schedule.plan import (
    Create,
    Disable,
    Enable,
    Revision,
    Step,
    Wanted,
    in_force,
    next_step,
)
from pipeline.schedule.recurring import Recurring, Template

_MOST_STEPS = 25
_BEFORE = timedelta(seconds=10)
"""No change is begun this shortly before a firing."""

_AFTER = timedelta(seconds=60)
"""The controller looks at a recurring run every half minute. This long after a time whose run can't
be seen yet, no change is begun."""

_LONGEST_WAIT = timedelta(seconds=90)
_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, in what zone the cluster counts it, and how to wait."""

    zone: tzinfo = UTC
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Takes the steps that `plan.next_step` asks for, for one schedule."""

    recurring: Recurring
    name: str
    """The schedule's."""

    template: Callable[[], Template]
    """Gives what a new revision is made from; called only where one is made."""

    clock: Clock
    say: Callable[[str], None]
    """Takes a line for each step."""

    def reconcile(self, wanted: Wanted) -> None:
        """Makes, switches and deletes until the schedule is as wanted.

        Raises:
            InputError: the server refuses a step, or someone else's recurring run has the name.
            Failure: nobody answers, the server fails, or the schedule changes all the time.
        """
        waited, taken = False, 0
        while taken < _MOST_STEPS:
            step = next_step(wanted, self.recurring.revisions(self.name))
            if step is None:
                return
            if isinstance(step, Create) and step.replaces and not waited:
                self._wait_for_quiet()
                waited = True
                continue
            self.take(step)
            taken += 1
        raise Failure(
            f"{self.name}: changes all the time, perhaps because someone else applies it too; "
            "apply it again when they are done"
        )

    def take(self, step: Step) -> None:
        """Takes one step, and says so."""
        if isinstance(step, Create):
            self.recurring.create(step, self.template())
            self.say(f"made revision {step.number}, switched {'on' if step.enabled else 'off'}")
            return
        self.recurring.change(step)
        done = {Enable: "switched on", Disable: "switched off"}.get(type(step), "deleted")
        self.say(f"{done} revision {step.revision.number}")

    def _wait_for_quiet(self) -> None:
        """Lets a firing pass that is about to come, or whose run can't be seen yet.

        The order of the steps is right at any moment. Yet the controller may be at work on what it
        knew a moment ago, and that could make a run which nobody sees in time.
        """
        until = self.clock.now() + _LONGEST_WAIT
        told = False
        while self.clock.now() < until:
            old = in_force(self.recurring.revisions(self.name))
            if old is None or not old.enabled or self._is_quiet(old):
                return
            if not told:
                self.say("waiting for a firing that is close by")
                told = True
            self.clock.sleep(_PAUSE)

    def _is_quiet(self, old: Revision) -> bool:
        now = self.clock.now()
        known = old.last_fired or old.begins
        for moment in Cron(old.cron).times(max(known, now - _AFTER), self.clock.zone):
            if moment > now:
                return moment - now > _BEFORE
            if old.in_flight < old.max_concurrency:
                return False
        raise AssertionError("a cron has no end")
