"""The image, built, and an engine that runs it; without an engine the tests here are skipped."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import InputError
from components.shared.image import DEFAULT_IMAGE
from pipeline.engine import Engine, connect

ROOT = Path(__file__).parents[2]
NAME = "imdb-pipeline-python-test"


@pytest.fixture(scope="session")
def engine() -> Engine:
    """A Docker engine that answers."""
    try:
        engine = connect()
    except InputError as error:
        pytest.skip(f"containers need a Docker engine: {error}")
    if shutil.which("docker") is None:
        pytest.skip("the image is built by docker's command line, which isn't installed")
    return engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The image of this working tree."""
    built = subprocess.run(
        ["make", "image", f"IMAGE={NAME}", "ARGS="], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]
    return f"{NAME}:{DEFAULT_IMAGE.rpartition(':')[2]}"


@pytest.fixture
def run_image(engine: Engine, image: str) -> Callable[..., tuple[int, str]]:
    """`run_image(*command, volume=None, user=None)`: its exit status and all that it printed.

    The user has no entry in /etc/passwd and the group none in /etc/group, as under containerd.
    """

    def run(*command: str, volume: Path | None = None, user: str | None = None) -> tuple[int, str]:
        created = _created(engine, image, command, volume, user)
        return run_to_end(engine.client.containers.get(created))

    return run


def run_to_end(container: Any) -> tuple[int, str]:
    """Starts a container, waits and removes it; its exit status and all that it printed."""
    try:
        container.start()
        status = container.wait(timeout=1800)["StatusCode"]
        return status, container.logs().decode()
    finally:
        container.remove(force=True, v=True)


def _created(
    engine: Engine, image: str, command: Sequence[str], volume: Path | None, user: str | None
) -> str:
    """The id of a container that isn't started yet."""
    client = engine.client
    if any("Podman" in part["Name"] for part in client.version().get("Components") or ()):
        # Podman adds the user to /etc/passwd, and Docker's API has no word to prevent it.
        mount = {"destination": "/data", "type": "bind", "source": str(volume), "options": ["rw"]}
        specification = {
            "image": client.images.get(image).id,
            "command": list(command),
            "read_only_filesystem": True,
            "user": user or "",
            "mounts": [mount] if volume else [],
            "manage_password": False,
        }
        url = f"{client.api.base_url}/v4.0.0/libpod/containers/create"
        answer = client.api.post(url, json=specification)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["Id"])
    volumes = {str(volume): {"bind": "/data", "mode": "rw"}} if volume else None
    created = client.containers.create(
        image, list(command), read_only=True, user=user, volumes=volumes
    )
    return str(created.id)
