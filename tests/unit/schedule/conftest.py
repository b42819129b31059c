"""A stand-in for KFP's ScheduledWorkflow controller, on a clock of its own."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import kfp_server_api
import pytest

from pipeline.cli import main
from pipeline.schedule.cron import Cron
from pipeline.schedule.reconcile import Clock
from pipeline.schedule.spec import Schedule

START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


@dataclass
class SimulatedRecurringRun:
    """A recurring run as the controller has it."""

    id: str
    cron: str
    enabled: bool
    created_at: datetime
    start_time: datetime | None = None
    no_catchup: bool = True
    max_concurrency: int = 1
    fired: list[datetime] = field(default_factory=list)
    in_flight: int = 0

    def upcoming(self, now: datetime) -> datetime:
        """The next time, by getNextScheduledTimeImp of the controller's cron_schedule.go."""
        last = self.fired[-1] if self.fired else self.start_time or self.created_at
        times = Cron(self.cron).times(max(last, self.start_time or last))
        upcoming = next(times)
        if self.no_catchup:
            for later in times:
                if later > now:
                    break
                upcoming = later
        return upcoming


class Controller:
    """Fires recurring runs as KFP's controller does; its runs end at once unless `busy`.

    A stand-in: the real one takes half a minute or so to look, and needs Kubernetes.
    """

    def __init__(self) -> None:
        self.now = START
        self.recurring_runs: dict[str, SimulatedRecurringRun] = {}
        self.busy = False
        self.on_fire: Callable[[SimulatedRecurringRun, datetime], None] = lambda run, at: None
        self.fired: list[datetime] = []
        self.looks: list[datetime] = []
        """When it looked while a recurring run was on."""

    def look(self) -> None:
        """Fires what is due now."""
        for recurring_run in self.recurring_runs.values():
            while recurring_run.enabled and recurring_run.in_flight < recurring_run.max_concurrency:
                upcoming = recurring_run.upcoming(self.now)
                if upcoming > self.now:
                    break
                recurring_run.fired.append(upcoming)
                recurring_run.in_flight += self.busy
                self.fired.append(upcoming)
                self.on_fire(recurring_run, upcoming)
        if any(recurring_run.enabled for recurring_run in self.recurring_runs.values()):
            self.looks.append(self.now)

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += timedelta(seconds=seconds)


class Cluster:
    """The stand-in for KFP's API with a controller that fires what is there."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.controller = Controller()
        self.controller.on_fire = self._start
        server.clock = lambda: self.controller.now

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, and the controller look."""
        self.controller.advance(seconds)
        known = self.controller.recurring_runs
        for identity, item in self.server.recurring_runs.items():
            cron = item.trigger.cron_schedule
            run = known.setdefault(
                identity,
                SimulatedRecurringRun(
                    identity, cron.cron, False, item.created_at, cron.start_time, item.no_catchup
                ),
            )
            run.enabled = item.mode == "ENABLE"
            run.in_flight = sum(r.state == "RUNNING" for r in self.runs(identity))
        for identity in set(known) - set(self.server.recurring_runs):
            del known[identity]
        self.controller.look()

    def runs(self, recurring_run_id: str) -> list[Any]:
        """The runs of a recurring run."""
        found = self.server.runs.values()
        return [run for run in found if run.recurring_run_id == recurring_run_id]

    def end_runs(self) -> None:
        """Ends all runs well."""
        for run in self.server.runs.values():
            run.state = "SUCCEEDED"

    def writes(self) -> list[str]:
        """The requests that may change something, since the last call."""
        found = [f"{method} {path}" for method, path, _ in self.server.requests if method != "GET"]
        self.server.requests.clear()
        return found

    def _start(self, recurring_run: SimulatedRecurringRun, at: datetime) -> None:
        run = kfp_server_api.V2beta1Run(
            run_id=str(uuid.uuid4()),
            display_name=f"{recurring_run.id}-{len(recurring_run.fired)}",
            recurring_run_id=recurring_run.id,
            scheduled_at=at,
            created_at=self.controller.now,
            state="RUNNING" if self.controller.busy else "SUCCEEDED",
        )
        self.server.runs[run.run_id] = run


class Called(NamedTuple):
    """What a command ended with, and printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def make_controller() -> Callable[[], Controller]:
    """Makes controllers, for a test that needs many."""
    return Controller


@pytest.fixture
def simulated() -> type[SimulatedRecurringRun]:
    """What a controller has of a recurring run."""
    return SimulatedRecurringRun


@pytest.fixture
def cluster(kfp_server: Any) -> Cluster:
    """A cluster without any schedule."""
    return Cluster(kfp_server)


@pytest.fixture
def schedule(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Called]:
    """`schedule(*arguments)` calls the command on the cluster and its clock."""
    for name in ("KFP_NAMESPACE", "KFP_UI_URL", "KFP_TOKEN", "KFP_COOKIE", "KFP_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        "pipeline.commands.schedule._clock",
        lambda zone="UTC": Clock(
            Schedule.zone(zone), lambda: cluster.controller.now, cluster.pass_time
        ),
    )

    def call(*arguments: str) -> Called:
        capsys.readouterr()
        status = main(["schedule", *arguments, "--host", cluster.server.url])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Called(status, printed.out, printed.err)

    return call


@pytest.fixture
def apply(schedule: Callable[..., Called], tmp_path: Path) -> Callable[..., Called]:
    """`apply(text, *options)` applies a schedule's file; `text` comes after name and registry."""

    def call(text: str, *options: str, name: str = "nightly") -> Called:
        file = tmp_path / "schedule.yaml"
        file.write_text(f"name: {name}\nserving_dir: s3://models/imdb\n{text}")
        return schedule("apply", "-f", str(file), *options)

    return call
