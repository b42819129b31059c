"""A stand-in for the API server of Kubeflow Pipelines, which needs a cluster.

It keeps what it is given in memory and runs nothing: a test says which states a run goes through.
It speaks v2beta1 through the models of kfp-server-api: a request that they don't know in every
field is refused, and each answer is made with them. Its errors have the words and statuses of the
real server (backend/src/apiserver, and grpc-gateway). Where it falls short of the real one, tests
in tests/cluster say so: those talk to the server that KFP_HOST names.
"""

import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api
import pytest
import yaml

_MODELS = kfp_server_api.ApiClient()
_LOGIN = b"<!DOCTYPE html><html><title>dex</title><form action=/dex/auth/local></form></html>"


class _Refused(Exception):
    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def _not_found(kind: str, name: str) -> _Refused:
    return _Refused(404, 5, f"ResourceNotFoundError: {kind} {name} not found.")


def _invalid(message: str) -> _Refused:
    return _Refused(400, 3, f"InvalidInputError: {message}")


@dataclass
class KfpServer:
    """What the server holds, and how a test has it behave."""

    url: str = ""

    multi_user: bool = False

    namespaces: set[str] = field(default_factory=lambda: {"team-a", "team-b"})
    """Those that exist, where there are many users."""

    token: str | None = None
    """The bearer token that it asks for."""

    cookie: str | None = None
    """The cookie that it asks for, `NAME=VALUE`."""

    sign_in: str = ""
    """What who isn't signed in gets: '' for 401, 'page' for HTML, 'redirect' for the way to it."""

    forbidden: bool = False
    """Whether a user who is signed in may do nothing."""

    failures: int = 0
    """So many of the next requests get 503."""

    v1_only: bool = False
    """Whether it is of KFP 1."""

    html: bool = False
    """Whether it is a web site, and no KFP."""

    rejected: str | None = None
    """Why it takes no pipeline version."""

    before_upload: Callable[[], None] = lambda: None
    """Called when a version has arrived and isn't kept yet: another client's may come before it."""

    page_limit: int = 2
    """The most that one page of a list has."""

    progress: list[dict[str, Any]] = field(default_factory=list)
    """What each request for a run adds to it: fields of a run, of which `tasks` maps the name of a
    task to its state. The last stays."""

    on_get_run: Callable[[], None] = lambda: None
    """Called at each request for a run."""

    before_request: Callable[[str, str], None] = lambda method, path: None
    """Called with the method and path of each request before it is answered."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    """The time at which recurring runs are made."""

    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """The method, path and headers of each request."""

    pipelines: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    recurring_runs: dict[str, Any] = field(default_factory=dict)

    packages: dict[str, bytes] = field(default_factory=dict)
    """What was uploaded, by the id of its version."""

    lock: Any = field(default_factory=threading.Lock)

    def asked(self, method: str, path: str) -> int:
        """How often that was asked for, without the query."""
        return sum((m, urlsplit(p).path) == (method, path) for m, p, _ in self.requests)

    def get(self, kind: str, store: dict[str, Any], identity: str) -> Any:
        """One resource of a kind."""
        if identity not in store:
            raise _not_found(kind, identity)
        return store[identity]

    def allow(self, namespace: str | None) -> None:
        """Checks the namespace of a request as the access review of the real server does."""
        if self.multi_user and not namespace:
            raise _invalid("Namespace should not be empty in multi-user mode")
        if self.multi_user and namespace not in self.namespaces:
            raise _Refused(
                403,
                7,
                "PermissionDenied: User 'user@example.com' is not authorized with reason: "
                f'(request: &ResourceAttributes{{Namespace:{namespace},Verb:list,}}): "'
                "Unauthorized access",
            )

    def listed(self, store: dict[str, Any], plural: str, model: Any, query: dict[str, str]) -> Any:
        """A page of what there is, newest last, by the filter of the query."""
        chosen = [item for item in _all(store) if _matches(item, query)]
        if query.get("sort_by") == "created_at desc":
            chosen.sort(key=lambda item: item.created_at, reverse=True)
        start = int(query.get("page_token") or 0)
        size = min(int(query.get("page_size") or self.page_limit), self.page_limit)
        more = str(start + size) if start + size < len(chosen) else None
        page = {plural: chosen[start : start + size]} if chosen[start:] else {}
        return model(**page, total_size=len(chosen), next_page_token=more)

    def pipeline_named(self, name: str, query: dict[str, str]) -> Any:
        namespace = query.get("namespace") if self.multi_user else None
        for item in self.pipelines.values():
            if (item.name, item.namespace) == (name, namespace):
                return item
        raise _not_found("Pipeline", name)

    def create_pipeline(self, item: Any) -> Any:
        if self.multi_user:
            self.allow(item.namespace)
        if any((p.name, p.namespace) == (item.name, item.namespace) for p in _all(self.pipelines)):
            raise _Refused(
                409, 6, f"Already exist error: The pipeline name {item.name} already exists"
            )
        item.pipeline_id, item.created_at = str(uuid.uuid4()), _now()
        item.display_name = item.display_name or item.name
        return self.pipelines.setdefault(item.pipeline_id, item)

    def upload_version(self, query: dict[str, str], content: bytes) -> Any:
        self.before_upload()
        if self.rejected is not None:
            raise _Refused(400, 0, self.rejected)
        pipeline = self.get("Pipeline", self.pipelines, query.get("pipelineid", ""))
        spec = next(yaml.safe_load_all(content))
        if not isinstance(spec, dict) or not {"pipelineInfo", "root", "schemaVersion"} <= set(spec):
            raise _Refused(400, 0, "Failed to create a pipeline version: unknown template format")
        name = query.get("name") or query.get("display_name")
        with self.lock:
            mine = [v for v in _all(self.versions) if v.pipeline_id == pipeline.pipeline_id]
            if any(version.name == name for version in mine):
                raise _Refused(409, 0, "Failed to create a pipeline version")
            version = kfp_server_api.V2beta1PipelineVersion(
                pipeline_id=pipeline.pipeline_id,
                pipeline_version_id=str(uuid.uuid4()),
                name=name,
                display_name=query.get("display_name") or name,
                description=query.get("description"),
                created_at=_now(),
                pipeline_spec=spec,
            )
            self.packages[version.pipeline_version_id] = content
            return self.versions.setdefault(version.pipeline_version_id, version)

    def create_experiment(self, item: Any) -> Any:
        self.allow(item.namespace)
        same = (item.display_name, item.namespace)
        if any((e.display_name, e.namespace) == same for e in _all(self.experiments)):
            raise _Refused(409, 6, f"Already exist error: The name {same[0]} already exists")
        item.experiment_id, item.created_at = str(uuid.uuid4()), _now()
        item.storage_state = "AVAILABLE"
        return self.experiments.setdefault(item.experiment_id, item)

    def create_run(self, item: Any) -> Any:
        self.check_work(item)
        item.run_id, item.created_at, item.state = str(uuid.uuid4()), _now(), "PENDING"
        item.storage_state = "AVAILABLE"
        item.finished_at = datetime.fromtimestamp(0, UTC)
        return self.runs.setdefault(item.run_id, item)

    def get_run(self, run_id: str) -> Any:
        run = self.get("Run", self.runs, run_id)
        self.on_get_run()
        if self.progress:
            step = self.progress[0] if len(self.progress) == 1 else self.progress.pop(0)
            _advance(run, step)
        return run

    def create_recurring_run(self, item: Any) -> Any:
        self.check_work(item)
        cron = item.trigger and item.trigger.cron_schedule
        if cron is not None and len((cron.cron or "").split()) not in (5, 6):
            raise _invalid(f"Schedule cron is not a supported format: {cron.cron}")
        if not 1 <= int(item.max_concurrency or 0) <= 10:
            raise _invalid(
                "Max concurrency of a recurring run must be at least 1 and at most 10. Received "
                f"{item.max_concurrency}"
            )
        item.recurring_run_id = str(uuid.uuid4())
        item.created_at = self.clock().replace(microsecond=0)
        item.updated_at = item.created_at
        item.namespace = self.experiments[item.experiment_id].namespace
        item.service_account = item.service_account or "pipeline-runner"
        item.mode = item.mode or "DISABLE"
        item.status = "ENABLED" if item.mode == "ENABLE" else "DISABLED"
        return self.recurring_runs.setdefault(item.recurring_run_id, item)

    def check_work(self, item: Any) -> None:
        """Checks what a run and a recurring run have in common."""
        if not item.display_name:
            raise _invalid("The run name is empty. Please specify a valid name")
        experiment = self.get("Experiment", self.experiments, item.experiment_id or "")
        self.allow(experiment.namespace)
        if experiment.storage_state == "ARCHIVED":
            raise _Refused(400, 9, "Failed precondition: the experiment is archived")
        reference = item.pipeline_version_reference
        if reference is None:
            raise _invalid("Failed to parse the pipeline source")
        version = self.versions.get(reference.pipeline_version_id)
        if version is None:
            raise _Refused(
                500,
                13,
                "Failed to create a new run: InternalServerError: Failed to get a pipeline version "
                f"with id {reference.pipeline_version_id}: ResourceNotFoundError: PipelineVersion "
                f"{reference.pipeline_version_id} not found",
            )
        known = version.pipeline_spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = (item.runtime_config and item.runtime_config.parameters) or {}
        if unknown := [name for name in given if name not in known]:
            raise _invalid(
                f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}"
            )
        if missing := [
            name
            for name, parameter in known.items()
            if name not in given and "defaultValue" not in parameter
        ]:
            raise _invalid(
                f"parameter {missing[0]} is not optional, yet has neither default value nor user "
                "provided value"
            )


def _now() -> datetime:
    return datetime.now(UTC)


def _all(store: dict[str, Any]) -> list[Any]:
    return list(store.values())


def _matches(item: Any, query: dict[str, str]) -> bool:
    for key in ("namespace", "experiment_id", "pipeline_id"):
        if query.get(key) and getattr(item, key, None) != query[key]:
            return False
    predicates = json.loads(query.get("filter") or "{}").get("predicates", [])
    for predicate in predicates:
        if predicate["operation"] not in ("EQUALS", 1):
            raise _invalid(f"Unsupported operation {predicate['operation']}")
        value = predicate.get("string_value", predicate.get("stringValue"))
        if predicate["key"] not in (
            "name", "display_name", "pipeline_id", "storage_state", "recurring_run_id",
        ):  # fmt: skip
            raise _invalid(f"no support for filtering on unrecognized field {predicate['key']}")
        key = predicate["key"] if hasattr(item, predicate["key"]) else "display_name"
        if getattr(item, key) != value:
            return False
    return True


def _advance(run: Any, step: dict[str, Any]) -> None:
    """Puts a run into the states of one step."""
    run.state = step.get("state", run.state)
    if "error" in step:
        run.error = kfp_server_api.GoogleRpcStatus(code=13, message=step["error"])
    details = run.run_details or kfp_server_api.V2beta1RunDetails(task_details=[])
    known = {task.display_name: task for task in details.task_details}
    for name, state in step.get("tasks", {}).items():
        if name not in known:
            known[name] = kfp_server_api.V2beta1PipelineTaskDetail(
                run_id=run.run_id,
                task_id=str(uuid.uuid4()),
                display_name=name,
                start_time=run.created_at,
                # What hasn't ended has the zero of Unix time here.
                end_time=datetime.fromtimestamp(0, UTC),
            )
        known[name].state = state
        if state not in ("PENDING", "RUNNING"):
            known[name].end_time = run.created_at + timedelta(seconds=75)
    details.task_details = list(known.values())
    run.run_details = details


_Action = Callable[[KfpServer, re.Match[str], dict[str, str], Any], Any]


def _set_status(server: KfpServer, match: re.Match[str]) -> dict[str, Any]:
    item = server.get("RecurringRun", server.recurring_runs, match[1])
    item.mode, item.updated_at = match[2].upper(), _now()
    item.status = f"{item.mode}D"
    return {}


def _delete(server: KfpServer, match: re.Match[str]) -> dict[str, Any]:
    server.get("RecurringRun", server.recurring_runs, match[1])
    del server.recurring_runs[match[1]]
    # Kubernetes collects the workflows with the ScheduledWorkflow that owns them.
    for run in _all(server.runs):
        if run.recurring_run_id == match[1] and run.state in ("PENDING", "RUNNING"):
            run.state = "FAILED"
    return {}


def _list(kind: str, plural: str, response: str, namespaced: bool = True) -> _Action:
    def act(server: KfpServer, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
        if namespaced and not query.get("experiment_id"):
            server.allow(query.get("namespace"))
        if not namespaced:
            query = {**query, "pipeline_id": match[1]}
        store = getattr(server, kind)
        return server.listed(store, plural, getattr(kfp_server_api, response), query)

    return act


_ROUTES: list[tuple[str, str, str | None, _Action]] = [
    (
        "GET",
        "healthz",
        None,
        lambda s, m, q, b: kfp_server_api.V2beta1GetHealthzResponse(multi_user=s.multi_user),
    ),
    ("GET", "pipelines/names/([^/]+)", None, lambda s, m, q, b: s.pipeline_named(unquote(m[1]), q)),
    ("POST", "pipelines", "V2beta1Pipeline", lambda s, m, q, b: s.create_pipeline(b)),
    (
        "GET",
        "pipelines/([^/]+)/versions",
        None,
        _list("versions", "pipeline_versions", "V2beta1ListPipelineVersionsResponse", False),
    ),
    (
        "GET",
        "pipelines/[^/]+/versions/([^/]+)",
        None,
        lambda s, m, q, b: s.get("PipelineVersion", s.versions, m[1]),
    ),
    (
        "GET",
        "pipelines/([^/]+)",
        None,
        lambda s, m, q, b: s.get("Pipeline", s.pipelines, m[1]),
    ),
    ("POST", "pipelines/upload_version", "file", lambda s, m, q, b: s.upload_version(q, b)),
    (
        "GET",
        "experiments",
        None,
        _list("experiments", "experiments", "V2beta1ListExperimentsResponse"),
    ),
    (
        "GET",
        "experiments/([^/]+)",
        None,
        lambda s, m, q, b: s.get("Experiment", s.experiments, m[1]),
    ),
    ("POST", "experiments", "V2beta1Experiment", lambda s, m, q, b: s.create_experiment(b)),
    ("POST", "runs", "V2beta1Run", lambda s, m, q, b: s.create_run(b)),
    ("GET", "runs", None, _list("runs", "runs", "V2beta1ListRunsResponse")),
    ("GET", "runs/([^/:]+)", None, lambda s, m, q, b: s.get_run(m[1])),
    (
        "POST",
        "recurringruns",
        "V2beta1RecurringRun",
        lambda s, m, q, b: s.create_recurring_run(b),
    ),
    (
        "GET",
        "recurringruns",
        None,
        _list("recurring_runs", "recurring_runs", "V2beta1ListRecurringRunsResponse"),
    ),
    (
        "GET",
        "recurringruns/([^/:]+)",
        None,
        lambda s, m, q, b: s.get("RecurringRun", s.recurring_runs, m[1]),
    ),
    (
        "POST",
        "recurringruns/([^/:]+):(enable|disable)",
        None,
        lambda s, m, q, b: _set_status(s, m),
    ),
    ("DELETE", "recurringruns/([^/:]+)", None, lambda s, m, q, b: _delete(s, m)),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    held: KfpServer

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        server = self.held
        server.requests.append((self.command, self.path, dict(self.headers.items())))
        try:
            server.before_request(self.command, urlsplit(self.path).path)
            if not self._met(server):
                self._send_json(200, self._act(server, body))
        except _Refused as error:
            self._send_json(error.status, _error_body(error, urlsplit(self.path).path))

    def _met(self, server: KfpServer) -> bool:
        """Answers, where something before KFP does; else says that nothing has."""
        signed = server.token is None or (
            self.headers.get("authorization") == f"Bearer {server.token}"
        )
        if server.cookie is not None:
            signed = signed and self.headers.get("cookie") == server.cookie
        if server.failures > 0:
            server.failures -= 1
            self._send(503, "text/plain", b"upstream connect error or disconnect/reset")
        elif server.html:
            found = urlsplit(self.path).path == "/"
            self._send(200 if found else 404, "text/html", b"<html>A shop</html>")
        elif not signed and server.sign_in == "page":
            self._send(200, "text/html; charset=utf-8", _LOGIN)
        elif not signed and server.sign_in == "redirect":
            self._send(302, "text/html", b"", location="/dex/auth?client_id=oidc&state=s3cret")
        elif not signed:
            self._send(401, "text/plain", b"RBAC: access denied")
        elif server.forbidden:
            self._send(403, "text/plain", b"RBAC: access denied")
        else:
            return False
        return True

    def _act(self, server: KfpServer, body: bytes) -> Any:
        path = urlsplit(self.path).path
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if server.v1_only and path == "/apis/v1beta1/healthz":
            return {"commit_sha": "unknown", "tag_name": "1.8.5", "multi_user": False}
        for method, pattern, model, act in _ROUTES:
            match = re.fullmatch(f"/apis/v2beta1/{pattern}", path)
            if match and method == self.command and not server.v1_only:
                return act(server, match, query, self._given(model, body))
        raise _Refused(404, 5, "Not Found")

    def _given(self, model: str | None, body: bytes) -> Any:
        if model is None:
            return None
        if model == "file":
            return body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        item = _MODELS.deserialize(SimpleNamespace(data=body), model)
        known = _MODELS.sanitize_for_serialization(item)
        for name in set(json.loads(body)) - set(known):
            raise _Refused(400, 3, f'proto: (line 1:2): unknown field "{name}"')
        return item

    def _send_json(self, status: int, answer: Any) -> None:
        content = json.dumps(_MODELS.sanitize_for_serialization(answer)).encode()
        self._send(status, "application/json", content)

    def _send(self, status: int, kind: str, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {
            "content-type": kind,
            "content-length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a client that doesn't trust the certificate breaks off."""


def _error_body(error: _Refused, path: str) -> dict[str, Any]:
    if path.endswith("/upload_version"):
        return {"error_message": error.message, "error_details": error.message}
    return {
        "error": error.message,
        "code": error.code,
        "message": error.message,
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.Status",
                "code": error.code,
                "message": error.message.partition(": ")[2] or error.message,
            }
        ],
    }


@pytest.fixture
def start_kfp() -> Iterator[Callable[..., KfpServer]]:
    """`start_kfp(certificate=None)`: a server; with (certificate, key), two files, over TLS."""
    servers: list[ThreadingHTTPServer] = []

    def start(certificate: tuple[Path, Path] | None = None) -> KfpServer:
        held = KfpServer()
        handler = type("Handler", (_Handler,), {"held": held})
        server = _Server(("127.0.0.1", 0), handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        held.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return held

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def kfp_server(start_kfp: Callable[..., KfpServer]) -> KfpServer:
    """A server that asks nobody to sign in."""
    return start_kfp()
