"""Lists, pauses, resumes and deletes the schedules that `schedule apply` made."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.shared.errors import Failure, InputError
from pipeline.schedule.cron import Cron
from pipeline.schedule.plan import Create, Delete, Disable, Revision, Wanted
from pipeline.schedule.reconcile import Clock, Reconciler
from pipeline.schedule.recurring import Recurring


@dataclass(frozen=True, slots=True)
class Control:
    """The schedules of a cluster."""

    recurring: Recurring
    clock: Clock
    say: Callable[[str], None]

    def rows(self) -> list[dict[str, Any]]:
        """What there is, a schedule each, as JSON values.

        Raises:
            InputError, Failure: as `api_errors`.
        """
        return [self._row(name, found) for name, found in self.recurring.schedules().items()]

    def pause(self, name: str) -> None:
        """Switches a schedule off; what it has in flight goes on.

        Raises:
            InputError: there is none of that name; else as `api_errors`.
            Failure: as `api_errors`.
        """
        found = self._found(name)
        on = [revision for revision in found if revision.enabled]
        for revision in on:
            self.recurring.change(Disable(revision))
        self.say(f"{name}: {'paused' if on else 'is paused already'}")

    def resume(self, name: str) -> None:
        """Switches a schedule on, from its next time on.

        KFP makes up for a missed time when it switches a recurring run on, so a fresh one is made.

        Raises:
            InputError: there is none of that name; else as `api_errors`.
            Failure: as `api_errors`.
        """
        found = self._found(name)
        newest = found[-1]
        reconciler = Reconciler(
            self.recurring,
            name,
            template=lambda: self.recurring.template(newest),
            clock=self.clock,
            say=lambda line: self.say(f"{name}: {line}"),
        )
        if newest.enabled:
            self.say(f"{name}: isn't paused")
        else:
            reconciler.take(Create(enabled=True, number=newest.number + 1))
        reconciler.reconcile(Wanted(digest=newest.digest, cron=newest.cron, enabled=True))

    def delete(self, name: str, force: bool) -> None:
        """Deletes a schedule; its runs stay on record.

        Args:
            name: the schedule's.
            force: whether to end runs in flight, which go with their recurring run.

        Raises:
            InputError: there is none of that name; else as `api_errors`.
            Failure: runs are in flight; else as `api_errors`.
        """
        for revision in self._found(name):
            if revision.enabled:
                self.recurring.change(Disable(revision))
        # Only now can no more runs come.
        found = self._found(name)
        in_flight = sum(revision.in_flight for revision in found)
        if in_flight and not force:
            raise Failure(
                f"{name}: paused, and not deleted: that would end {_runs(in_flight)} in flight; "
                "delete it again when they have ended, or with --force"
            )
        for revision in found:
            self.recurring.change(Delete(revision))
        self.say(f"{name}: deleted" + (f", with {_runs(in_flight)} in flight" if in_flight else ""))

    def _found(self, name: str) -> list[Revision]:
        found = self.recurring.revisions(name)
        if not found:
            known = ", ".join(self.recurring.schedules()) or "none"
            raise InputError(f"{name!r}: no such schedule; there are: {known}")
        return found

    def _row(self, name: str, found: list[Revision]) -> dict[str, Any]:
        newest = found[-1]
        upcoming = next(Cron(newest.cron).times(self.clock.now(), self.clock.zone))
        last = self.recurring.last_run(found)
        return {
            "name": name,
            "cron": newest.cron,
            "enabled": newest.enabled,
            "next": _iso(upcoming) if newest.enabled else None,
            "preset": newest.settings["preset"],
            "pipeline_version": newest.settings["pipeline_version"],
            "in_flight": sum(revision.in_flight for revision in found),
            "last_run": last
            and {
                "run_id": last.run_id,
                "state": last.state,
                "scheduled_at": _iso(last.scheduled_at),
            },
            "recurring_run_id": newest.id,
            "link": self.recurring.link(newest.id),
        }


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
