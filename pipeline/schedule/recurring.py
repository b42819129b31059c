"""The recurring runs of schedules, read from KFP and written to it."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import kfp_server_api

from components.shared.errors import InputError
from pipeline.cluster.connection import Connection
from pipeline.cluster.content import equals
from pipeline.cluster.errors import api_errors
from pipeline.schedule.plan import Create, Delete, Disable, Enable, Revision, in_order
from pipeline.schedule.settings import digest, settings

_MARK = "imdb-pipeline schedule: "
"""Begins the line of a description that says whose a recurring run is."""

_PAGE = 100
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """What a revision is made from."""

    schedule: str
    cron: str
    pipeline_id: str
    version_id: str
    parameters: dict[str, Any]
    experiment_id: str
    catchup: bool
    max_concurrency: int
    asked: dict[str, Any]
    """As `settings.asked` gives it."""

    def recurring_run(self, step: Create) -> Any:
        """The recurring run to make, as KFP takes it."""
        mark = {
            "schedule": self.schedule,
            "revision": step.number,
            "replaces": step.replaces,
            "asked": self.asked,
        }
        return kfp_server_api.V2beta1RecurringRun(
            display_name=self.schedule,
            description=f"Made by imdb-pipeline schedule; change it there.\n{_MARK}"
            f"{json.dumps(mark)}",
            pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
                pipeline_id=self.pipeline_id, pipeline_version_id=self.version_id
            ),
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(
                parameters=self.parameters, pipeline_root=self.asked["pipeline_root"]
            ),
            service_account=self.asked["service_account"],
            max_concurrency=str(self.max_concurrency),
            no_catchup=not self.catchup,
            mode="ENABLE" if step.enabled else "DISABLE",
            trigger=kfp_server_api.V2beta1Trigger(
                cron_schedule=kfp_server_api.V2beta1CronSchedule(
                    cron=self.cron, start_time=step.start_time
                )
            ),
            experiment_id=self.experiment_id,
        )


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run of a schedule."""

    run_id: str

    state: str
    """As KFP has it; PENDING for a run that has none yet."""

    scheduled_at: datetime


