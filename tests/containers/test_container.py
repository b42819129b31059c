"""One container of KFP's: how it ends, and what is said of it."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from pipeline.container import run_container
from pipeline.engine import Engine

LABEL = "imdb-pipeline.test"


@pytest.fixture
def run(engine: Engine, image: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(script: str, *arguments: str, **settings: Any) -> tuple[int, str]:
        command = ["sh", "-c", script, *arguments]
        status = run_container(engine.client, image, command, {}, **settings)
        return status, capsys.readouterr().out

    return run


def declared(folder: Path) -> str:
    """What KFP tells a task of its outputs."""
    artifact = {"type": {"schemaTitle": "system.Dataset"}, "uri": str(folder / "product")}
    metrics = {"type": {"schemaTitle": "system.Metrics"}, "uri": str(folder / "metrics")}
    artifacts = {"product": {"artifacts": [artifact]}, "metrics": {"artifacts": [metrics]}}
    return json.dumps(
        {"outputs": {"outputFile": str(folder / "output.json"), "artifacts": artifacts}}
    )


def test_a_short_task_loses_no_line(run: Any, engine: Engine) -> None:
    for _ in range(5):
        assert run("echo one; echo two; printf three") == (0, "one\ntwo\nthree\n")
    status, text = run("printf a; echo wrong >&2; echo b")
    assert (status, sorted(text.splitlines())) == (0, ["ab", "wrong"])
    status, text = run("seq 200000")
    assert status == 0
    assert text.split() == [str(n) for n in range(1, 200_001)]


def test_a_task_ends_with_its_own_status(run: Any) -> None:
    assert run("exit 7") == (7, "")


def when_running(engine: Engine, act: Callable[[Any], None]) -> threading.Thread:
    """Does something to the container of this test as soon as it runs."""

    def wait() -> None:
        while not (found := engine.client.containers.list(filters={"label": LABEL})):
            pass
        act(found[0])

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_killed_container_is_no_success(engine: Engine, run: Any) -> None:
    thread = when_running(engine, lambda container: container.kill())
    status, text = run("sleep 60", labels=[LABEL])
    thread.join()
    assert status == 137
    assert "@error" in text and "the container was killed" in text


def test_a_container_that_takes_too_much_memory_says_so(run: Any) -> None:
    hungry = "python -c 'bytearray(10**9)'"
    status, text = run(hungry, mem_limit="200m")
    assert status == 137
    assert "out of memory" in text and "200 MiB" in text


def test_a_vanished_container_is_no_success(engine: Engine, run: Any) -> None:
    def remove(container: Any) -> None:
        # What runs it removes it too, and may be quicker.
        with suppress(APIError):
            container.remove(force=True)

    thread = when_running(engine, remove)
    status, text = run("echo begun; sleep 60", labels=[LABEL])
    thread.join()
    assert status != 0
    assert "@error" in text


def test_a_task_that_did_not_write_its_outputs_is_no_success(run: Any, tmp_path: Path) -> None:
    arguments = ["--executor_input", declared(tmp_path)]
    status, text = run("exit 0", *arguments)
    assert status != 0
    assert f"{tmp_path / 'output.json'} isn't there" in text
    (tmp_path / "output.json").touch()
    status, text = run("exit 0", *arguments)
    assert f"{tmp_path / 'product'} isn't there" in text
    (tmp_path / "product").touch()
    assert run("exit 0", *arguments) == (0, "")


def test_what_docker_refuses_is_said(run: Any) -> None:
    status, text = run("exit 0", network_mode="container:nonesuch")
    assert status == 1
    assert "@error" in text and "nonesuch" in text
