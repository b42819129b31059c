"""The image, built, and an engine that runs it; without an engine the tests here are skipped."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import InputError
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
    return f"{NAME}:latest"


@pytest.fixture
def run_image(engine: Engine, image: str) -> Callable[..., tuple[int, str]]:
    """`run_image(*command, volume=None, user=None)`: its exit status and all that it printed."""

    def run(*command: str, volume: Path | None = None, user: str | None = None) -> tuple[int, str]:
        container = engine.client.containers.create(
            image,
            list(command),
            read_only=True,
            user=user,
            volumes={str(volume): {"bind": "/data", "mode": "rw"}} if volume else None,
        )
        try:
            container.start()
            status = container.wait(timeout=300)["StatusCode"]
            return status, container.logs().decode()
        finally:
            container.remove(force=True, v=True)

    return run
