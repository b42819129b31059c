"""The real pipeline through KFP's local runner, as a user runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.shared.artifacts import directory_sha256

ROOT = Path(__file__).parents[2]


def command(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},  # as a user has it
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, write_reviews: Callable[..., Path]) -> Path:
    path = tmp_path_factory.mktemp("pipeline")
    write_reviews(path / "reviews", per_class=300, noise=0.05, unlabelled=20)
    return path


def run(workplace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(
        "run", "--source", str(workplace / "reviews"), "--preset", "debug", "--json",
        "--serving-dir", str(workplace / "serving"), "--pipeline-root", str(workplace / "runs"),
        *arguments,
    )  # fmt: skip


@pytest.fixture(scope="module")
def blessed(workplace: Path) -> tuple[dict[str, Any], str]:
    """The answer of a first run, and what it showed."""
    result = run(workplace)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result.stderr


@pytest.fixture(scope="module")
def refused(workplace: Path, blessed) -> tuple[dict[str, Any], dict[str, str], int]:
    """The answer of a second run whose model learned next to nothing; the registry before it."""
    before = directory_sha256(workplace / "serving")
    result = run(workplace, "--set", "learning_rate=1e-8", "--set", "num_epochs=1",
                 "--require-blessed")  # fmt: skip
    assert result.returncode in (0, 3), result.stderr
    return json.loads(result.stdout), before, result.returncode


def test_the_first_run_is_blessed_and_served(blessed, workplace) -> None:
    answer, _ = blessed
    assert answer["blessed"] is True and answer["serving_version"] == 1
    assert answer["preset"] == "debug" and answer["source"] == str(workplace / "reviews")
    assert answer["splits"]["test"] == 600 and answer["splits"]["unsupervised"] == 20
    assert answer["metrics"]["accuracy"] > 0.8
    assert {"loss", "auc", "precision", "recall", "f1"} <= set(answer["metrics"])
    assert answer["baseline"]["accuracy"] > 0.8
    served = directory_sha256(workplace / "serving" / "1")
    assert served == directory_sha256(answer["saved_model"]) and "saved_model.pb" in served
    assert Path(answer["report"]).read_text().startswith("<!DOCTYPE html>")
    seconds = answer["seconds"]
    assert set(seconds) == {"ingest", "preprocess", "train", "export", "evaluate", "push", "total"}
    assert sum(seconds.values()) - seconds["total"] <= seconds["total"]


def test_the_terminal_shows_tasks_and_not_raw_logs(blessed, workplace) -> None:
    answer, shown = blessed
    lines = shown.splitlines()
    for task in ("ingest", "preprocess", "train", "export", "evaluate", "push"):
        assert sum(line.startswith(task) and " done " in line for line in lines) == 1
        log = workplace / "runs" / answer["run_id"] / "logs" / f"{task}.log"
        assert log.stat().st_size > 0
    assert "BLESSED" in shown and answer["report"] in shown
    for noise in ("oneDNN", "cuda", "executor_input", "absl", "WARNING", "Traceback", "kfp"):
        assert noise not in shown


def test_a_worse_model_is_refused_and_the_registry_stays(refused, workplace) -> None:
    answer, before, status = refused
    assert status == 3
    assert answer["blessed"] is False and answer["serving_version"] is None
    assert answer["champion"]["version"] == 1
    failed = {reason["name"] for reason in answer["reasons"] if not reason["passed"]}
    assert {"min_accuracy", "max_accuracy_drop"} <= failed
    assert directory_sha256(workplace / "serving") == before


def test_the_champion_answers_predictions(blessed, workplace) -> None:
    serving_dir = str(workplace / "serving")
    result = command("predict", "--serving-dir", serving_dir, "a delightful superb film", "tedious")
    assert result.returncode == 0, result.stderr
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["label"] == "positive" and second["label"] == "negative"
    assert 0 <= second["probability"] < 0.5 <= first["probability"] <= 1
    lines = command("predict", "--serving-dir", serving_dir, text="superb\n\ntedious\n")
    labels = [json.loads(line)["label"] for line in lines.stdout.splitlines()]
    assert len(labels) == 3 and labels[0] == "positive" and labels[2] == "negative"


def test_two_runs_of_the_same_give_the_same_bytes(blessed, refused, workplace) -> None:
    """Of what both runs made alike: the second had the same source and preprocessing."""
    runs = [workplace / "runs" / answer["run_id"] for answer in (blessed[0], refused[0])]
    for name in ("ingest/reviews", "preprocess/examples", "preprocess/vocabulary",
                 "preprocess/statistics"):  # fmt: skip
        first, second = (directory_sha256(next(run.glob(f"*/{name}"))) for run in runs)
        assert first and first == second, name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .tar.gz"),
        (b"\x1f\x8b\x08 damaged", "truncated or damaged"),
        (b"just text", "not a .tar.gz"),
    ],
)
def test_a_bad_archive_ends_the_run_with_a_clear_line(tmp_path, content, message) -> None:
    archive = tmp_path / "reviews.tar.gz"
    archive.write_bytes(content)
    result = command("run", "--source", str(archive), "--preset", "debug",
                     "--serving-dir", str(tmp_path / "serving"),
                     "--pipeline-root", str(tmp_path / "runs"))  # fmt: skip
    assert result.returncode == 2
    assert "reviews.tar.gz" in result.stdout and message in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert not (tmp_path / "serving").exists()
    (run_dir,) = (tmp_path / "runs").iterdir()
    left = {p.relative_to(run_dir).parts[0] for p in run_dir.rglob("*") if p.is_file()}
    assert left <= {"logs", "pipeline.yaml", "run.json", ".lock", ".tasks.lock"}
