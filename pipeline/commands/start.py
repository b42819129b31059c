"""What commands share that start a run on a cluster: their options, and the start itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from components.shared.errors import InputError
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.request import RunRequest
from pipeline.console import Console

if TYPE_CHECKING:
    from pipeline.cluster.connection import Connection


def place_options(command: Any) -> Any:
    """Gives the command `pipeline_root`, `experiment`, `service_account` and `run_name`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--pipeline-root",
        metavar="URI",
        envvar="KFP_PIPELINE_ROOT",
        show_envvar=True,
        help="Gets the outputs of the tasks: s3://, gs:// or minio://.  [default: KFP's own]",
    ),
    click.option(
        "--experiment",
        metavar="NAME",
        default="imdb-sentiment",
        show_default=True,
        envvar="KFP_EXPERIMENT",
        show_envvar=True,
        help="Holds the run; made if it isn't there.",
    ),
    click.option(
        "--service-account",
        metavar="NAME",
        envvar="KFP_SERVICE_ACCOUNT",
        show_envvar=True,
        help="Whom the pods run as.  [default: KFP's own]",
    ),
    click.option("--run-name", metavar="NAME", help="[default: the pipeline, preset and time]"),
)


def require_names(options: dict[str, Any]) -> None:
    """Checks what `place_options` gives.

    Raises:
        InputError: a name is blank.
    """
    for name in ("run_name", "experiment"):
        if options[name] is not None and not options[name].strip():
            raise InputError(f"{name} is blank: give a name")


def begin(
    cluster: ClusterOptions,
    request: RunRequest,
    compiled: Callable[[], bytes],
    *,
    pipeline: str,
    name: str,
    experiment: str,
    warning: str | None,
    console: Console,
    found: dict[str, Any],
) -> tuple["Connection", bytes]:
    """Uploads a pipeline unless this version of it is there already, and starts a run.

    Args:
        cluster: the cluster.
        request: the run.
        compiled: compiles the pipeline.
        pipeline: what it is called.
        name: the run's.
        experiment: that of the experiment.
        warning: what the user should know, if anything.
        console: shows what was done.
        found: gets the same.

    Returns:
        The connection, and the compiled pipeline.
    """
    # They take their time to import, which a mistake needn't wait for.
    from pipeline.cluster import content
    from pipeline.cluster.connection import connect
    from pipeline.cluster.submit import start

    connection = connect(cluster)
    experiment_id = content.experiment(connection, experiment)
    package = compiled()
    version = content.uploaded(connection, package, pipeline)
    if warning:
        console.say(f"Warning: {warning}")
    console.say(f"Version {version.name}, {'uploaded' if version.made else 'already there'}")
    run_id = start(connection, version, experiment_id, name, request)
    link = cluster.run_link(run_id, connection.multi_user)
    console.say_all([f"Run {run_id}, {name}", link])
    found |= {
        "run_id": run_id,
        "run_name": name,
        "link": link,
        "experiment_id": experiment_id,
        "pipeline_id": version.pipeline_id,
        "version_id": version.version_id,
        "version": version.name,
        "uploaded": version.made,
    }
    return connection, package
