"""Predictions from a registry, by a SavedModel with the signature of the real ones."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

from components.shared.errors import InputError
from components.shared.registry.registry import Record, Registry
from pipeline.cli import cli
from pipeline.predict import predict

ROOT = Path(__file__).parents[3]


class Counter(tf.Module):
    """Takes a review for the more positive the more often it says "good"."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        pieces = tf.strings.split(text, "good").row_lengths()
        probability = 1.0 - 1.0 / tf.cast(pieces, tf.float32)
        return {"probability": probability, "label": tf.cast(probability >= 0.5, tf.int64)}


def promote(serving_dir: Path, saved_model: Path, run_id: str, champion: int | None) -> None:
    record = Record(
        run_id=run_id,
        source="bundled",
        preset="debug",
        fingerprint="f" * 64,
        config={},
        metrics={},
        reasons=[],
    )
    registry = Registry.open(serving_dir)
    registry.promote(saved_model, expected_champion=champion, record=record)


@pytest.fixture(scope="module")
def serving_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    model = Counter()
    tf.saved_model.save(model, str(folder / "model"), signatures={"serving_default": model.serve})
    promote(folder / "serving", folder / "model", "run-1", None)
    promote(folder / "serving", folder / "model", "run-2", 1)
    return folder / "serving"


def test_the_newest_version_judges_each_review_in_order(serving_dir: Path) -> None:
    texts = [b"good, good", b"", "bad \U0001f600".encode(), b"good \xff\xfe\x00 good good"]
    predictions = list(predict(str(serving_dir), texts, batch_size=3))
    assert [p["label"] for p in predictions] == ["positive", "negative", "negative", "positive"]
    assert [p["probability"] for p in predictions] == pytest.approx([2 / 3, 0, 0, 3 / 4])
    assert [p["text"] for p in predictions][:3] == ["good, good", "", "bad \U0001f600"]
    assert "\ufffd" in predictions[3]["text"]
    assert {p["version"] for p in predictions} == {2}
    json.dumps(predictions, allow_nan=False)


@pytest.mark.parametrize(
    "name", ["[a-c]", "a*", "a?", "a\\b", "-a %41 #e\n{c}'\" $F", "\udcff\xe9"]
)
def test_a_registry_may_have_any_name(serving_dir: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(serving_dir, tmp_path / name)
    here = Path.cwd()
    (prediction,) = predict(str(tmp_path / name), [b"good"])
    assert prediction["label"] == "positive"
    assert Path.cwd() == here


def test_reviews_are_read_only_as_they_are_needed(serving_dir: Path) -> None:
    read = 0

    def reviews() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"good"

    predictions = predict(str(serving_dir), reviews(), batch_size=4)
    for _ in range(5):
        next(predictions)
    assert read == 8


def test_no_review_gives_no_prediction(serving_dir: Path) -> None:
    assert list(predict(str(serving_dir), [])) == []


def test_a_registry_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no model yet.*imdb-pipeline run --serving-dir"):
        list(predict(str(tmp_path / "nowhere"), [b"good"]))
    assert not (tmp_path / "nowhere").exists()


def test_a_version_that_is_gone_is_named(serving_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(serving_dir / "log", tmp_path / "log")
    with pytest.raises(InputError, match=r"version 2, is missing.*models repair.*models rollback"):
        list(predict(str(tmp_path), [b"good"]))


def test_a_model_that_was_changed_is_refused(serving_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "serving"
    copy.mkdir()
    subprocess.run(["cp", "-r", f"{serving_dir}/.", str(copy)], check=True)
    with (copy / "2" / "saved_model.pb").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"saved_model\.pb"):
        list(predict(str(copy), [b"good"]))


def test_a_standard_input_that_cannot_be_read_is_named(serving_dir: Path, tmp_path: Path) -> None:
    with (tmp_path / "written").open("wb") as file:
        result = subprocess.run(
            [sys.executable, "-m", "pipeline", "predict", "--serving-dir", str(serving_dir)],
            cwd=ROOT,
            stdin=file,
            capture_output=True,
        )
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr == b"Error: standard input: can't be read (Bad file descriptor)\n"


def test_the_command_answers_each_line_of_standard_input_and_says_nothing_else(
    serving_dir: Path,
) -> None:
    lines = b"good good\r\n\n" + b"\xff good\n" + "caf\u00e9 good".encode()
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "predict", "--serving-dir", str(serving_dir)],
        cwd=ROOT,
        input=lines,
        capture_output=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("TF_")},
    )
    assert (result.returncode, result.stderr) == (0, b"")
    answers = [json.loads(line) for line in result.stdout.decode().splitlines()]
    assert [a["text"] for a in answers] == ["good good", "", "\ufffd good", "caf\u00e9 good"]
    assert [a["label"] for a in answers] == ["positive", "negative", "positive", "positive"]


def test_the_command_answers_each_argument(serving_dir: Path) -> None:
    words = ["predict", "--serving-dir", str(serving_dir), "good", "bad \udcff", "--", "-dull"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0
    labels = [json.loads(line)["label"] for line in result.stdout.splitlines()]
    assert labels == ["positive", "negative", "negative"]
