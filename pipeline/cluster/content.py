"""What a run needs to be there already: the pipeline, its version, an experiment."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import kfp_server_api

from components.shared.errors import InputError
from pipeline.cluster.connection import Connection
from pipeline.cluster.errors import api_errors, server_reason
from pipeline.cluster.request import PIPELINE

_DESCRIPTION = "Raw movie reviews to a served sentiment model."
_DIGITS = 16
"""Of the SHA-256 in the name of a version."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the pipeline on the cluster."""

    pipeline_id: str
    version_id: str
    name: str

    made: bool
    """Whether it wasn't there before."""


def version_name(package: bytes) -> str:
    """The name of a compiled pipeline's version: the same content, the same name."""
    return f"sha256-{hashlib.sha256(package).hexdigest()[:_DIGITS]}"


def uploaded(connection: Connection, package: bytes, pipeline: str = PIPELINE) -> Version:
    """The version with the content of a compiled pipeline, made if it isn't there.

    Args:
        connection: to the server.
        package: the compiled pipeline.
        pipeline: what it is called.

    Raises:
        InputError: the server refuses the pipeline, or the user may not add one.
        Failure: nobody answers, or the server fails.
    """
    name = version_name(package)
    pipeline_id, _ = _found_or_made(
        connection,
        lambda: _pipeline(connection, pipeline),
        lambda: (
            connection.pipelines.pipeline_service_create_pipeline(
                kfp_server_api.V2beta1Pipeline(
                    name=pipeline,
                    display_name=pipeline,
                    description=_DESCRIPTION,
                    namespace=connection.namespace,
                )
            ).pipeline_id
        ),
    )
    version_id, made = _found_or_made(
        connection,
        lambda: _version(connection, pipeline_id, name),
        lambda: _upload(connection, pipeline_id, name, package),
    )
    return Version(pipeline_id, version_id, name, made)


def experiment(connection: Connection, name: str) -> str:
    """The id of the experiment of that name, which is made if it isn't there.

    Raises:
        InputError: it is archived, or the user may not add one.
        Failure: nobody answers, or the server fails.
    """

    def make() -> str:
        wanted = kfp_server_api.V2beta1Experiment(display_name=name, namespace=connection.namespace)
        made = connection.experiments.experiment_service_create_experiment(wanted)
        return str(made.experiment_id)

    return _found_or_made(connection, lambda: _experiment(connection, name), make)[0]


def equals(key: str, value: str) -> str:
    """The filter of a list: those of which a field has the value."""
    predicate = {"operation": "EQUALS", "key": key, "string_value": value}
    return json.dumps({"predicates": [predicate]})


def _found_or_made(
    connection: Connection, find: Callable[[], str | None], make: Callable[[], str]
) -> tuple[str, bool]:
    """An id, and whether what has it was made for it; two that make it at once get the same one."""
    with api_errors(connection.options):
        found = find()
        if found is not None:
            return found, False
        try:
            return make(), True
        except kfp_server_api.ApiException:
            # Servers differ in how they say that it is there by now.
            found = find()
            if found is None:
                raise
            return found, False


def _pipeline(connection: Connection, name: str) -> str | None:
    scope = {"namespace": connection.namespace} if connection.namespace else {}
    try:
        found = connection.pipelines.pipeline_service_get_pipeline_by_name(name, **scope)
    except kfp_server_api.ApiException as error:
        if error.status == 404 and server_reason(error.body) is not None:
            return None
        raise
    return str(found.pipeline_id)


def _version(connection: Connection, pipeline_id: str, name: str) -> str | None:
    answer = connection.pipelines.pipeline_service_list_pipeline_versions(
        pipeline_id, filter=equals("name", name)
    )
    found = answer.pipeline_versions or []
    return str(found[0].pipeline_version_id) if found else None


def _upload(connection: Connection, pipeline_id: str, name: str, package: bytes) -> str:
    made = connection.uploads.api_client.call_api(
        "/apis/v2beta1/pipelines/upload_version",
        "POST",
        query_params=[("name", name), ("display_name", name), ("pipelineid", pipeline_id)],
        header_params={"Accept": "application/json", "Content-Type": "multipart/form-data"},
        # The generated method takes the path of a file alone.
        post_params=[("uploadfile", (f"{PIPELINE}.yaml", package, "application/yaml"))],
        response_type="V2beta1PipelineVersion",
        _return_http_data_only=True,
    )
    return str(made.pipeline_version_id)


def _experiment(connection: Connection, name: str) -> str | None:
    scope = {"namespace": connection.namespace} if connection.namespace else {}
    answer = connection.experiments.experiment_service_list_experiments(
        filter=equals("display_name", name), **scope
    )
    for found in answer.experiments or []:
        if found.storage_state == "ARCHIVED":
            raise InputError(f"experiment {name}: is archived; restore it, or name another")
        return str(found.experiment_id)
    return None
