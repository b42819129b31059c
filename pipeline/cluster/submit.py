"""Starts a run."""

from collections.abc import Iterable
from typing import Any

import kfp_server_api
import yaml

from pipeline.cluster.connection import Connection
from pipeline.cluster.content import Version
from pipeline.cluster.errors import api_errors
from pipeline.cluster.request import RunRequest
from pipeline.compile import as_yaml


def start(
    connection: Connection, version: Version, experiment_id: str, name: str, request: RunRequest
) -> str:
    """Starts a run of a version of the pipeline, and gives its id.

    Raises:
        InputError: the server refuses it, for the reason it gives.
        Failure: nobody answers, or the server fails.
    """
    run = kfp_server_api.V2beta1Run(
        display_name=name,
        experiment_id=experiment_id,
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(
            parameters=request.arguments(), pipeline_root=request.pipeline_root
        ),
        service_account=request.service_account,
    )
    with api_errors(connection.options):
        return str(connection.runs.run_service_create_run(run).run_id)


def without_cache(package: bytes) -> bytes:
    """A compiled pipeline none of whose tasks takes its outputs from KFP's cache."""
    pipeline, *platform = yaml.safe_load_all(package)
    for task in _tasks(pipeline).values():
        if "cachingOptions" in task:
            task["cachingOptions"] = {}
    return as_yaml([pipeline, *platform])


def task_names(package: bytes) -> dict[str, str]:
    """The tasks that run a container, in the order of the definition, by what KFP may call them.

    A server names a task by its key in the compiled pipeline or by its display name.
    """
    pipeline = next(iter(yaml.safe_load_all(package)))
    components = pipeline["components"]
    found = {}
    for key, task in _tasks(pipeline).items():
        if "executorLabel" in components[task["componentRef"]["name"]]:
            found[key] = key
            found[task["taskInfo"]["name"]] = key
    return found


def _tasks(pipeline: dict[str, Any]) -> dict[str, Any]:
    bodies: Iterable[dict[str, Any]] = [pipeline["root"], *pipeline["components"].values()]
    return {
        key: task for body in bodies for key, task in body.get("dag", {}).get("tasks", {}).items()
    }
