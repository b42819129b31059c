"""What a run has come to, from the files that its tasks leave."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.shared.artifacts import write_json
from components.shared.outcome import note
from pipeline.config import preset
from pipeline.local import RunFailed
from pipeline.plan import RunSpec
from pipeline.result import failure, failure_lines, gather, summary_lines
from pipeline.stream import State, Task

METRICS = {"accuracy": 0.91234, "loss": 0.25, "auc": 0.97, "f1": 0.9}
PASSED = {"name": "min_accuracy", "passed": True, "sentence": "accuracy 0.91 must be 0.85"}
FAILED = {"name": "max_loss", "passed": False, "sentence": "loss 0.25 must be at most 0.2"}


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return RunSpec(
        run_id="run-1",
        source="bundled",
        preset="debug",
        config=preset("debug"),
        serving_dir="/srv/models",
        run_dir=tmp_path / "run-1",
    )


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    names = ("ingest", "train")
    return [Task(n, 0.0, tmp_path / n, state=State.SUCCEEDED, seconds=61.0) for n in names]


def leave_outputs(spec: RunSpec, *, blessed: bool, pushed: bool, **changes: Any) -> Path:
    """Leaves the files of a run as its tasks do; gives KFP's folder."""
    folder = spec.run_dir / "imdb-sentiment-2026-01-01"
    for task in ("ingest", "export", "evaluate", *(["push"] if pushed else [])):
        (folder / task).mkdir(parents=True)
        (folder / task / "executor_output.json").write_text("{}")
    judged = {
        "source": "bundled",
        "preset": "debug",
        "fingerprint": "f" * 64,
        "splits": {"train": 18000, "validation": 2000, "test": 5000},
        "test_split": "held out of train",
        "metrics": METRICS,
        "baseline": {**METRICS, "accuracy": 0.9},
        "champion": None,
        "devices": {"kind": "GPU", "count": 2, "name": "NVIDIA H200"},
        "decision": {"blessed": blessed, "reasons": [PASSED] if blessed else [PASSED, FAILED]},
        **changes,
    }
    (folder / "evaluate" / "evaluation").mkdir()
    write_json(folder / "evaluate" / "evaluation" / "evaluation.json", judged)
    if pushed:
        (folder / "push" / "pushed_model").mkdir()
        write_json(folder / "push" / "pushed_model" / "pushed.json", {"version": 7})
    return folder


def test_a_blessed_run_says_what_was_pushed_and_where(spec: RunSpec, tasks: list[Task]) -> None:
    folder = leave_outputs(spec, blessed=True, pushed=True)
    result = gather(spec, tasks, 200.0)
    assert result["run_id"] == "run-1"
    assert (result["source"], result["preset"], result["metrics"]) == ("bundled", "debug", METRICS)
    assert (result["blessed"], result["reasons"]) == (True, [PASSED])
    assert result["unchanged"] is False
    assert (result["serving_version"], result["serving_dir"]) == (7, "/srv/models")
    assert result["saved_model"] == str(folder / "export" / "saved_model")
    assert result["report"] == str(folder / "evaluate" / "evaluation" / "report.html")
    assert result["seconds"] == {"ingest": 61.0, "train": 61.0, "total": 200.0}
    json.dumps(result, allow_nan=False)
    summary = "\n".join(summary_lines(result))
    for words in (
        "bundled: 18,000 train, 2,000 validation, 5,000 test",
        "accuracy 0.9123  loss 0.2500  auc 0.9700  test split: held out of train",
        "accuracy 0.9000  loss 0.2500  auc 0.9700  linear baseline",
        "trained on  2 GPUs: NVIDIA H200",
        "BLESSED\n",
        "version 7: /srv/models/7",
        "report.html",
        "3 min 20 s (ingest 1 min 01 s, train 1 min 01 s)",
    ):
        assert words in summary
    assert "champion" not in summary


def test_a_refused_run_says_why_and_that_nothing_changed(spec: RunSpec, tasks: list[Task]) -> None:
    champion = {"version": 3, "metrics": {**METRICS, "accuracy": 0.95}}
    leave_outputs(spec, blessed=False, pushed=False, champion=champion, devices=None)
    result = gather(spec, tasks, 200.0)
    assert (result["blessed"], result["serving_version"]) == (False, None)
    summary = "\n".join(summary_lines(result))
    for words in (
        "accuracy 0.9500  loss 0.2500  auc 0.9700  champion, version 3",
        "NOT_BLESSED",
        "passed: accuracy 0.91 must be 0.85",
        "failed: loss 0.25 must be at most 0.2",
        "nothing; /srv/models is as it was",
    ):
        assert words in summary
    assert "trained on" not in summary


def test_a_run_that_nothing_changed_for_says_which_version_stays(
    spec: RunSpec, tasks: list[Task]
) -> None:
    reviews = spec.run_dir / "tasks" / "ingest" / "reviews"
    reviews.mkdir(parents=True)
    (reviews.parent / "executor_output.json").write_text("{}")
    summary = {"source": "bundled", "fingerprint": "f" * 64, "splits": {"train": 9, "test": 3}}
    write_json(reviews / "summary.json", summary)
    note(spec.run_dir, unchanged_since_version=4)
    result = gather(spec, tasks, 5.0)
    assert (result["unchanged"], result["serving_version"], result["blessed"]) == (True, 4, None)
    assert {"run_id", "fingerprint", "splits", "config", "serving_dir", "run_dir"} < result.keys()
    json.dumps(result, allow_nan=False)
    text = "\n".join(summary_lines(result))
    assert "unchanged   version 4 was made of the same reviews" in text
    assert "/srv/models is as it was" in text and "gate" not in text


def test_a_run_that_stopped_after_ingest_for_no_reason_is_a_failure(
    spec: RunSpec, tasks: list[Task]
) -> None:
    note(spec.run_dir, unchanged_since_version=None)
    with pytest.raises(RunFailed) as caught:
        gather(spec, tasks, 5.0)
    assert "skipped all else" in str(caught.value.message)


def test_a_blessed_model_that_was_not_pushed_is_a_failure(spec: RunSpec, tasks: list[Task]) -> None:
    leave_outputs(spec, blessed=True, pushed=False)
    with pytest.raises(RunFailed) as caught:
        gather(spec, tasks, 200.0)
    assert "skipped push" in str(caught.value.message)


@pytest.mark.parametrize(
    ("message", "tail", "words", "not_words"),
    [
        ("no review", ["a line"], ["Error: train: no review"], "a line"),
        (None, ["a line", "ValueError: x"], ["train failed; the end", "ValueError: x"], "Error: t"),
        (None, ["a line", "Killed"], ["train was killed; this machine may be short of"], "Error"),
    ],
)
def test_a_failure_shows_its_message_or_else_the_end_of_the_log(
    spec: RunSpec, message: str | None, tail: list[str], words: list[str], not_words: str
) -> None:
    failed = RunFailed(task="train", message=message, log=Path("/r/train.log"), tail=tail)
    text = "\n".join(failure_lines(failed))
    assert all(word in text for word in (*words, "The whole log: /r/train.log"))
    assert not_words not in text
    values = failure(spec, failed)
    assert (values["run_id"], values["task"], values["log"]) == ("run-1", "train", "/r/train.log")
    json.dumps(values)
