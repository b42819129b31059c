"""The Docker engine behind `run --runner docker`: found, asked, and told what the tasks need."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from components.shared.accelerators import PROMISED_VARIABLE
from components.shared.errors import InputError
from components.shared.image import DEFAULT_IMAGE
from components.shared.uris import local_path
from pipeline.kubernetes import WEBHOOK_VARIABLE
from pipeline.plan import BUILT_IN_SOURCES, RunSpec
from pipeline.runner import Containers

RUN_LABEL = "imdb-pipeline.run"
"""The label of a container that names the run that it belongs to."""

_CONNECT_SECONDS = 60
ANSWER_SECONDS = 300
"""How long the engine may take over a request; on a busy machine, a container takes its time."""

_SHARED_MEMORY = "1g"
# What object stores and proxies are reached by; a task in a container needs it as one in a process.
_STORES_AND_PROXIES = ("AWS_", "AZURE_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PASSED_ON = (*_STORES_AND_PROXIES, WEBHOOK_VARIABLE)
_START = (
    "Start it (Linux: sudo systemctl start docker, and add yourself to the group docker; macOS, "
    "Windows: open Docker Desktop; podman: systemctl --user start podman.socket), or set "
    "DOCKER_HOST to where it listens, or run without --runner docker"
)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers."""

    url: str

    client: docker.DockerClient

    def containers(
        self, run_id: str, image: str, folders: Mapping[Path, str], gpus: bool
    ) -> Containers:
        """What a run needs.

        Args:
            run_id: labels the containers.
            image: the image of every task.
            folders: the mode, "ro" or "rw", of what is mounted under its own path.
            gpus: whether the containers of training get all GPUs, and are promised one at least.
        """
        options = self.client.info().get("SecurityOptions") or []
        # Without root, the engine takes user 0 in a container for the user who runs the engine.
        rootless = any("name=rootless" in option for option in options)
        relabel = ",z" if "name=selinux" in options else ""
        return Containers(
            url=self.url,
            run_id=run_id,
            image=image,
            settings={
                "user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}",
                "read_only": True,
                "shm_size": _SHARED_MEMORY,
                "labels": {RUN_LABEL: run_id},
                "environment": _passed_on(os.environ) | ({PROMISED_VARIABLE: "1"} if gpus else {}),
                **({"device_requests": [_ALL_GPUS]} if gpus else {}),
            },
            volumes={
                str(path): {"bind": str(path), "mode": mode + relabel}
                for path, mode in folders.items()
            },
        )

    def require_image(self, image: str, say: Callable[[str], None]) -> None:
        """Pulls an image that isn't there, having said so.

        Raises:
            InputError: there is no such image.
        """
        try:
            self.client.images.get(image)
        except ImageNotFound as error:
            if image == DEFAULT_IMAGE:
                # Whoever holds that name in a public registry isn't to be trusted with a run.
                raise InputError(
                    f"image {image}: not built yet; build it with `make image`, or name another "
                    "with --image"
                ) from error
            say(f"Pulling {image}")
            self._pull(image)
        except DockerException as error:
            raise InputError(f"image {image}: {reason(error)}; give NAME:TAG") from error

    def _pull(self, image: str) -> None:
        try:
            self.client.api.timeout = None
            self.client.images.pull(image)
        except DockerException as error:
            raise InputError(
                f"image {image}: not on {self.url}, and it can't be pulled ({reason(error)}); "
                "build it with `make image`, or name another with --image"
            ) from error
        finally:
            self.client.api.timeout = ANSWER_SECONDS


_ALL_GPUS = {"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}


def prepare(spec: RunSpec, image: str, gpus: bool, say: Callable[[str], None]) -> Containers:
    """Finds the engine and the image of a run, and says how its containers are made.

    Args:
        spec: the run.
        image: the image of every task; pulled if it isn't there.
        gpus: whether the containers of training get all GPUs.
        say: tells the user what takes a while.

    Raises:
        InputError: no engine answers, there is no such image, or a folder can't be mounted.
    """
    folders = {}
    if spec.source not in BUILT_IN_SOURCES and (source := local_path(spec.source)):
        folders[source] = "ro"
    if serving_dir := local_path(spec.serving_dir):
        folders[serving_dir] = "rw"
    require_mountable([*folders, spec.run_dir])
    engine = connect()
    engine.require_image(image, say)
    return engine.containers(spec.run_id, image, folders, gpus)


def connect() -> Engine:
    """Finds the engine: at DOCKER_HOST, else at the sockets that Docker and podman are known by.

    Raises:
        InputError: none answers; the message says what was tried.
    """
    tried = []
    for url in _addresses(os.environ):
        try:
            environment = {**os.environ, "DOCKER_HOST": url}
            client = docker.from_env(timeout=_CONNECT_SECONDS, environment=environment)
            client.ping()
        except (DockerException, OSError, ValueError) as error:
            tried.append(f"{url} ({reason(error)})")
        else:
            client.api.timeout = ANSWER_SECONDS
            return Engine(url, client)
    raise InputError(f"no Docker answers; tried {', '.join(tried)}. {_START}")


def reason(error: BaseException) -> str:
    """Why Docker couldn't be asked or refused, in a few words."""
    if isinstance(error, APIError) and error.explanation:
        return " ".join(str(error.explanation).split())
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        nested = [item for item in cause.args if isinstance(item, BaseException)]
        cause = nested[0] if nested else (cause.__cause__ or cause.__context__)
    return " ".join(str(error).split()) or type(error).__name__


def remove_containers(url: str, run_id: str) -> None:
    """Ends and removes the containers of a run, if an engine still answers."""
    with suppress(DockerException, OSError):
        environment = {**os.environ, "DOCKER_HOST": url}
        client = docker.from_env(timeout=ANSWER_SECONDS, environment=environment)
        for container in client.containers.list(
            all=True, filters={"label": f"{RUN_LABEL}={run_id}"}, ignore_removed=True
        ):
            with suppress(DockerException, OSError):
                # Removal alone would wait for the task to end by itself.
                container.kill()
            with suppress(DockerException, OSError):
                container.remove(force=True, v=True)


def require_mountable(paths: Iterable[Path]) -> None:
    """Refuses paths that Docker can't mount.

    Raises:
        InputError: a path holds a colon.
    """
    for path in paths:
        if ":" in str(path):
            raise InputError(f"{path}: Docker can't mount a path with a colon; give another")


def _addresses(environment: Mapping[str, str]) -> list[str]:
    if host := environment.get("DOCKER_HOST"):
        return [host]
    home = Path(environment.get("HOME", "/"))
    sockets = [
        Path("/var/run/docker.sock"),
        home / ".docker/run/docker.sock",
        home / ".docker/desktop/docker.sock",
        Path("/run/podman/podman.sock"),
    ]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        sockets[1:1] = [Path(runtime) / "docker.sock", Path(runtime) / "podman/podman.sock"]
    return [f"unix://{path}" for path in sockets]


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables by which object stores, proxies and the webhook are found."""
    return {
        name: value for name, value in environment.items() if name.upper().startswith(_PASSED_ON)
    }
