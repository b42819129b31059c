"""The command `schedule`: runs on a cluster at set times, kept as code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from components.shared.errors import InputError
from pipeline.cluster.options import ClusterOptions
from pipeline.commands.cluster import ENVIRONMENT_HELP, cluster_options
from pipeline.commands.kubernetes import kubernetes_options
from pipeline.commands.options import keys_help, run_options
from pipeline.kubernetes import KubernetesOptions

if TYPE_CHECKING:
    from pipeline.schedule.control import Control
    from pipeline.schedule.reconcile import Clock
    from pipeline.schedule.spec import Schedule

_BESIDE_A_FILE = (
    "file", "dry_run", "cluster_time_zone",
    "host", "namespace", "token_file", "cookie_file", "ca_file", "ui_url",
)  # fmt: skip

_FILE_HELP = """\b
A file holds a schedule, several as YAML documents, or a list (`schedules`):
  name: nightly
  cron: "0 2 * * *"
  serving_dir: s3://models/imdb
  source: s3://reviews/current.tar.gz
  set:
    num_epochs: 6
  kubernetes:
    image: registry.example/imdb@sha256:...
    accelerator_count: 1

\b
Its keys are the options below with '_' for '-', and namespace, ui_url, set
(KEY: VALUE lines) and kubernetes, which takes image, accelerator_type,
accelerator_count, resources, node_selector, tolerations,
image_pull_secrets, env, secret_env, webhook_secret, volumes,
workspace_size, workspace_storage_class and shared_memory_size."""

_time_zone = click.option(
    "--cluster-time-zone",
    metavar="ZONE",
    envvar="KFP_CLUSTER_TIME_ZONE",
    default="UTC",
    show_default=True,
    help="Where KFP counts the hours of every cron: CRON_SCHEDULE_TIMEZONE of its controller.",
)


@click.group()
def schedule() -> None:
    """Run the pipeline on a cluster at set times.

    A schedule is a recurring run of KFP that `apply` made; others are never touched. Times are
    UTC, unless the cluster's controller was set up otherwise.
    """


@schedule.command(epilog=f"{_FILE_HELP}\n\n{ENVIRONMENT_HELP}\n\n{keys_help()}")
@click.option(
    "-f", "--file", metavar="FILE", help="Schedules as YAML, in place of the options of one."
)
@click.option("--dry-run", is_flag=True, help="Shows what would change, and changes nothing.")
@_time_zone
@cluster_options
@click.option("--name", help="Names the schedule.")
@click.option(
    "--cron",
    help="When: five fields from the minute on, six with the second first, or @daily and the like.",
)
@click.option(
    "--time-zone", metavar="ZONE", help="What the hours are meant in; must be the cluster's."
)
@click.option("--enabled/--disabled", default=True, help="Whether it fires.  [default: enabled]")
@click.option(
    "--catchup/--no-catchup",
    default=False,
    help="Makes up for every time missed, not for the latest alone.  [default: no-catchup]",
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(1, 10),
    default=1,
    show_default=True,
    help="Runs in flight at most; a time that comes meanwhile waits.",
)
@run_options(source="tfds")
@click.option(
    "--serving-dir",
    metavar="DIR",
    help="The registry: s3://, gs:// or az://, or an absolute path in a volume of the pods.",
)
@click.option("--pipeline-root", metavar="URI", help="Gets the outputs.  [default: KFP's own]")
@click.option(
    "--experiment",
    metavar="NAME",
    default="imdb-sentiment",
    show_default=True,
    help="Holds the runs; made if it isn't there.",
)
@click.option(
    "--service-account", metavar="NAME", help="Whom the pods run as.  [default: KFP's own]"
)
@click.option(
    "--skip-unchanged/--no-skip-unchanged",
    default=True,
    help="Ends a run after ingest where the champion was made of the same reviews, configuration "
    "and image.  [default: skip-unchanged]",
)
@click.option(
    "--cache/--no-cache",
    default=True,
    help="Lets KFP take a result from its cache.  [default: cache]",
)
@kubernetes_options
@click.pass_context
def apply(
    context: click.Context,
    /,
    file: str | None,
    dry_run: bool,
    cluster_time_zone: str,
    cluster: ClusterOptions,
    kubernetes: KubernetesOptions,
    **options: Any,
) -> None:
    """Bring schedules to what a file or the options say.

    Applied again, it changes nothing. A change makes a new recurring run and retires the one
    before it: what that has in flight goes on, and each time is fired once.
    """
    schedules = _from_file(context, file) if file else [_from_options(kubernetes, options)]
    clock = _clock(cluster_time_zone)
    for each in schedules:
        each.require_zone(cluster_time_zone)
    from pipeline.schedule.apply import apply as apply_one

    for each in schedules:
        apply_one(each, cluster, clock, click.echo, dry_run)


@schedule.command("list")
@_time_zone
@cluster_options
@click.option("--json", "as_json", is_flag=True, help="Writes a JSON list to stdout.")
def list_command(cluster: ClusterOptions, cluster_time_zone: str, as_json: bool) -> None:
    """List the schedules: when they fire next, and how the last run went."""
    rows = _control(cluster, cluster_time_zone).rows()
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False).encode())
    elif rows:
        for line in _table(rows):
            click.echo(line)
    else:
        click.echo("No schedules")


@schedule.command()
@click.argument("name")
@cluster_options
def pause(cluster: ClusterOptions, name: str) -> None:
    """Switch a schedule off; runs in flight go on."""
    _control(cluster).pause(name)


@schedule.command()
@click.argument("name")
@cluster_options
def resume(cluster: ClusterOptions, name: str) -> None:
    """Switch a schedule on, from its next time on; missed ones are not made up for."""
    _control(cluster).resume(name)


@schedule.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Ends its runs in flight, too.")
@cluster_options
def delete(cluster: ClusterOptions, name: str, force: bool) -> None:
    """Delete a schedule; with runs in flight, which that would end, it is only paused."""
    _control(cluster).delete(name, force)


def _from_file(context: click.Context, file: str) -> "Sequence[Schedule]":
    beside = [
        option.opts[0]
        for option in context.command.params
        if option.name not in _BESIDE_A_FILE
        and context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    ]
    if beside:
        raise click.UsageError(f"--file says what is scheduled: leave out {', '.join(beside)}")
    from pipeline.schedule.document import read_schedules

    return read_schedules(Path(file))


def _from_options(kubernetes: KubernetesOptions, options: dict[str, Any]) -> "Schedule":
    missing = [key for key in ("name", "cron", "serving_dir") if options[key] is None]
    if missing:
        words = ", ".join(f"--{key.replace('_', '-')}" for key in missing)
        raise click.UsageError(f"give --file, or else {words}")
    from pipeline.schedule.spec import Schedule

    return Schedule(kubernetes=kubernetes, **options)


def _control(cluster: ClusterOptions, time_zone: str = "UTC") -> "Control":
    clock = _clock(time_zone)
    from pipeline.cluster.connection import connect
    from pipeline.schedule.control import Control
    from pipeline.schedule.recurring import Recurring

    return Control(Recurring(connect(cluster)), clock, click.echo)


def _clock(time_zone: str) -> "Clock":
    from pipeline.schedule.reconcile import Clock
    from pipeline.schedule.spec import Schedule

    try:
        return Clock(zone=Schedule.zone(time_zone))
    except InputError as error:
        raise InputError(f"cluster_{error}") from error


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """The schedules in columns."""
    cells = [["NAME", "CRON", "NEXT", "PRESET", "VERSION", "LAST RUN"]]
    for row in rows:
        last = row["last_run"]
        said = f"{last['state']} {last['scheduled_at']}" if last else "none"
        upcoming = row["next"] or "paused"
        cells.append(
            [row["name"], row["cron"], upcoming, row["preset"], row["pipeline_version"], said]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
