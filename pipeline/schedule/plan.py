"""What to do next to bring a schedule's recurring runs to what is wanted.

KFP can't change a recurring run: it can be made, switched on, switched off and deleted. So each
change of a schedule makes a new recurring run, a revision, and the revision before it is retired.

When a revision fires is up to KFP's ScheduledWorkflow controller. It looks at a recurring run every
half minute or so. The next time is the cron's first one after what it fired last or, where it has
never fired, after its start time or, without one, after it was made; with `no_catchup` the latest
such time that has come. If it is on, the time has come, and it has fewer runs in flight than
`max_concurrency`, it fires. Four things follow:

- Switching a recurring run on again makes up for the latest time that it missed.
- One that is made switched off, with the start time S, and switched on later, fires what has come
  since S, and nothing up to S. No time is written down on this machine, whose clock may differ.
- Deleting one ends what it has in flight, which Kubernetes collects with it.
- Each counts its own runs in flight: while the last run of a retired revision goes on, the next one
  may start a run beside it.

So a change goes like this, A being the revision in force and B the new one:

1. Make B, switched off. What the server refuses, it refuses here, with A in force as before. B
   starts after the last time that A fired, if they have the same cron; if not, now.
2. Switch A off.
3. Switch B on; or, if A has fired since B was made, which B would fire again, make B anew, switched
   on and starting after that. A time that comes between 2 and 3 is fired by B, a moment late.
4. Delete A, if it has nothing in flight; if it has, a later call does.

Only between 2 and 3 is none of them on; never are both. `next_step` looks at
nothing but what is there, so after a crash at any point the next call goes on: B says whom it
replaces, which tells a change that was broken off from a schedule that someone paused. With one
time missed meanwhile, it is fired then, once; of several, the latest (with `catchup`, all).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a schedule is to be."""

    digest: str
    """Names the settings, all but `enabled`."""

    cron: str
    enabled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """A recurring run of a schedule, as KFP has it."""

    id: str
    number: int
    digest: str
    """Names its settings; empty where they aren't what was applied."""

    enabled: bool
    cron: str
    created_at: datetime
    max_concurrency: int = 1
    start_time: datetime | None = None

    replaces: str | None = None
    """The id of the revision that it takes over from; None for one that began by itself."""

    last_fired: datetime | None = None
    """The last time that it has a run for."""

    in_flight: int = 0
    """Runs that haven't ended."""

    settings: dict[str, Any] = field(default_factory=dict)
    """What a user reads of it."""

    @property
    def begins(self) -> datetime:
        """It fires times after this one, if it has fired none."""
        return self.start_time or self.created_at


@dataclass(frozen=True, slots=True)
class Create:
    """Make a revision of what is wanted."""

    enabled: bool
    number: int
    start_time: datetime | None = None
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Enable:
    """Switch a revision on."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Disable:
    """Switch a revision off."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a revision that is switched off and has nothing in flight."""

    revision: Revision


Step = Create | Enable | Disable | Delete


def next_step(wanted: Wanted, revisions: Sequence[Revision]) -> Step | None:
    """The next thing to do; None where all is as wanted.

    Args:
        wanted: what the schedule is to be.
        revisions: its recurring runs, in any order.
    """
    revisions = in_order(revisions)
    newest = revisions[-1] if revisions else None
    number = newest.number + 1 if newest else 1
    if newest is None or newest.digest != wanted.digest:
        old = in_force(revisions)
        return Create(
            enabled=wanted.enabled and old is None,
            number=number,
            start_time=_takeover(wanted, old, revisions) if old else None,
            replaces=old.id if old and wanted.enabled else None,
        )
    older = revisions[:-1]
    for revision in older:
        if revision.enabled:
            return Disable(revision)
    if newest.enabled and not wanted.enabled:
        return Disable(newest)
    if wanted.enabled and not newest.enabled:
        return _switch_on(newest, number, revisions)
    return next((Delete(r) for r in older if not r.in_flight), None)


def in_order(revisions: Sequence[Revision]) -> list[Revision]:
    """Oldest first; of two with one number, made by two calls at once, the id decides."""
    return sorted(revisions, key=lambda revision: (revision.number, revision.id))


def in_force(revisions: Sequence[Revision]) -> Revision | None:
    """The revision that fires now, or that did when a change was broken off; None if paused.

    Args:
        revisions: all of a schedule, oldest first.
    """
    enabled = [revision for revision in revisions if revision.enabled]
    if enabled:
        return enabled[-1]
    newest = revisions[-1] if revisions else None
    if newest is None or newest.last_fired:
        return None
    return next((r for r in revisions if r.id == newest.replaces), None)


def _switch_on(newest: Revision, number: int, revisions: Sequence[Revision]) -> Step:
    old = in_force(revisions)
    if old is None:
        # It was paused: a fresh one makes up for nothing.
        return Create(enabled=True, number=number)
    fired = _last_fired(revisions)
    if fired is not None and fired > newest.begins:
        return Create(enabled=True, number=number, start_time=fired)
    return Enable(newest)


def _takeover(wanted: Wanted, old: Revision, revisions: Sequence[Revision]) -> datetime | None:
    """The time after which the new revision is to fire; None for the moment when it is made."""
    if old.cron != wanted.cron:
        return None
    return max(old.begins, _last_fired(revisions) or old.begins)


def _last_fired(revisions: Sequence[Revision]) -> datetime | None:
    return max((r.last_fired for r in revisions if r.last_fired), default=None)
