"""A sweep on this machine: real tasks, one trial that fails, and a kill in the midst of another."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.shared.artifacts import read_json

ROOT = Path(__file__).parents[2]
# A batch of 5,000 takes more reviews than there are.
SEARCH = ["--search", "batch_size=8,16,5000"]
SMALL = {
    "vocabulary_size": 50, "max_length": 16, "cell": "simple_rnn", "bidirectional": "false",
    "embedding_size": 4, "hidden_size": 4, "padding": "left", "pooling": "last", "num_epochs": 30,
    "early_stopping_patience": "none",
}  # fmt: skip


def command(pipeline_root: Path, *arguments: str) -> list[str]:
    program = [sys.executable, "-m", "pipeline", "sweep", "--pipeline-root", str(pipeline_root)]
    return [*program, *arguments]


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory, write_reviews: Callable[..., Path]
) -> tuple[Path, str]:
    """The pipeline root and id of a sweep that was killed as a second trial had a checkpoint."""
    root = tmp_path_factory.mktemp("sweep")
    reviews = write_reviews(root / "reviews", per_class=40, seed=3)
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    begun = [*SEARCH, *settings, "--source", str(reviews), "--preset", "debug", "--verbose"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    trained: set[str] = set()
    with subprocess.Popen(
        command(root / "runs", *begun), cwd=root, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            # By then the checkpoint of the first epoch is there, and many are to come.
            if "@progress" in line and "epoch 2/30  loss" in line:
                trained.add(line.split()[0])
            if len(trained) == 2:
                process.send_signal(signal.SIGKILL)
                break
        rest = process.stdout.read()
    assert process.returncode == -signal.SIGKILL, rest[-3000:]
    (run_dir,) = (root / "runs").iterdir()
    return root / "runs", run_dir.name


def finished(run_dir: Path) -> set[str]:
    return {path.parent.name for path in run_dir.glob("tasks/trial-*/.finished")}


def test_resumed_it_repeats_no_finished_trial_and_goes_on_with_the_one_that_was_cut_off(
    killed: tuple[Path, str],
) -> None:
    root, sweep_id = killed
    run_dir = root / sweep_id
    before = finished(run_dir)
    (cut_off,) = (path.parent.name for path in run_dir.glob("trials/*/checkpoints"))
    assert before
    ended = subprocess.run(
        command(root, "--resume", sweep_id, "--json"), cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    shown = ended.stderr.splitlines()
    kept = {line.split()[0] for line in shown if line.endswith("kept from before")}
    assert kept == {"ingest", "preprocess", *before} and f"trial-{cut_off}" not in before
    log = (run_dir / "logs" / f"trial-{cut_off}.log").read_text()
    assert "goes on at epoch" in log and log.count("epoch 1/30  loss") == 1
    assert finished(run_dir) == {"trial-0", "trial-1", "trial-2"}
    errors = {row["values"]["batch_size"]: row["error"] for row in found["trials"]}
    assert "a batch takes 5,000 examples" in errors.pop(5000) and set(errors.values()) == {None}
    made = run_dir / "tasks" / "compare" / "comparison"
    assert (made / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert {**read_json(made / "trials.json")}.items() <= found.items()
    assert "--set batch_size=" in ended.stderr and "trials.png" in ended.stderr
