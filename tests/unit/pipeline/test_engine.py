"""How a Docker engine is looked for, and what a run asks of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from docker.errors import NotFound

from components.shared.errors import InputError
from pipeline.cli import main
from pipeline.container import run_container
from pipeline.engine import Engine, connect, require_mountable


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"unix://{tmp_path}/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", url)
    return url


def test_where_no_docker_answers_the_message_says_what_was_tried(nowhere: str) -> None:
    with pytest.raises(InputError) as caught:
        connect()
    assert f"tried {nowhere} (No such file or directory)" in str(caught.value)
    assert "systemctl start docker" in str(caught.value)


def test_all_usual_sockets_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    try:
        connect()
    except InputError as error:
        for name in ("/var/run/docker.sock", "run/docker.sock", "run/podman/podman.sock"):
            assert name in str(error)
    else:
        pytest.skip("a Docker engine answers at one of the usual sockets")


@pytest.mark.parametrize("host", ["nonsense", "tcp://127.0.0.1:1", "ssh://", "npipe:////./pipe/x"])
def test_a_docker_host_that_is_none_is_named(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(InputError, match="no Docker answers; tried"):
        connect()


def test_a_run_without_docker_leaves_nothing_behind(
    nowhere: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--serving-dir", f"{tmp_path}/serving", "--pipeline-root", f"{tmp_path}/runs"]
    assert main(["run", "--runner", "docker", *folders]) == 2
    assert "no Docker answers" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_containers_of_training_alone_get_gpus_and_a_promise() -> None:
    client = SimpleNamespace(info=lambda: {})
    engine = Engine("unix:///run/docker.sock", cast(Any, client))
    with_gpus = engine.containers("run-1", "image", {}, gpus=True)["settings"]
    without = engine.containers("run-1", "image", {}, gpus=False)["settings"]
    assert with_gpus["device_requests"][0]["Capabilities"] == [["gpu"]]
    assert with_gpus["environment"]["IMDB_PIPELINE_ACCELERATORS"] == "1"
    assert "device_requests" not in without
    assert "IMDB_PIPELINE_ACCELERATORS" not in without["environment"]


@pytest.mark.parametrize(
    ("task", "has"), [("train", True), ("trial", True), ("evaluate", False), ("export", False)]
)
def test_a_container_gets_gpus_only_where_it_trains(task: str, has: bool) -> None:
    created: dict[str, Any] = {}

    def create(*_: Any, **settings: Any) -> None:
        created.update(settings)
        raise NotFound("it ends here")

    containers = SimpleNamespace(create=create)
    client = SimpleNamespace(api=SimpleNamespace(), containers=containers)
    command = ["sh", "-c", "...", "--executor_input", "{}", "--function_to_execute", task]
    run_container(cast(Any, client), "image", command, {}, device_requests=["all"])
    assert ("device_requests" in created) == has


def test_image_goes_with_docker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--image", "some"]) == 2
    assert "go with --runner docker" in capsys.readouterr().err


def test_a_path_with_a_colon_is_refused() -> None:
    with pytest.raises(InputError, match="/a:b: Docker can't mount a path with a colon"):
        require_mountable([Path("/a:b")])
