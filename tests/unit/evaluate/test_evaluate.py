"""Evaluation from end to end: real reviews through TFDS, real SavedModels, a real registry."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.evaluate.evaluate import evaluate
from components.evaluate.latency import measure_latency
from components.evaluate.served import ServedModel
from components.evaluate.split import Split, read_split
from components.ingest.builder import Reviews
from components.shared.artifacts import directory_sha256, read_json, write_json
from components.shared.config import EvaluateConfig
from components.shared.errors import InputError
from components.shared.registry.entries import Record
from components.shared.registry.registry import Registry

CONFIG = EvaluateConfig(min_accuracy=0.7)
DEVICES = {"kind": "GPU", "count": 2, "name": "NVIDIA H200"}
RECORD = {
    "preset": "debug",
    "config": {"evaluate": CONFIG.to_mapping()},
    "devices": DEVICES,
}
Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path], reviews_dir: Path
) -> tuple[dict[str, Any], Path]:
    """An evaluation against an empty registry: what it gave, and the folder it made."""
    folder = tmp_path_factory.mktemp("first")
    arguments = (models["able"], reviews_dir, folder / "serving", CONFIG, RECORD)
    return evaluate(*arguments, folder / "out"), folder / "out"


@pytest.fixture
def judge(tmp_path: Path, models: dict[str, Path], reviews_dir: Path) -> Evaluate:
    """Evaluates a model by name against the registry in `tmp_path/serving`."""

    def run(name: str, config: EvaluateConfig = CONFIG) -> dict[str, Any]:
        serving, output = tmp_path / "serving", tmp_path / "out"
        return evaluate(models[name], reviews_dir, serving, config, RECORD, output)

    return run


@pytest.fixture
def promote(tmp_path: Path, models: dict[str, Path]) -> Callable[..., Registry]:
    """Makes a model the champion of the registry in `tmp_path/serving`, with that test record."""

    def run(name: str, accuracy: float | None = None, test_fingerprint: str = "") -> Registry:
        registry = Registry.open(tmp_path / "serving")
        versions = len(registry.entries())
        record = Record(
            run_id=f"run-{versions}",
            source="s",
            preset="p",
            fingerprint="f",
            config={},
            metrics={} if accuracy is None else {"accuracy": accuracy},
            reasons=[],
            test_fingerprint=test_fingerprint,
        )
        expected = versions or None
        registry.promote(models[name], expected_champion=expected, record=record)
        return registry

    return run


def test_a_first_candidate(first, models, reviews_dir) -> None:
    result, output = first
    test = read_split(reviews_dir, "test")
    right = ServedModel(models["able"]).predict(test.texts, "again").correct(test.labels)
    assert len(test.texts) == 300
    assert result["metrics"]["accuracy"] == np.mean(right)
    assert 0.8 < np.mean(right) < 1
    assert np.sum(result["confusion_matrix"]) == 300
    assert 0.8 < result["baseline"]["accuracy"] < 1
    assert (result["champion"], result["champion_version"]) == (None, None)
    assert result["decision"]["blessed"] is True
    assert (result["best_ever"], result["latency"]) == (None, None)
    assert result["test_fingerprint"] == test.fingerprint
    assert result["fingerprint"] == read_json(reviews_dir / "summary.json")["fingerprint"]
    assert result["splits"]["test"] == 300
    assert result["test_split"] == "official"
    assert (result["preset"], result["config"]) == ("debug", RECORD["config"])
    assert result["devices"] == DEVICES
    assert result["saved_model_manifest"] == directory_sha256(models["able"])
    assert list(directory_sha256(output)) == ["evaluation.json", "report.html"]
    assert read_json(output / "evaluation.json") == result
    assert not (output.parent / "serving").exists()


def test_a_worse_candidate_is_refused_on_the_same_reviews(
    judge, promote, models, reviews_dir, tmp_path: Path
) -> None:
    promote("able")
    before = directory_sha256(tmp_path / "serving")
    result = judge("weak", EvaluateConfig(min_accuracy=0.5, min_slice_accuracy=0.1))
    test = read_split(reviews_dir, "test")
    weak, able = (
        ServedModel(models[name]).predict(test.texts, "again").correct(test.labels)
        for name in ("weak", "able")
    )
    assert result["decision"]["blessed"] is False
    assert result["champion_version"] == 1
    assert result["champion"]["version"] == 1
    assert result["champion"]["metrics"]["accuracy"] == np.mean(able)
    reasons = {reason["name"]: reason for reason in result["decision"]["reasons"]}
    assert reasons["min_accuracy"]["passed"] is True
    assert reasons["max_accuracy_drop"]["passed"] is False
    assert reasons["significance_level"]["details"] == {
        "losses": np.sum(able & ~weak),
        "gains": np.sum(weak & ~able),
    }
    rows = [*result["slices"]["length_quartile"], *result["slices"]["label"]]
    accuracies, drops = (
        reasons[name]["details"] for name in ("min_slice_accuracy", "max_slice_accuracy_drop")
    )
    assert list(accuracies.values()) == [row["accuracy"] for row in rows]
    assert len(drops) == 6 and list(drops)[4:] == ["negative reviews", "positive reviews"]
    positive = test.labels == 1
    drop = np.mean(able[positive]) - np.mean(weak[positive])
    assert drops["positive reviews"] == pytest.approx(drop)
    assert reasons["max_slice_accuracy_drop"]["value"] == max(drops.values()) > 0.05
    assert reasons["max_slice_accuracy_drop"]["passed"] is False
    assert directory_sha256(tmp_path / "serving") == before


def test_a_better_candidate_is_blessed(judge, promote) -> None:
    promote("weak")
    result = judge("able")
    assert result["decision"]["blessed"] is True
    assert result["metrics"]["accuracy"] > result["champion"]["metrics"]["accuracy"]


def test_small_losses_do_not_add_up(judge, promote, first, tmp_path: Path) -> None:
    """The champion is the weak model, as after a chain of losses; the log still has the best."""
    known = first[0]["test_fingerprint"]
    promote("able", first[0]["metrics"]["accuracy"], known)
    promote("weak", 0.99, "of other reviews")
    promote("weak", 0.6, known)
    loose = EvaluateConfig(min_accuracy=0.1, max_accuracy_below_best=0.01, max_latency_ms=1e6)
    result = judge("weak", loose)
    assert result["champion_version"] == 3
    assert result["best_ever"] == {"version": 1, "accuracy": first[0]["metrics"]["accuracy"]}
    (failed,) = [reason for reason in result["decision"]["reasons"] if not reason["passed"]]
    assert failed["name"] == "max_accuracy_below_best"
    assert failed["details"]["best_accuracy"] == first[0]["metrics"]["accuracy"]
    assert failed["value"] == pytest.approx(
        first[0]["metrics"]["accuracy"] - result["metrics"]["accuracy"]
    )
    (timed,) = [r for r in result["decision"]["reasons"] if r["name"] == "max_latency_ms"]
    assert timed["value"] == result["latency"]["median_ms"] > 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "version 1</dd>" in report and " ms <span" in report


def test_single_requests_are_timed(models, reviews_dir) -> None:
    asked: list[int] = []

    class Counting(ServedModel):
        def ask(self, texts):
            asked.append(len(texts))
            return super().ask(texts)

    times = measure_latency(Counting(models["able"]), read_split(reviews_dir, "test").texts[:7])
    assert asked == [1] * 110, "ten to warm up"
    assert times["requests"] == 100
    assert 0 < times["median_ms"] <= times["p95_ms"] <= times["max_ms"]


def test_the_fingerprint_of_test_is_of_texts_and_labels_in_any_order() -> None:
    texts, labels = [b"good", b"", b"bad"], np.array([1, 0, 0])
    known = Split(texts, labels).fingerprint
    assert Split([texts[row] for row in (2, 0, 1)], labels[[2, 0, 1]]).fingerprint == known
    others = [
        Split(texts, np.array([0, 1, 0])),
        Split(texts[:2], labels[:2]),
        Split([b"good", b"", b"bad."], labels),
        Split([b"good", b"bad", b""], np.array([1, 1, 0])),
    ]
    assert known not in {other.fingerprint for other in others}


def test_a_champion_whose_publication_was_interrupted_is_compared_with(
    judge, promote, tmp_path: Path
) -> None:
    entry = promote("able").champion()
    serving = tmp_path / "serving"
    staging = serving / entry.staging
    staging.mkdir()
    (serving / "1").rename(staging / "model")
    assert judge("weak")["champion_version"] == 1
    assert (serving / "1" / "saved_model.pb").is_file()


def test_the_same_inputs_give_the_same_bytes(first, judge, tmp_path: Path, capsys) -> None:
    judge("able")
    assert directory_sha256(tmp_path / "out") == directory_sha256(first[1])
    told = capsys.readouterr().out
    assert '@progress {"text": "candidate: 300 of 300 reviews"}' in told
    assert "fitting the linear baseline to " in told


def test_each_review_gets_its_own_answer_whatever_their_order(models, reviews_dir) -> None:
    texts = read_split(reviews_dir, "test").texts
    assert len(texts) > 256, "more than a batch"
    model = ServedModel(models["able"])
    forward = model.predict(texts, "forward")
    order = random.Random(0).sample(range(len(texts)), len(texts))
    shuffled = model.predict([texts[row] for row in order], "shuffled")
    assert np.array_equal(shuffled.probabilities, forward.probabilities[order])
    assert np.array_equal(shuffled.labels, forward.labels[order])
    alone = model.predict(texts[7:8], "alone")
    assert alone.probabilities[0] == forward.probabilities[7]


def test_a_candidate_that_gives_nan_is_refused_not_a_crash(judge, tmp_path: Path) -> None:
    result = judge("nan")
    assert result["decision"]["blessed"] is False
    assert "accuracy (not a number)" in result["decision"]["reasons"][0]["sentence"]
    assert result["metrics"]["accuracy"] is None
    assert 0 < result["invalid_predictions"] < 300
    json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=pytest.fail)


def test_a_hostile_review_is_quoted_as_text(first) -> None:
    report = (first[1] / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;document.title" in report
    assert "<script" not in report


def bad_candidate(folder: Path, models: dict[str, Path], fault: str) -> Path:
    """A SavedModel with one fault."""
    if fault == "missing":
        return folder / "nowhere"
    if fault == "cut off":
        shutil.copytree(models["able"], folder / "candidate")
        content = (models["able"] / "saved_model.pb").read_bytes()
        (folder / "candidate" / "saved_model.pb").write_bytes(content[: len(content) // 2])
        return folder / "candidate"
    if fault == "no variables":
        shutil.copytree(models["able"], folder / "candidate")
        shutil.rmtree(folder / "candidate" / "variables")
        return folder / "candidate"
    results: dict[str, Callable[[tf.Tensor], dict[str, tf.Tensor]]] = {
        "no label": lambda text: {"probability": tf.strings.to_number(text)},
        "float input": lambda text: {"probability": text, "label": tf.cast(text, tf.int64)},
        "no signature": lambda text: {"probability": tf.strings.to_number(text)},
        "one for all": lambda text: {
            "probability": tf.compat.v1.placeholder_with_default([0.5], [None]),
            "label": tf.strings.to_hash_bucket_fast(text, 2),
        },
    }
    dtype = tf.float32 if fault == "float input" else tf.string
    function = tf.function(
        results[fault], input_signature=[tf.TensorSpec([None], dtype, name="text")]
    )
    module = tf.Module()
    module.function = function
    signatures = {} if fault == "no signature" else {"serving_default": function}
    tf.saved_model.save(module, str(folder / "candidate"), signatures=signatures)
    return folder / "candidate"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "there is no SavedModel; run export first"),
        ("cut off", "a damaged SavedModel .*export the model again"),
        ("no variables", "a damaged SavedModel .*export the model again"),
        ("no signature", "has no signature 'serving_default'"),
        ("no label", "output 'label' of its signature 'serving_default' is missing"),
        ("one for all", r"probabilities of shape \(1,\) and labels of shape .* for 256 reviews"),
        ("float input", r"input 'text' .* is float32 \(None,\), but must be string"),
    ],
)
def test_a_candidate_that_cannot_be_judged(
    fault, message, models, reviews_dir, tmp_path: Path
) -> None:
    candidate = bad_candidate(tmp_path, models, fault)
    with pytest.raises(InputError, match=message) as raised:
        evaluate(candidate, reviews_dir, tmp_path / "s", CONFIG, RECORD, tmp_path / "out")
    assert str(candidate) in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_damaged_champion_is_named(judge, promote, tmp_path: Path) -> None:
    promote("weak")
    with (tmp_path / "serving" / "1" / "saved_model.pb").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="serving/1: "):
        judge("able")
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_test_reviews(models, reviews_dir, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    splits: dict[str, list[Any]] = {"train": [], "test": []}
    Reviews(data_dir=prepared, splits=splits, text=lambda entry: b"").download_and_prepare()
    write_json(prepared / "summary.json", read_json(reviews_dir / "summary.json"))
    with pytest.raises(InputError, match="split 'test' is empty"):
        evaluate(models["able"], prepared, tmp_path / "s", CONFIG, RECORD, tmp_path / "out")


def test_reviews_that_are_missing_or_damaged(models, reviews_dir, tmp_path: Path) -> None:
    def run(reviews: Path) -> dict[str, Any]:
        return evaluate(models["able"], reviews, tmp_path / "s", CONFIG, RECORD, tmp_path / "out")

    with pytest.raises(InputError, match="holds no prepared reviews"):
        run(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(reviews_dir, damaged)
    shard = next(damaged.rglob("*test*.tfrecord*"))
    content = bytearray(shard.read_bytes())
    content[40] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(InputError, match="split 'test' is damaged"):
        run(damaged)
