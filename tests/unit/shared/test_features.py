"""The file format of the encoded examples."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.shared.errors import InputError
from components.shared.features import (
    Features,
    read_examples,
    read_vocabulary,
    serialize_example,
    shard_name,
)

_ROWS = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=20),
        st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30),
        st.sampled_from([-1, 0, 1]),
    ),
    max_size=40,
)


def write(directory: Path, rows: list, shards: int) -> None:
    (directory / "train").mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = directory / "train" / shard_name(shard, shards)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows[shard::shards]:
                writer.write(serialize_example(*row))
    Features(
        vocabulary_size=9,
        vocabulary_sha256="",
        max_length=30,
        truncating="pre",
        rows={"train": len(rows)},
    ).save(directory)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=_ROWS, shards=st.integers(1, 4))
def test_what_is_written_is_read(tmp_path: Path, rows: list, shards: int) -> None:
    shutil.rmtree(tmp_path / "examples", ignore_errors=True)
    write(tmp_path / "examples", rows, shards)
    examples = read_examples(tmp_path / "examples", "train")
    in_order = [row for shard in range(shards) for row in rows[shard::shards]]
    assert len(examples) == len(rows)
    for i, (_, token_ids, label) in enumerate(in_order):
        read = examples.token_ids[examples.offsets[i] : examples.offsets[i + 1]]
        assert read.tolist() == token_ids and examples.lengths[i] == len(token_ids)
        assert examples.labels[i] == label


def test_an_example_has_one_serialization() -> None:
    assert serialize_example(b"x", [3, 4], 1) == serialize_example(b"x", np.array([3, 4]), 1)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    write(tmp_path, [(b"%d" % i, [5] * (i + 1), i % 2) for i in range(10)], 2)
    return tmp_path


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_corrupt_file_is_named(examples: Path) -> None:
    damage(examples / "train" / shard_name(1, 2))
    with pytest.raises(
        InputError, match=r"examples-00001-of-00002.tfrecord: a corrupt TFRecord file"
    ):
        read_examples(examples, "train")


def test_a_file_cut_off_within_a_record_is_named(examples: Path) -> None:
    path = examples / "train" / shard_name(0, 2)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        InputError, match=r"examples-00000-of-00002.tfrecord: a corrupt TFRecord file"
    ):
        read_examples(examples, "train")


def test_a_missing_file_is_noticed(examples: Path) -> None:
    (examples / "train" / shard_name(0, 2)).unlink()
    with pytest.raises(InputError, match="holds 5 examples where 10 were written"):
        read_examples(examples, "train")


def test_a_missing_split_is_named(examples: Path) -> None:
    with pytest.raises(InputError, match="has no split 'test', only train"):
        read_examples(examples, "test")


def test_a_vocabulary_that_does_not_match_is_refused(prepared, tmp_path: Path) -> None:
    features = Features.load(prepared.examples)
    assert len(read_vocabulary(prepared.vocabulary, features)) == features.vocabulary_size
    (tmp_path / "vocabulary.txt").write_text("<pad>\n<unk>\nsomething\nelse\n")
    with pytest.raises(InputError, match="4 tokens, not the vocabulary of 60 tokens"):
        read_vocabulary(tmp_path, features)
    (tmp_path / "vocabulary.txt").write_text("something\nelse\n")
    with pytest.raises(InputError, match="does not begin with"):
        read_vocabulary(tmp_path)
