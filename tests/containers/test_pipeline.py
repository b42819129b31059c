"""The whole pipeline in containers, beside the same in processes."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.shared.artifacts import directory_sha256
from pipeline.engine import RUN_LABEL, Engine

ROOT = Path(__file__).parents[2]
OUTPUTS = {
    "ingest": ["reviews"],
    "preprocess": ["examples", "vocabulary", "statistics"],
    "train": ["model"],
    "export": ["saved_model/assets", "saved_model/variables"],
}


def command(source: Path, folder: Path, *options: str) -> list[str]:
    words = ["run", "--preset", "debug", "--source", str(source), "--json", *options]
    folders = ["--serving-dir", str(folder / "serving"), "--pipeline-root", str(folder / "runs")]
    return [sys.executable, "-m", "pipeline", *words, *folders]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, write_reviews: Callable[..., Path]) -> Path:
    return write_reviews(tmp_path_factory.mktemp("reviews"), per_class=300, unlabelled=20)


@pytest.fixture(scope="module")
def results(
    image: str, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """The result of a run by runner."""
    folder = tmp_path_factory.mktemp("parity")
    results = {}
    for name, options in {
        "subprocess": ["--runner", "subprocess"],
        "docker": ["--runner", "docker", "--image", image],
    }.items():
        run = subprocess.run(
            command(source, folder / name, *options), cwd=ROOT, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        results[name] = json.loads(run.stdout.splitlines()[-1]) | {"shown": run.stderr}
    return results


def test_containers_and_processes_give_the_same_bytes(results: dict[str, dict[str, Any]]) -> None:
    for task, names in OUTPUTS.items():
        for name in names:
            found = [
                directory_sha256(next(Path(results[r]["run_dir"]).glob(f"*/{task}/{name}")))
                for r in ("subprocess", "docker")
            ]
            assert found[0], (task, name)
            assert found[0] == found[1], (task, name)


def test_containers_and_processes_give_the_same_figures(
    results: dict[str, dict[str, Any]],
) -> None:
    for key in ("metrics", "baseline", "splits", "fingerprint", "blessed", "serving_version"):
        assert results["subprocess"][key] == results["docker"][key], key
    assert results["docker"]["blessed"] is True


def test_containers_show_what_processes_show(results: dict[str, dict[str, Any]]) -> None:
    for task in ("ingest", "preprocess", "train", "export", "evaluate", "push"):
        assert f"\n{task} " in results["docker"]["shown"]
    log = Path(results["docker"]["run_dir"]) / "logs" / "train.log"
    assert "Wrote executor output file" in log.read_text()


def test_what_containers_write_belongs_to_the_caller(results: dict[str, dict[str, Any]]) -> None:
    folders = [Path(results["docker"][key]) for key in ("run_dir", "serving_dir")]
    files = [path for folder in folders for path in folder.rglob("*")]
    assert files
    assert {path.stat().st_uid for path in files} == {os.getuid()}


def test_containers_end_with_their_run(
    engine: Engine, image: str, source: Path, tmp_path: Path
) -> None:
    options = ["--runner", "docker", "--image", image]
    run = subprocess.Popen(
        command(source, tmp_path, *options),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (running := engine.client.containers.list(filters={"label": RUN_LABEL})):
        assert run.poll() is None
    ended = os.pidfd_open(run.pid)
    run.send_signal(signal.SIGTERM)
    assert select.select([ended], [], [], 600)[0]
    os.close(ended)
    assert run.wait() == 128 + signal.SIGTERM
    assert running
    assert not engine.client.containers.list(all=True, filters={"label": RUN_LABEL})
    assert not (tmp_path / "serving").exists(), "an unused serving directory stayed"


def test_a_failing_task_fails_the_run(
    image: str, tmp_path: Path, write_reviews: Callable[..., Path]
) -> None:
    source = write_reviews(tmp_path / "reviews", per_class=3)
    for path in (source / "test" / "pos").iterdir():
        path.unlink()
    options = ["--runner", "docker", "--image", image]
    run = subprocess.run(
        command(source, tmp_path, *options), cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 2
    result = json.loads(run.stdout.splitlines()[-1])
    assert (result["task"], result["input_error"]) == ("ingest", True)
    assert not (tmp_path / "serving").exists()


def test_an_image_that_is_not_there_is_named(engine: Engine, source: Path, tmp_path: Path) -> None:
    options = ["--runner", "docker", "--image", "localhost:1/nonesuch:1"]
    run = subprocess.run(
        command(source, tmp_path, *options), cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "localhost:1/nonesuch:1: not on" in run.stderr
    assert not list(tmp_path.iterdir())
