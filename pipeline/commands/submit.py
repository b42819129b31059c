"""The command `submit`: a run on a cluster."""

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from components.shared.errors import FAILURE_EXIT, NOT_BLESSED_EXIT, Failure, InputError
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.request import PIPELINE, RunRequest, default_run_name
from pipeline.commands.cluster import ENVIRONMENT_HELP, cluster_options
from pipeline.commands.kubernetes import kubernetes_options
from pipeline.commands.options import keys_help, run_options
from pipeline.commands.start import begin, place_options, require_names
from pipeline.config import preset as named_preset
from pipeline.console import Console, printable
from pipeline.kubernetes import KubernetesOptions
from pipeline.process import Terminated

if TYPE_CHECKING:
    from pipeline.cluster.wait import Ended, Watch

STILL_RUNNING_EXIT = 4


@click.command(epilog=f"{ENVIRONMENT_HELP}\n\n{keys_help()}")
@cluster_options
@run_options(source="tfds")
@click.option(
    "--serving-dir",
    metavar="DIR",
    required=True,
    help="The registry: s3://, gs:// or az://, or an absolute path in a volume of the pods.",
)
@place_options
@click.option(
    "--skip-unchanged",
    is_flag=True,
    help="Ends after ingest where the champion was made of the same reviews, configuration and "
    "image.",
)
@click.option("--cache/--no-cache", default=True, help="Lets KFP take a result from its cache.")
@kubernetes_options
@click.option("--wait", is_flag=True, help="Follows the run to its end.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.IntRange(min=1),
    help="Waits no longer than this; the run goes on.",
)
@click.option("--json", "as_json", is_flag=True, help="Ends with one JSON object on stdout.")
def submit(cluster: ClusterOptions, kubernetes: KubernetesOptions, **options: Any) -> int:
    """Run the pipeline on a Kubeflow Pipelines cluster.

    Uploads the pipeline, unless this version of it is there already, and starts a run. A signal
    ends the wait, never the run.

    Exit status: 0 when the run was started or, with --wait, ended well: the model was pushed, or
    nothing had changed. 1 when the run failed or was canceled, or the cluster can't be reached.
    2 for bad usage or input, before anything was started. 3 for a model that wasn't blessed. 4
    when the wait ended before the run, by --timeout or because the cluster no longer answers.
    """
    if options["timeout"] is not None and not options["wait"]:
        raise click.UsageError("--timeout goes with --wait")
    console = Console(sys.stderr if options["as_json"] else sys.stdout, verbose=False)
    found: dict[str, Any] = {"run_id": None}
    try:
        return _submitted(cluster, kubernetes, options, console, found)
    except (InputError, Failure) as error:
        # `main` says what happened.
        found |= {"error": str(error), "input_error": isinstance(error, InputError)}
        raise
    finally:
        if options["as_json"]:
            click.echo(json.dumps(found, ensure_ascii=False).encode())


def _submitted(
    cluster: ClusterOptions,
    kubernetes: KubernetesOptions,
    options: dict[str, Any],
    console: Console,
    found: dict[str, Any],
) -> int:
    """Starts a run and, where that is wanted, waits for its end; `found` gets what there is."""
    request = _request(cluster, options)
    name = options["run_name"] or default_run_name(options["preset"])

    def compiled() -> bytes:
        from pipeline.cluster.submit import without_cache
        from pipeline.compile import compiled_pipeline

        package = compiled_pipeline(kubernetes)
        return package if options["cache"] else without_cache(package)

    connection, package = begin(
        cluster, request, compiled, pipeline=PIPELINE, name=name, console=console, found=found,
        experiment=options["experiment"], warning=kubernetes.image_warning,
    )  # fmt: skip
    if not options["wait"]:
        return 0
    from pipeline.cluster.pending import pod_reasons
    from pipeline.cluster.submit import task_names
    from pipeline.cluster.wait import Watch

    run_id, link = found["run_id"], found["link"]
    watch = Watch(
        connection, run_id, task_names(package), console, options["timeout"],
        reasons=pod_reasons(connection.namespace),
    )  # fmt: skip
    return _followed(watch, link, found)


def _request(cluster: ClusterOptions, options: dict[str, Any]) -> RunRequest:
    """What is asked for, checked."""
    require_names(options)
    return RunRequest(
        source=options["source"],
        preset=options["preset"],
        config=named_preset(options["preset"]).override(options["overrides"]),
        serving_dir=options["serving_dir"],
        pipeline_root=options["pipeline_root"],
        service_account=options["service_account"],
        skip_unchanged=options["skip_unchanged"],
        ui_url=cluster.shared_ui_url,
    )


def _followed(watch: "Watch", link: str, found: dict[str, Any]) -> int:
    """Waits for the end of a run, and says how it ended."""
    from pipeline.cluster.wait import Outcome, StillRunning

    console = watch.console
    try:
        ended = watch.wait()
    except StillRunning as error:
        console.say_all([f"The wait is over, {error}; the run goes on: {link}"])
        found["outcome"] = "running"
        return STILL_RUNNING_EXIT
    except Terminated:
        with suppress(OSError):
            console.say_all([f"No longer waiting; the run goes on: {link}"])
        found["outcome"] = "running"
        raise
    found |= {"outcome": ended.outcome.value, "tasks": ended.tasks, "reason": ended.reason}
    if ended.outcome is Outcome.NOT_BLESSED:
        console.skipped("push", "NOT_BLESSED")
    console.say_all([_summary(ended, link)])
    if ended.outcome in (Outcome.FAILED, Outcome.CANCELED):
        return FAILURE_EXIT
    return NOT_BLESSED_EXIT if ended.outcome is Outcome.NOT_BLESSED else 0


def _summary(ended: "Ended", link: str) -> str:
    """How a run ended, on one line."""
    if ended.outcome == "failed":
        tasks = ", ".join(ended.failed_tasks)
        said = f" ({printable(ended.reason)})" if ended.reason else ""
        return f"The run failed{f' in {tasks}' if tasks else ''}{said}: {link}"
    return {
        "pushed": "BLESSED: the model is pushed",
        "not blessed": "NOT_BLESSED: the champion stays",
        "unchanged": "Nothing has changed since the champion was made: it stays",
        "canceled": f"The run was canceled: {link}",
        "succeeded": "The run succeeded; of its tasks, KFP says nothing",
    }[ended.outcome]
