"""The configuration: what it takes, what it refuses and how it says so."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.config import TrainConfig
from components.shared.errors import InputError
from pipeline.config import PRESETS, preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_survives_its_way_to_a_task(name: str) -> None:
    config = preset(name)
    for task, values in config.to_mapping().items():
        # KFP carries every number of a struct as a double.
        doubles = {
            k: float(v) if type(v) is int else v for k, v in json.loads(json.dumps(values)).items()
        }
        current = getattr(config, task)
        assert type(current).from_mapping(doubles) == current


def test_overrides_reach_the_task_that_owns_the_key() -> None:
    config = preset("default").override(
        {"hidden_size": "48", "max_length": "90", "min_accuracy": "none", "bidirectional": "no",
         "beam_args": "--a=1 --b=2", "test_fraction": "0.25"}
    )  # fmt: skip
    assert config.train.hidden_size == 48 and config.train.bidirectional is False
    assert config.preprocess.max_length == 90
    assert config.preprocess.beam_args == ("--a=1", "--b=2")
    assert config.evaluate.min_accuracy is None
    assert config.ingest.test_fraction == 0.25


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hiden_size", "8", "did you mean 'hidden_size'"),
        ("zzz", "8", "the keys are"),
        ("hidden_size", "many", "hidden_size=many: must be a whole number"),
        ("hidden_size", "1.5", "must be a whole number"),
        ("hidden_size", "0", "out of range; it must be from 1 to 4096"),
        ("learning_rate", "nan", "must be a number"),
        ("learning_rate", "-1", "out of range"),
        ("bidirectional", "perhaps", "must be true or false"),
        ("cell", "transformer", "must be one of simple_rnn, lstm, gru"),
        ("dropout_rate", "1.0", "out of range"),
    ],
)
def test_a_bad_override_is_named(key: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preset("default").override({key: value})


def test_an_unknown_preset_is_named_with_the_known() -> None:
    with pytest.raises(
        InputError, match="'fast': unknown preset; choose one of default, accurate, semi_supervised"
    ):
        preset("fast")


@given(st.integers(1, 4096), st.floats(1e-8, 10.0))
def test_strings_and_numbers_mean_the_same(size: int, rate: float) -> None:
    as_text = TrainConfig.from_mapping({"hidden_size": str(size), "learning_rate": repr(rate)})
    assert as_text == TrainConfig(hidden_size=size, learning_rate=rate)


def test_no_key_belongs_to_two_tasks() -> None:
    keys = [key for values in preset("default").to_mapping().values() for key in values]
    assert len(keys) == len(set(keys))


def test_the_seed_preset_is_the_published_model() -> None:
    config = preset("seed")
    assert (config.preprocess.vocabulary_size, config.preprocess.max_length) == (10_000, 200)
    assert config.preprocess.truncating == "pre"
    train = config.train
    assert (train.cell, train.bidirectional, train.pooling) == ("simple_rnn", False, "last")
    assert (train.embedding_size, train.hidden_size) == (128, 64)
    assert (train.batch_size, train.num_epochs, train.seed) == (32, 10, 42)
    assert (train.learning_rate, train.clip_norm, train.lazy_embedding_updates) == (
        1e-3,
        None,
        False,
    )
    assert train.early_stopping_patience is None
    assert train.dropout_rate == train.word_dropout_rate == train.bigram_vocabulary_size == 0
