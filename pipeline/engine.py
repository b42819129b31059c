"""The Docker engine behind `run --runner docker`: found, asked, and told what the tasks need."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote, urlsplit

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from components.shared.errors import InputError
from components.shared.image import DEFAULT_IMAGE

RUN_LABEL = "imdb-pipeline.run"
"""The label of a container that names the run that it belongs to."""

_CONNECT_SECONDS = 10
_SHARED_MEMORY = "1g"
# What object stores and proxies are reached by; a task in a container needs it as one in a process.
_PASSED_ON = ("AWS_", "AZURE_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_START = (
    "Start it (Linux: sudo systemctl start docker, and add yourself to the group docker; macOS, "
    "Windows: open Docker Desktop; podman: systemctl --user start podman.socket), or set "
    "DOCKER_HOST to where it listens, or run without --runner docker"
)


class Containers(TypedDict):
    """How the containers of a run are made, as JSON values."""

    url: str
    """Where the engine listens."""

    image: str

    settings: dict[str, Any]
    """Keyword arguments of docker-py's `containers.create`."""

    volumes: dict[str, dict[str, str]]
    """What is mounted beside KFP's own folders: by path, docker-py's `bind` and `mode`."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers."""

    url: str

    client: docker.DockerClient

    def containers(self, run_id: str, image: str, folders: Mapping[Path, str], gpus: bool) -> Containers:
        """What a run needs.

        Args:
            run_id: labels the containers.
            image: the image of every task.
            folders: the mode, "ro" or "rw", of what is mounted under its own path.
            gpus: whether the containers get all GPUs.

        Raises:
            InputError: Docker can't mount one of the folders.
        """
        options = self.client.info().get("SecurityOptions") or []
        # Without root, the engine takes user 0 in a container for the user who runs the engine.
        rootless = any("name=rootless" in option for option in options)
        relabel = ",z" if "name=selinux" in options else ""
        require_mountable(folders)
        return Containers(
            url=self.url,
            image=image,
            settings={
                "user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}",
                "read_only": True,
                "shm_size": _SHARED_MEMORY,
                "labels": {RUN_LABEL: run_id},
                "environment": _passed_on(os.environ),
                **({"device_requests": [_ALL_GPUS]} if gpus else {}),
            },
            volumes={
                str(path): {"bind": str(path), "mode": mode + relabel}
                for path, mode in folders.items()
            },
        )

    def require_image(self, image: str) -> None:
        """Pulls an image that isn't there.

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
            self.client.api.timeout = _CONNECT_SECONDS


_ALL_GPUS = {"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}


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
        client = docker.from_env(
            timeout=_CONNECT_SECONDS, environment={**os.environ, "DOCKER_HOST": url}
        )
        for container in client.containers.list(
            all=True, filters={"label": f"{RUN_LABEL}={run_id}"}, ignore_removed=True
        ):
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


def local_path(location: str) -> Path | None:
    """The path of a location on this machine, None for a location elsewhere."""
    if location.startswith("file://"):
        return Path(unquote(urlsplit(location).path))
    return None if "://" in location else Path(location)


@contextmanager
def present(folder: Path) -> Iterator[None]:
    """Makes a folder, which Docker would make as root; removes it if nothing was put there.

    Raises:
        OSError: it can't be made.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


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
    """The variables that object stores and proxies are configured by."""
    return {
        name: value for name, value in environment.items() if name.upper().startswith(_PASSED_ON)
    }
