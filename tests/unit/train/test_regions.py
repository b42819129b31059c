"""Region embeddings: the sums in them, what they learn, and what training makes of them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from components.shared.artifacts import read_json, write_json
from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.features import FEATURES_FILE, Examples, Features, concatenate
from components.shared.model_files import load_model
from components.shared.regions import REACH, embed_regions
from components.train import checkpoint, regions
from components.train.checkpoint import kept
from components.train.devices import make_strategy
from components.train.regions import fit_regions
from components.train.train import train

CONFIG = TrainConfig(region_embedding_size=6, region_epochs=30)
TOPICS = 4
WORDS = 2 + 8 * TOPICS


def talk(reviews: int) -> Examples:
    """Reviews of one topic each, eight words to a topic."""
    random = np.random.default_rng(0)
    topics = random.integers(TOPICS, size=(reviews, 1))
    token_ids = 2 + 8 * topics + random.integers(8, size=(reviews, 12))
    offsets = 12 * np.arange(reviews + 1)
    return Examples(token_ids.ravel().astype(np.int32), offsets, np.zeros(reviews, np.int32))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few words and reviews as these reviews have."""
    monkeypatch.setattr(regions, "_DRAWN", 64)
    monkeypatch.setattr(regions, "_BATCH_SIZE", 16)


@given(st.integers(1, 90), st.integers(0, 2**31))
def test_the_surroundings_are_all_within_reach_but_the_region(time: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(time, 2)).astype(np.float32)
    far = REACH + regions._SURROUNDING
    expected = [
        sum(values[i] for i in range(time) if REACH < abs(i - t) <= far) + np.zeros(2)
        for t in range(time)
    ]
    found = regions._around(tf.constant(values)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@given(st.integers(1, 12), st.integers(0, 2**31))
def test_a_region_is_its_tokens_together(time: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(time, 1, 3)).astype(np.float32)
    bias = random.normal(size=3).astype(np.float32)
    length = int(random.integers(1, time + 1))
    mask = np.arange(time)[:, None] < length
    expected = [
        np.maximum(0.0, rows[max(0, t - REACH) : min(length, t + REACH + 1), 0].sum(axis=0) + bias)
        for t in range(time)
    ]
    found = embed_regions(tf.constant(rows), tf.constant(mask), tf.constant(bias)).numpy()
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)


def test_the_normalizer_of_all_words_is_that_of_the_softmax() -> None:
    random = np.random.default_rng(0)
    embedded, outputs = random.normal(size=(3, 2, 4)), random.normal(size=(7, 4))
    biases = random.normal(size=7)
    corrections = biases - np.log(1 / 7)
    found = regions._log_normalizers(
        *(tf.constant(values, tf.float32) for values in (embedded, outputs, corrections))
    )
    expected = np.log(np.exp(embedded @ outputs.T + biases).sum(axis=-1))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_words_with_like_surroundings_come_to_lie_close(small: None) -> None:
    learned = fit_regions(talk(400), WORDS, 12, CONFIG, make_strategy())
    rows = learned.table[2:] / np.linalg.norm(learned.table[2:], axis=1, keepdims=True)
    alike = (rows @ rows.T).reshape(TOPICS, 8, TOPICS, 8).mean(axis=(1, 3))
    assert (np.diag(alike) > 0.6).all()
    assert (alike[~np.eye(TOPICS, dtype=bool)] < 0.4).all()


def test_the_same_seed_learns_the_same(small: None) -> None:
    config = TrainConfig(region_embedding_size=6, region_epochs=1)
    first, again = (fit_regions(talk(40), WORDS, 12, config, make_strategy()) for _ in range(2))
    np.testing.assert_array_equal(first.table, again.table)
    np.testing.assert_array_equal(first.bias, again.bias)


_REPLICAS = """
import json, sys
import tensorflow as tf
sys.path.insert(0, sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from components.train import regions
from components.train.devices import make_strategy
from tests.unit.train.test_regions import CONFIG, WORDS, talk
regions._DRAWN, regions._BATCH_SIZE = 64, 16
strategy = make_strategy()
assert strategy.num_replicas_in_sync == 2
learned = regions.fit_regions(talk(400), WORDS, 12, CONFIG, strategy)
print("RESULT", json.dumps(learned.table.tolist()))
"""


