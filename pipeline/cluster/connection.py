"""The way to KFP's API: v2beta1, by the models of kfp-server-api.

`kfp.Client` isn't used: it reads and writes a file of the user's, prints links, takes its options
from the environment unasked, and tries for half a minute before it says that nobody answers.
"""

import json
from dataclasses import dataclass
from typing import Any

import kfp_server_api
import urllib3

from components.shared.errors import Failure, InputError
from pipeline.cluster.errors import NotAnApi, api_errors, old_api
from pipeline.cluster.options import ClusterOptions

_TIMEOUT = (10, 60)
"""Seconds: to connect, and between two bytes of an answer."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The services of one KFP."""

    options: ClusterOptions
    multi_user: bool
    pipelines: Any
    uploads: Any
    experiments: Any
    runs: Any
    recurring_runs: Any

    @property
    def namespace(self) -> str | None:
        """The namespace to ask with; None where KFP has but one user."""
        return self.options.namespace if self.multi_user else None


def connect(options: ClusterOptions) -> Connection:
    """Reaches KFP and finds out whether it has many users.

    Raises:
        InputError: the host or what signs in to it isn't right, no namespace for many users, one
            where there is but one user.
        Failure: nobody answers, or the server fails.
    """
    client = _Client(options)
    with api_errors(options):
        multi_user = _has_many_users(client, options)
    if multi_user and not options.namespace:
        raise InputError(
            f"{options.host}: this KFP has many users; give the namespace of your profile with "
            "--namespace or KFP_NAMESPACE"
        )
    if options.namespace and not multi_user:
        raise InputError(
            f"namespace {options.namespace}: {options.host} has no namespaces to choose from, "
            "being a KFP in single-user mode; leave --namespace and KFP_NAMESPACE out"
        )
    return Connection(
        options=options,
        multi_user=multi_user,
        pipelines=kfp_server_api.PipelineServiceApi(client),
        uploads=kfp_server_api.PipelineUploadServiceApi(client),
        experiments=kfp_server_api.ExperimentServiceApi(client),
        runs=kfp_server_api.RunServiceApi(client),
        recurring_runs=kfp_server_api.RecurringRunServiceApi(client),
    )


def _has_many_users(client: Any, options: ClusterOptions) -> bool:
    try:
        health = kfp_server_api.HealthzServiceApi(client).healthz_service_get_healthz()
    except kfp_server_api.ApiException as error:
        if error.status == 404:
            raise old_api(options) if _speaks_v1(client) else NotAnApi from error
        raise
    if health.multi_user is None:
        # KFP's user interface adds to what the server behind it says, and says this where that is
        # silent.
        if "apiServerReady" in json.loads(client.last_response.data):
            raise Failure(
                f"{options.host}: KFP's user interface answers, and the API server behind it "
                "doesn't; look after the deployment ml-pipeline, or try again later"
            )
        raise NotAnApi
    return bool(health.multi_user)


def _speaks_v1(client: Any) -> bool:
    try:
        answer = client.call_api(
            "/apis/v1beta1/healthz", "GET", response_type="object", _return_http_data_only=True
        )
    except (kfp_server_api.ApiException, NotAnApi):
        return False
    return isinstance(answer, dict) and "tag_name" in answer


class _Client(kfp_server_api.ApiClient):
    """Signs each request, follows no redirection, and refuses answers that aren't JSON."""

    def __init__(self, options: ClusterOptions) -> None:
        configuration = kfp_server_api.Configuration(host=options.host)
        configuration.ssl_ca_cert = options.ca_file and str(options.ca_file)
        # A redirection leads to a sign-in page.
        configuration.retries = urllib3.Retry(total=0, redirect=False)
        super().__init__(configuration, cookie=options.cookie)
        self._options = options

    def request(self, method: str, url: str, **arguments: Any) -> Any:
        headers = dict(arguments.pop("headers", None) or {})
        token = self._options.bearer()
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        arguments["_request_timeout"] = arguments.get("_request_timeout") or _TIMEOUT
        try:
            answer = super().request(method, url, headers=headers, **arguments)
        except kfp_server_api.ApiException as error:
            # Its caller decodes what a proxy may have sent in any encoding, or not at all.
            error.body = (error.body or b"").decode(errors="replace").encode()
            raise
        try:
            json.loads(answer.data)
        except ValueError as error:
            raise NotAnApi from error
        return answer

    def deserialize(self, response: Any, response_type: Any) -> Any:
        try:
            return super().deserialize(response, response_type)
        except (ValueError, TypeError, AttributeError) as error:
            raise NotAnApi from error
