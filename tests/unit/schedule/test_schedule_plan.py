"""The steps of a change, with firings and crashes between any two of them.

KFP's controller is a stand-in here (see conftest.py): what is tested is the order of the steps.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.schedule.plan import (
    Create,
    Delete,
    Disable,
    Enable,
    Revision,
    Step,
    Wanted,
    next_step,
)

MINUTELY = "0 * * * * *"


class Cluster:
    """Takes the steps, each revision being a recurring run of the controller."""

    def __init__(self, controller: Any, simulated: Any, catchup: bool) -> None:
        self.controller, self._simulated, self._catchup = controller, simulated, catchup
        self.made: dict[str, tuple[int, str, str | None]] = {}

    @property
    def fired(self) -> list[datetime]:
        fired: list[datetime] = self.controller.fired
        return fired

    def observed(self) -> list[Revision]:
        return [
            Revision(
                id=run.id,
                number=self.made[run.id][0],
                digest=self.made[run.id][1],
                replaces=self.made[run.id][2],
                enabled=run.enabled,
                cron=run.cron,
                created_at=run.created_at,
                start_time=run.start_time,
                last_fired=run.fired[-1] if run.fired else None,
                in_flight=run.in_flight,
            )
            for run in self.controller.recurring_runs.values()
        ]

    def take(self, step: Step, wanted: Wanted) -> None:
        runs = self.controller.recurring_runs
        match step:
            case Create():
                name = f"run-{len(self.made)}"
                self.made[name] = (step.number, wanted.digest, step.replaces)
                runs[name] = self._simulated(
                    id=name,
                    cron=wanted.cron,
                    enabled=step.enabled,
                    created_at=self.controller.now,
                    start_time=step.start_time,
                    no_catchup=not self._catchup,
                )
            case Enable(revision):
                runs[revision.id].enabled = True
            case Disable(revision):
                runs[revision.id].enabled = False
            case Delete(revision):
                assert not runs[revision.id].in_flight
                assert not runs[revision.id].enabled
                del runs[revision.id]

    def settle(self, wanted: Wanted) -> list[Step]:
        steps = []
        while step := next_step(wanted, self.observed()):
            self.take(step, wanted)
            steps.append(step)
            assert len(steps) < 20
        return steps


def wanted(digest: str, enabled: bool = True, cron: str = MINUTELY) -> Wanted:
    return Wanted(digest=digest, cron=cron, enabled=enabled)


@pytest.fixture
def planned(make_controller: Callable[[], Any], simulated: Any) -> Cluster:
    return Cluster(make_controller(), simulated, catchup=False)


def kinds(steps: list[Step]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_the_first_time_one_is_made_and_then_nothing(planned: Cluster) -> None:
    assert planned.settle(wanted("a")) == [Create(enabled=True, number=1)]
    assert planned.settle(wanted("a")) == []


def test_a_change_makes_the_new_one_before_the_old_one_is_switched_off(planned: Cluster) -> None:
    planned.settle(wanted("a"))
    assert kinds(planned.settle(wanted("b"))) == ["Create", "Disable", "Enable", "Delete"]
    assert [revision.digest for revision in planned.observed()] == ["b"]


def test_a_revision_with_a_run_in_flight_is_kept_until_it_has_ended(planned: Cluster) -> None:
    planned.settle(wanted("a"))
    planned.controller.busy = True
    planned.controller.advance(60)
    planned.controller.look()
    assert "Delete" not in kinds(planned.settle(wanted("b")))
    assert planned.settle(wanted("b")) == []
    planned.controller.recurring_runs["run-0"].in_flight = 0
    assert kinds(planned.settle(wanted("b"))) == ["Delete"]


def test_a_paused_schedule_begins_anew_without_what_it_missed(planned: Cluster) -> None:
    planned.settle(wanted("a"))
    assert kinds(planned.settle(wanted("a", enabled=False))) == ["Disable"]
    planned.controller.advance(600)
    assert kinds(planned.settle(wanted("a"))) == ["Create", "Delete"]
    planned.controller.look()
    assert planned.fired == []
    planned.controller.advance(60)
    planned.controller.look()
    assert len(planned.fired) == 1


def test_a_change_of_a_paused_schedule_fires_nothing_of_the_past(planned: Cluster) -> None:
    planned.settle(wanted("a", enabled=False))
    planned.controller.advance(600)
    planned.settle(wanted("b"))
    planned.controller.look()
    assert planned.fired == []


def test_another_cron_counts_from_the_change_on(planned: Cluster) -> None:
    planned.settle(wanted("a", cron="0 0 3 1 1 *"))
    planned.controller.advance(3600)
    planned.settle(wanted("b", cron=MINUTELY))
    planned.controller.look()
    assert planned.fired == []


def test_a_schedule_that_is_switched_off_while_it_changes_stays_off(planned: Cluster) -> None:
    planned.settle(wanted("a"))
    planned.settle(wanted("b", enabled=False))
    assert [(r.digest, r.enabled) for r in planned.observed()] == [("b", False)]


# What happens between two requests: seconds that pass, and whether the controller looks.
_MEANWHILE = st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=4)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    changes=st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
    meanwhile=st.lists(_MEANWHILE, min_size=1, max_size=40),
    catchup=st.booleans(),
    data=st.data(),
)
def test_each_time_is_fired_once_whatever_happens_between_two_requests(
    make_controller: Callable[[], Any],
    simulated: Any,
    changes: list[str],
    meanwhile: list[list[tuple[int, bool]]],
    catchup: bool,
    data: st.DataObject,
) -> None:
    """A crash is a call that takes no more steps: the next one begins from what is there."""
    cluster = Cluster(make_controller(), simulated, catchup)
    controller, pending = cluster.controller, iter(meanwhile)

    def pass_time() -> None:
        for seconds, looks in next(pending, []):
            controller.advance(seconds)
            if looks:
                controller.look()

    cluster.settle(wanted("first"))
    begun = controller.now
    for change in changes:
        crash_after = data.draw(st.none() | st.integers(0, 5))
        for taken in range(20):
            pass_time()
            step = next_step(wanted(change), cluster.observed())
            if step is None or taken == crash_after:
                break
            pass_time()
            cluster.take(step, wanted(change))
    cluster.settle(wanted(changes[-1]))
    controller.look()
    assert [r.digest for r in cluster.observed()] == [changes[-1]]
    due = _minutes(begun, controller.now)
    assert len(cluster.fired) == len(set(cluster.fired))
    assert set(cluster.fired) <= set(due)
    missed = sorted(set(due) - set(cluster.fired))
    if catchup:
        assert missed == []
    for moment in missed:
        # Of several times that come while none is on, KFP fires the latest alone.
        assert not any(moment <= look < moment + timedelta(minutes=1) for look in controller.looks)


def _minutes(after: datetime, until: datetime) -> list[datetime]:
    first = after.replace(second=0) + timedelta(minutes=1)
    count = max(0, int((until - first).total_seconds() // 60) + 1)
    return [first + timedelta(minutes=index) for index in range(count)]


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(turns=st.lists(st.booleans(), min_size=10, max_size=40))
def test_two_that_apply_at_once_end_with_one_recurring_run(
    make_controller: Callable[[], Any], simulated: Any, turns: list[bool]
) -> None:
    """Each looks and acts in turns of its own, so that what it knows may be out of date."""
    cluster = Cluster(make_controller(), simulated, catchup=False)
    cluster.settle(wanted("a"))
    seen: dict[bool, Step | None] = {True: None, False: None}
    for who in turns:
        step = seen[who]
        if step is None:
            seen[who] = next_step(wanted("b"), cluster.observed())
        else:
            if isinstance(step, Create) or step.revision.id in cluster.controller.recurring_runs:
                cluster.take(step, wanted("b"))
            seen[who] = None
    cluster.settle(wanted("b"))
    assert [(r.digest, r.enabled) for r in cluster.observed()] == [("b", True)]