def test_replicas_learn_the_same(small: None) -> None:
    root = str(Path(__file__).parents[3])
    result = subprocess.run(
        [sys.executable, "-c", _REPLICAS, root], capture_output=True, text=True, env=os.environ
    )
    assert result.returncode == 0, result.stderr
    two = np.array(json.loads(result.stdout.rpartition("RESULT ")[2]))
    one = fit_regions(talk(400), WORDS, 12, CONFIG, make_strategy()).table
    np.testing.assert_allclose(two, one, atol=2e-3)


def test_a_gpu_learns_what_a_cpu_learns(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, region_epochs=2)
    cpu = fit_regions(talk(40), WORDS, 12, config, make_strategy())
    monkeypatch.setattr(regions, "target_of", lambda strategy: "gpu")
    gpu = fit_regions(talk(40), WORDS, 12, config, make_strategy())
    np.testing.assert_allclose(gpu.table, cpu.table, atol=1e-5, rtol=0)
    np.testing.assert_allclose(gpu.bias, cpu.bias, atol=1e-5, rtol=0)


def test_reviews_without_a_known_word_are_refused(small: None) -> None:
    unknown = Examples(np.ones(40, np.int32), np.arange(41), np.zeros(40, np.int32))
    with pytest.raises(InputError, match="region_embedding_size: train has no known word"):
        fit_regions(unknown, WORDS, 12, CONFIG, make_strategy())


def test_too_few_reviews_for_a_batch_are_refused() -> None:
    with pytest.raises(InputError, match=r"a batch takes 64 reviews, and there are 9; set"):
        fit_regions(talk(9), WORDS, 12, CONFIG, make_strategy())


def test_the_model_takes_what_was_learned(prepared: Any, tmp_path: Path, small: None) -> None:
    config = TrainConfig(
        cell="identity", embedding_size=4, region_embedding_size=6, region_epochs=1, num_epochs=1
    )
    train(prepared.examples, prepared.vocabulary, config, tmp_path / "m", tmp_path / "r", None)
    model, features = load_model(tmp_path / "m")
    assert model.region is not None
    table = model.region.table.numpy()
    assert table.shape == (features.vocabulary_size, 6)
    # Learned from the reviews, and left alone since: words that stand in none stay as they were.
    assert np.abs(table).max() > 0.05


@pytest.mark.parametrize("unlabelled", [False, True])
def test_the_unlabelled_reviews_are_learned_from_if_so_wished(
    prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlabelled: bool
) -> None:
    class Seen(Exception):
        pass

    def see(examples: Examples, *_: Any) -> None:
        raise Seen(len(examples))

    monkeypatch.setattr("components.train.train.fit_regions", see)
    config = TrainConfig(region_embedding_size=6, unlabelled=unlabelled)
    rows = Features.load(prepared.examples).rows
    splits = ("train", "unsupervised") if unlabelled else ("train",)
    with pytest.raises(Seen, match=str(sum(rows[split] for split in splits))):
        train(prepared.examples, prepared.vocabulary, config, tmp_path / "m", tmp_path / "r", None)


@pytest.mark.parametrize(
    "wish", [{"unlabelled": True, "region_embedding_size": 6}, {"self_training": 1}]
)
def test_unlabelled_reviews_are_asked_for_where_there_are_none(
    prepared: Any, tmp_path: Path, wish: dict[str, Any]
) -> None:
    examples = tmp_path / "examples"
    shutil.copytree(prepared.examples, examples)
    file = examples / FEATURES_FILE
    features = read_json(file)
    del features["rows"]["unsupervised"]
    write_json(file, features)
    config = TrainConfig.from_mapping(wish)
    with pytest.raises(InputError, match="there are no unlabelled reviews; set unlabelled=false"):
        train(examples, prepared.vocabulary, config, tmp_path / "m", tmp_path / "r", None)


def test_splits_follow_each_other() -> None:
    first, second = talk(3), talk(2)
    both = concatenate([first, second])
    assert both.lengths.tolist() == [12] * 5
    expected = second.token_ids[: second.offsets[1]]
    np.testing.assert_array_equal(both.token_ids[both.offsets[3] : both.offsets[4]], expected)


def test_what_is_kept_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"values": np.arange(3) + len(made)}

    path = tmp_path / "folder" / "kept.npz"
    for identity, expected in (({"a": 1}, 1), ({"a": 1}, 1), ({"a": 2}, 2), ({"a": 2}, 2)):
        found = kept(path, identity, make)
        np.testing.assert_array_equal(found["values"], np.arange(3) + expected)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert len(made) == 2
    assert checkpoint.kept(None, {"a": 2}, make)["values"][0] == 3
