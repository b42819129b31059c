"""The command `submit-sweep`: a search for a better configuration, on a cluster."""

import json
import sys
from typing import Any

import click

from components.shared.errors import Failure, InputError
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.request import SWEEP_PIPELINE, SweepRequest, default_run_name
from pipeline.commands.cluster import ENVIRONMENT_HELP, cluster_options
from pipeline.commands.kubernetes import kubernetes_options
from pipeline.commands.options import keys_help, run_options
from pipeline.commands.start import begin, place_options, require_names
from pipeline.commands.sweep import require_search, search_options
from pipeline.config import preset as named_preset
from pipeline.console import Console
from pipeline.kubernetes import KubernetesOptions

_REGISTRY = "/kfp-workspace/serving"
"""Where ingest finds no champion: a sweep knows none, and makes none."""


@click.command("submit-sweep", epilog=f"{ENVIRONMENT_HELP}\n\n{keys_help()}")
@cluster_options
@search_options
@run_options(source="tfds")
@place_options
@kubernetes_options
@click.option("--json", "as_json", is_flag=True, help="Ends with one JSON object on stdout.")
def submit_sweep(
    cluster: ClusterOptions, kubernetes: KubernetesOptions, as_json: bool, **options: Any
) -> int:
    """Search for a better configuration, on a Kubeflow Pipelines cluster.

    Starts a run in which a loop trains the trials of `sweep`, each in a pod that is given what
    train is given. Its last task, compare, has the table and the plot. With --parallelism above 1
    the workspace must be of a storage class that has ReadWriteMany.

    Exit status: 0 when the run was started, 1 when the cluster can't be reached, 2 for bad usage or
    input.
    """
    require_search(options["search"])
    console = Console(sys.stderr if as_json else sys.stdout, verbose=False)
    found: dict[str, Any] = {"run_id": None}
    try:
        _start(cluster, kubernetes, options, console, found)
    except (InputError, Failure) as error:
        # `main` says what happened.
        found |= {"error": str(error), "input_error": isinstance(error, InputError)}
        raise
    finally:
        if as_json:
            click.echo(json.dumps(found, ensure_ascii=False).encode())
    return 0


def _start(
    cluster: ClusterOptions,
    kubernetes: KubernetesOptions,
    options: dict[str, Any],
    console: Console,
    found: dict[str, Any],
) -> None:
    """Draws the trials and starts the run; `found` gets what there is."""
    require_names(options)
    # It takes its time to import.
    from pipeline.sweep.space import parse_space, sample, trials

    config = named_preset(options["preset"]).override(options["overrides"])
    drawn = sample(parse_space(options["search"], config), options["count"], options["seed"])
    request = SweepRequest(
        source=options["source"],
        preset=options["preset"],
        config=config,
        serving_dir=_REGISTRY,
        pipeline_root=options["pipeline_root"],
        service_account=options["service_account"],
        trials=trials(drawn, config.train),
    )

    def compiled() -> bytes:
        from pipeline.compile import compiled_sweep

        return compiled_sweep(options["parallelism"], kubernetes)

    found["trials"] = len(drawn)
    name = options["run_name"] or default_run_name(options["preset"], SWEEP_PIPELINE)
    begin(
        cluster, request, compiled, pipeline=SWEEP_PIPELINE, name=name, console=console,
        found=found, experiment=options["experiment"], warning=kubernetes.image_warning,
    )  # fmt: skip
