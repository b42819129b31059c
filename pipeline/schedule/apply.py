"""Applies a schedule: shows its times and what changes, and makes it so."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC
from itertools import islice

from pipeline.cluster.connection import Connection, connect
from pipeline.cluster.content import experiment, uploaded
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.submit import without_cache
from pipeline.compile import compiled_pipeline
from pipeline.kubernetes import KubernetesOptions
from pipeline.schedule.cron import Cron
from pipeline.schedule.plan import Revision, Wanted, in_order, next_step
from pipeline.schedule.reconcile import Clock, Reconciler
from pipeline.schedule.recurring import Recurring, Template
from pipeline.schedule.settings import Settings, asked, differences, digest, shown, wanted_settings
from pipeline.schedule.spec import Schedule

_SHOWN = 5


def apply(
    schedule: Schedule,
    cluster: ClusterOptions,
    clock: Clock,
    say: Callable[[str], None],
    dry_run: bool,
) -> None:
    """Makes a schedule as it is asked for; sends nothing where it is already.

    Args:
        schedule: what is asked for.
        cluster: where; the schedule's namespace goes before its.
        clock: the cluster's time.
        say: takes a line for a reader.
        dry_run: whether to show what would change and leave it at that.

    Raises:
        InputError: the server refuses it, or someone else's recurring run has its name.
        Failure: nobody answers, or the server fails.
    """
    say(schedule.name)
    tell = _indented(say)
    for line in times_shown(schedule.six_fields, clock):
        tell(line)
    if schedule.kubernetes.image_warning:
        tell(f"warning: {schedule.kubernetes.image_warning}")
    package = _package(schedule.kubernetes, schedule.cache)
    settings = wanted_settings(schedule, package)
    wanted = Wanted(
        digest=digest(settings), cron=schedule.six_fields.text, enabled=schedule.enabled
    )
    connection = connect(_in_namespace(cluster, schedule.namespace))
    recurring = Recurring(connection)
    revisions = recurring.revisions(schedule.name)
    for line in _changes(schedule, wanted, settings, revisions):
        tell(line)
    if not dry_run:
        make = functools.cache(lambda: _template(connection, schedule, package))
        Reconciler(recurring, schedule.name, make, clock, tell).reconcile(wanted)


@functools.cache
def _package(kubernetes: KubernetesOptions, cache: bool) -> bytes:
    """The compiled pipeline; the schedules of a file mostly have the same one."""
    package = compiled_pipeline(kubernetes)
    return package if cache else without_cache(package)


def times_shown(cron: Cron, clock: Clock) -> list[str]:
    """The cron and its next times, in UTC and in the cluster's zone."""
    lines = [f"cron {cron.text} ({clock.zone}), next:"]
    for moment in islice(cron.times(clock.now(), clock.zone), _SHOWN):
        there = f"  {moment:%a %Y-%m-%d %H:%M:%S %Z}"
        in_utc = moment.astimezone(UTC)
        same = moment.utcoffset() == in_utc.utcoffset()
        lines.append(there if same else f"{there}  ({in_utc:%a %Y-%m-%d %H:%M:%S} UTC)")
    return lines


def _changes(
    schedule: Schedule, wanted: Wanted, settings: Settings, revisions: Sequence[Revision]
) -> list[str]:
    """What a reader is told of what is to be done."""
    if not revisions:
        return ["new:", *(f"  {line}" for line in _new(schedule, settings))]
    newest = in_order(revisions)[-1]
    lines = differences(newest.settings, settings)
    lines += differences({"enabled": newest.enabled}, {"enabled": wanted.enabled})
    if lines:
        return ["changes:", *(f"  {line}" for line in lines)]
    if next_step(wanted, revisions) is not None:
        return ["as it is; what an earlier change left is done"]
    if len(revisions) > 1:
        return ["as it is; a retired revision is kept for its run in flight"]
    return ["as it is"]


def _new(schedule: Schedule, settings: Settings) -> list[str]:
    """The settings of a schedule; the rest of a task's configuration follows from the preset."""
    known = {key: value for key, value in settings.items() if value is not None}
    chosen = [key for key in known if "." not in key or key.split(".")[1] in schedule.overrides]
    enabled = f"enabled: {shown(schedule.enabled)}"
    return [*(f"{key}: {shown(known[key])}" for key in chosen), enabled]


def _template(connection: Connection, schedule: Schedule, package: bytes) -> Template:
    options = connection.options
    version = uploaded(connection, package)
    return Template(
        schedule=schedule.name,
        cron=schedule.six_fields.text,
        pipeline_id=version.pipeline_id,
        version_id=version.version_id,
        parameters=schedule.request(options.shared_ui_url).arguments(),
        experiment_id=experiment(connection, schedule.experiment),
        catchup=schedule.catchup,
        max_concurrency=schedule.max_concurrency,
        asked=asked(schedule),
    )


def _in_namespace(cluster: ClusterOptions, namespace: str | None) -> ClusterOptions:
    return replace(cluster, namespace=namespace) if namespace else cluster


def _indented(say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: say(f"  {line}")