@dataclass(frozen=True, slots=True)
class Recurring:
    """The recurring runs of one KFP."""

    connection: Connection
    _names: dict[str, str] = field(default_factory=dict)

    def schedules(self) -> dict[str, list[Revision]]:
        """The revisions of every schedule, oldest first.

        Raises:
            InputError, Failure: as `api_errors`.
        """
        found: dict[str, list[Revision]] = defaultdict(list)
        for recurring_run in self._listed():
            mark = _mark(recurring_run)
            if mark is not None:
                found[mark["schedule"]].append(self._revision(recurring_run, mark))
        return {name: in_order(found[name]) for name in sorted(found)}

    def revisions(self, name: str) -> list[Revision]:
        """The revisions of one schedule, oldest first.

        Raises:
            InputError: someone else's recurring run has the name; else as `api_errors`.
            Failure: as `api_errors`.
        """
        found = []
        for recurring_run in self._listed():
            if recurring_run.display_name != name:
                continue
            mark = _mark(recurring_run)
            if mark is None:
                raise InputError(
                    f"name {name!r}: a recurring run has this name that imdb-pipeline schedule "
                    f"didn't make ({self.link(recurring_run.recurring_run_id)}); choose another "
                    "name, or delete that one yourself"
                )
            found.append(self._revision(recurring_run, mark))
        return in_order(found)

    def template(self, revision: Revision) -> Template:
        """What a revision was made from."""
        with api_errors(self.connection.options):
            found = self.connection.recurring_runs.recurring_run_service_get_recurring_run(
                revision.id
            )
        mark = _mark(found)
        assert mark is not None
        return Template(
            schedule=mark["schedule"],
            cron=revision.cron,
            pipeline_id=found.pipeline_version_reference.pipeline_id,
            version_id=found.pipeline_version_reference.pipeline_version_id,
            parameters=found.runtime_config.parameters,
            experiment_id=found.experiment_id,
            catchup=not found.no_catchup,
            max_concurrency=int(found.max_concurrency),
            asked=mark["asked"],
        )

    def create(self, step: Create, template: Template) -> None:
        """Makes a revision.

        Raises:
            InputError, Failure: as `api_errors`.
        """
        with api_errors(self.connection.options):
            self.connection.recurring_runs.recurring_run_service_create_recurring_run(
                template.recurring_run(step)
            )

    def change(self, step: Enable | Disable | Delete) -> None:
        """Switches a revision on or off, or deletes it.

        Raises:
            InputError, Failure: as `api_errors`.
        """
        service = self.connection.recurring_runs
        request = {
            Enable: service.recurring_run_service_enable_recurring_run,
            Disable: service.recurring_run_service_disable_recurring_run,
            Delete: service.recurring_run_service_delete_recurring_run,
        }[type(step)]
        with api_errors(self.connection.options):
            request(step.revision.id)

    def last_run(self, revisions: list[Revision]) -> LastRun | None:
        """The last run of a schedule, None where there is none yet."""
        latest = [run for revision in revisions for run in self._runs(revision.id)[:1]]
        if not latest:
            return None
        run = max(latest, key=_fired)
        return LastRun(run.run_id, run.state or "PENDING", _fired(run))

    def link(self, recurring_run_id: str) -> str:
        """The page of a recurring run."""
        options, multi_user = self.connection.options, self.connection.multi_user
        return options.recurring_run_link(recurring_run_id, multi_user)

    def _listed(self) -> Iterator[Any]:
        service, token = self.connection.recurring_runs, ""
        while True:
            with api_errors(self.connection.options):
                answer = service.recurring_run_service_list_recurring_runs(
                    page_size=_PAGE, page_token=token, **self._scope()
                )
            yield from answer.recurring_runs or []
            token = answer.next_page_token
            if not token:
                return

    def _runs(self, recurring_run_id: str) -> list[Any]:
        """Its latest runs, the latest first: all up to a page on which every run has ended."""
        runs: list[Any] = []
        token = ""
        while True:
            with api_errors(self.connection.options):
                answer = self.connection.runs.run_service_list_runs(
                    page_size=_PAGE,
                    page_token=token,
                    sort_by="created_at desc",
                    filter=equals("recurring_run_id", recurring_run_id),
                    **self._scope(),
                )
            page = answer.runs or []
            runs += page
            token = answer.next_page_token
            if not token or all(run.state in _ENDED for run in page):
                return runs

    def _scope(self) -> dict[str, str]:
        namespace = self.connection.namespace
        return {"namespace": namespace} if namespace else {}

    def _revision(self, found: Any, mark: dict[str, Any]) -> Revision:
        runs = self._runs(found.recurring_run_id)
        schedule = found.trigger.cron_schedule
        version = found.pipeline_version_reference
        values = settings(
            cron=schedule.cron,
            catchup=not found.no_catchup,
            max_concurrency=int(found.max_concurrency),
            experiment=self._experiment(found.experiment_id),
            pipeline_version=self._version(version.pipeline_id, version.pipeline_version_id),
            parameters=found.runtime_config.parameters or {},
            **mark["asked"],
        )
        return Revision(
            id=found.recurring_run_id,
            number=mark["revision"],
            digest=digest(values),
            enabled=found.mode == "ENABLE",
            cron=schedule.cron,
            created_at=found.created_at,
            max_concurrency=int(found.max_concurrency),
            start_time=_moment(schedule.start_time),
            replaces=mark["replaces"],
            last_fired=max(map(_fired, runs), default=None),
            in_flight=sum(run.state not in _ENDED for run in runs),
            settings=values,
        )

    def _experiment(self, experiment_id: str) -> str:
        service = self.connection.experiments
        return self._named(
            experiment_id, lambda: service.experiment_service_get_experiment(experiment_id)
        )

    def _version(self, pipeline_id: str, version_id: str) -> str:
        service = self.connection.pipelines
        return self._named(
            version_id,
            lambda: service.pipeline_service_get_pipeline_version(pipeline_id, version_id),
        )

    def _named(self, key: str, get: Any) -> str:
        """The display name of what a request gives, asked for once; empty if it was deleted."""
        if key not in self._names:
            with api_errors(self.connection.options):
                try:
                    self._names[key] = get().display_name
                except kfp_server_api.ApiException as error:
                    if error.status != 404:
                        raise
                    self._names[key] = ""
        return self._names[key]


def _mark(recurring_run: Any) -> dict[str, Any] | None:
    """What `Template` wrote down, None for a recurring run of someone else."""
    lines = (recurring_run.description or "").splitlines()
    for line in lines:
        if line.startswith(_MARK):
            try:
                mark = json.loads(line.removeprefix(_MARK))
            except ValueError:
                return None
            # A copy made by hand has the description, and another name.
            is_ours = isinstance(mark, dict) and mark.get("schedule") == recurring_run.display_name
            return mark if is_ours and recurring_run.trigger.cron_schedule else None
    return None


def _fired(run: Any) -> datetime:
    """The time that a run was started for."""
    fired = _moment(run.scheduled_at) or _moment(run.created_at)
    assert fired is not None
    return fired


def _moment(moment: datetime | None) -> datetime | None:
    """A time as KFP gives it, whose zero stands for none."""
    return moment if moment is not None and moment.timestamp() else None
