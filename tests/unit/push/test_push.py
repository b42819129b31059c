"""Push: from an evaluation that blesses to a promotion, once."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.evaluate.gate import Evidence, decide
from components.push.push import push
from components.shared.artifacts import directory_sha256, write_json
from components.shared.config import EvaluateConfig
from components.shared.errors import InputError
from components.shared.registry.registry import ChampionChanged, Registry


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    folder = tmp_path / "candidate"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"a graph")
    (folder / "variables" / "variables.index").write_bytes(b"weights")
    return folder


def evaluation(tmp_path: Path, accuracy: float = 0.9, **changes: Any) -> Path:
    """What evaluate writes, with the gate's own decision at a threshold of 0.8."""
    metrics = {"accuracy": accuracy, "loss": 0.3}
    decision = decide(Evidence(metrics=metrics), EvaluateConfig(min_accuracy=0.8)).to_mapping()
    values = {
        "decision": decision,
        "champion_version": None,
        "metrics": metrics,
        "fingerprint": "f" * 64,
        "test_fingerprint": "e" * 64,
        "source": "bundled",
        "preset": "debug",
        "config": {"train": {"cell": "gru"}},
        "saved_model_manifest": directory_sha256(tmp_path / "candidate"),
        "roc": {"what": "push has no use for"},
        "devices": {"kind": "GPU", "count": 2, "name": "NVIDIA H200"},
    }
    folder = tmp_path / "evaluation"
    folder.mkdir(exist_ok=True)
    values |= changes
    values = {key: value for key, value in values.items() if value is not ...}
    write_json(folder / "evaluation.json", values)
    return folder


def test_a_blessed_candidate_is_promoted_and_recorded(candidate: Path, tmp_path: Path) -> None:
    serving_dir, output = tmp_path / "serving", tmp_path / "out" / "pushed_model"
    pushed = push(
        candidate, evaluation(tmp_path), str(serving_dir), "run-1", output, image="imdb:7"
    )
    manifest = directory_sha256(candidate)
    assert pushed == {"serving_dir": str(serving_dir), "version": 1, "manifest": manifest}
    assert json.loads((output / "pushed.json").read_text()) == pushed
    assert [path.name for path in output.iterdir()] == ["pushed.json"]
    assert directory_sha256(serving_dir / "1") == manifest
    champion = Registry.open(serving_dir).champion()
    assert champion is not None
    assert (champion.run_id, champion.image) == ("run-1", "imdb:7")
    assert (champion.source, champion.preset, champion.fingerprint) == (
        "bundled",
        "debug",
        "f" * 64,
    )
    assert champion.metrics == {"accuracy": 0.9, "loss": 0.3}
    assert champion.test_fingerprint == "e" * 64
    assert champion.config == {"train": {"cell": "gru"}}
    assert champion.reasons[0]["name"] == "min_accuracy"
    assert champion.devices == {"kind": "GPU", "count": 2, "name": "NVIDIA H200"}


def test_a_retry_promotes_nothing_more(candidate: Path, tmp_path: Path) -> None:
    judged, serving_dir = evaluation(tmp_path), str(tmp_path / "serving")
    first = push(candidate, judged, serving_dir, "run-1", tmp_path / "first")
    again = push(candidate, judged, serving_dir, "run-1", tmp_path / "again")
    assert again == first
    assert len(Registry.open(serving_dir).entries()) == 1
    assert (tmp_path / "again" / "pushed.json").exists()


def test_another_run_against_the_same_champion_is_refused(candidate: Path, tmp_path: Path) -> None:
    judged, serving_dir = evaluation(tmp_path), tmp_path / "serving"
    push(candidate, judged, str(serving_dir), "run-1", tmp_path / "first")
    before = directory_sha256(serving_dir)
    with pytest.raises(ChampionChanged, match="judge it anew"):
        push(candidate, judged, str(serving_dir), "run-2", tmp_path / "second")
    assert directory_sha256(serving_dir) == before
    assert not (tmp_path / "second").exists()
    judged = evaluation(tmp_path, champion_version=1)
    assert push(candidate, judged, str(serving_dir), "run-2", tmp_path / "third")["version"] == 2


def test_a_candidate_that_is_not_blessed_is_refused(candidate: Path, tmp_path: Path) -> None:
    judged = evaluation(tmp_path, accuracy=0.7)
    with pytest.raises(InputError, match=r"NOT_BLESSED \(accuracy 0.7 must be at least 0.8\)"):
        push(candidate, judged, str(tmp_path / "serving"), "run-1", tmp_path / "out")
    assert not (tmp_path / "serving").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("blessed", ["true", 1, None])
def test_only_true_is_blessed(blessed: Any, candidate: Path, tmp_path: Path) -> None:
    judged = evaluation(tmp_path, decision={"blessed": blessed, "reasons": []})
    with pytest.raises(InputError, match="NOT_BLESSED"):
        push(candidate, judged, str(tmp_path / "serving"), "run-1", tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    [
        "decision",
        "champion_version",
        "metrics",
        "fingerprint",
        "test_fingerprint",
        "source",
        "preset",
        "config",
        "saved_model_manifest",
    ],
)
@pytest.mark.parametrize("value", [..., 0.5])
def test_a_damaged_evaluation_is_named(
    name: str, value: Any, candidate: Path, tmp_path: Path
) -> None:
    judged = evaluation(tmp_path, **{name: value})
    message = rf"evaluation\.json: {name} is missing or of the wrong type; evaluate again"
    with pytest.raises(InputError, match=message):
        push(candidate, judged, str(tmp_path / "serving"), "run-1", tmp_path / "out")
    assert not (tmp_path / "serving").exists()


def test_an_evaluation_that_is_missing_or_no_object_is_named(
    candidate: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"evaluation\.json: there is no such file"):
        push(candidate, tmp_path, str(tmp_path / "serving"), "run-1", tmp_path / "out")
    write_json(tmp_path / "evaluation.json", [1])
    with pytest.raises(InputError, match=r"evaluation\.json: .* is missing"):
        push(candidate, tmp_path, str(tmp_path / "serving"), "run-1", tmp_path / "out")


def test_what_is_pushed_is_what_was_judged(candidate: Path, tmp_path: Path) -> None:
    judged = evaluation(tmp_path)
    (candidate / "variables" / "variables.index").write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"not the candidate that was judged \(changed: variables"):
        push(candidate, judged, str(tmp_path / "serving"), "run-1", tmp_path / "out")
    assert not (tmp_path / "serving").exists()
