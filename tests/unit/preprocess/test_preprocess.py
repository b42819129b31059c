"""Preprocessing, by Beam, of made-up reviews."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.preprocess import transforms
from components.preprocess.preprocess import preprocess
from components.shared.artifacts import directory_sha256, read_json
from components.shared.config import PreprocessConfig
from components.shared.errors import InputError
from components.shared.features import Features, read_examples, read_vocabulary
from components.shared.reviews import parse_review, split_shards
from components.shared.tokenizer import TextEncoder, tokenize

CONFIG = PreprocessConfig(vocabulary_size=60, max_length=32)


def run(reviews: Path, root: Path, config: PreprocessConfig = CONFIG) -> dict:
    parts = [root / name for name in ("examples", "vocabulary", "statistics")]
    return preprocess(reviews, config, *parts)


def texts(reviews: Path, split: str) -> list[bytes]:
    files = [str(path) for path in split_shards(reviews, split)]
    records = list(tf.data.TFRecordDataset(files).as_numpy_iterator())
    return parse_review(records)["text"].numpy().tolist()


@pytest.mark.parametrize(
    "beam_args",
    [
        ("--direct_num_workers=1", "--direct_running_mode=in_memory"),
        ("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
    ],
)
def test_the_bytes_are_the_same_whatever_the_workers(prepared, tmp_path, beam_args) -> None:
    config = PreprocessConfig(vocabulary_size=60, max_length=32, beam_args=beam_args)
    run(prepared.reviews, tmp_path, config)
    for name in ("examples", "vocabulary", "statistics"):
        assert directory_sha256(tmp_path / name) == directory_sha256(getattr(prepared, name))


def test_the_vocabulary_holds_the_commonest_tokens_of_train_alone(prepared) -> None:
    counts = Counter(tokenize(tf.constant(texts(prepared.reviews, "train"))).flat_values.numpy())
    expected = sorted(counts, key=lambda token: (-counts[token], token))[:58]
    vocabulary = read_vocabulary(prepared.vocabulary)
    assert vocabulary == ["<pad>", "<unk>", *(token.decode() for token in expected)]


def test_each_example_is_its_review_as_the_encoder_has_it(prepared) -> None:
    encoder = TextEncoder(prepared.vocabulary / "vocabulary.txt", 32, "middle")
    for split, rows in Features.load(prepared.examples).rows.items():
        expected = encoder(tf.constant(texts(prepared.reviews, split))).to_list()
        examples = read_examples(prepared.examples, split)
        found = np.split(examples.token_ids, examples.offsets[1:-1])
        assert len(found) == rows
        assert sorted(f.tolist() for f in found) == sorted(expected)


def test_statistics_count_what_is_there(prepared) -> None:
    statistics = read_json(prepared.statistics / "statistics.json")
    assert statistics["vocabulary_size"] == 60
    assert set(statistics["splits"]) == {"train", "validation", "test", "unsupervised"}
    assert statistics["splits"]["test"]["labels"] == {"0": 200, "1": 200}
    assert statistics["splits"]["test"]["positive_share"] == 0.5
    assert statistics["splits"]["unsupervised"]["labels"] == {"-1": 50}
    train = statistics["splits"]["train"]
    tokens = tokenize(tf.constant(texts(prepared.reviews, "train")))
    lengths = np.sort(tokens.row_lengths().numpy())
    assert train["rows"] == len(lengths)
    assert train["length_quantiles"]["0"] == lengths[0]
    assert train["length_quantiles"]["1"] == lengths[-1]
    assert train["length_quantiles"]["0.5"] == lengths[(len(lengths) - 1) // 2]
    examples = read_examples(prepared.examples, "train")
    assert train["out_of_vocabulary_rate"] == round(float((examples.token_ids == 1).mean()), 6)


@pytest.mark.parametrize(("batch", "file_bytes"), [(1024, 8 << 20), (1, 8 << 20), (1024, 4_000)])
def test_duplicates_and_empty_reviews_are_counted(
    write_reviews, tmp_path: Path, monkeypatch, batch: int, file_bytes: int
) -> None:
    from components.ingest import builder
    from components.ingest.ingest import ingest
    from components.shared.config import IngestConfig

    # Reviews of one text may stand in two batches, or in two files.
    monkeypatch.setattr(transforms, "BATCH_SIZE", batch)
    monkeypatch.setattr(builder, "SHARD_BYTES", file_bytes)
    source = write_reviews(tmp_path / "source", per_class=50)
    for i in range(3):
        (source / "test" / "pos" / f"9{i}_9.txt").write_text("the very same text")
    (source / "test" / "neg" / "99_1.txt").write_text(" <br /> ... ")
    ingest(str(source), IngestConfig(), tmp_path / "reviews")
    test = run(tmp_path / "reviews", tmp_path)["splits"]["test"]
    assert (test["duplicate_reviews"], test["empty_reviews"]) == (2, 1)
    assert test["length_quantiles"]["0"] == 0


def test_unreadable_reviews_are_named_and_nothing_is_left(prepared, tmp_path: Path) -> None:
    import shutil

    reviews = tmp_path / "in" / "reviews"
    shutil.copytree(prepared.reviews, reviews)
    shard = split_shards(reviews, "train")[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=re.escape(shard.name)):
        run(reviews, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam_runner": "NoSuchRunner"}, "beam_runner=NoSuchRunner"),
        ({"beam_args": ("--direct_num_workers=many",)}, "beam_args=--direct_num_workers=many"),
        ({"beam_args": ("--direct_num_wrokers=2",)}, "Beam has no option --direct_num_wrokers"),
        ({"beam_args": ('["--direct_num_workers=2"]',)}, "options begin with --"),
        ({"beam_args": ("--experiments=data_buffer_time_limit_ms=5",)}, "lose elements with data_"),
    ],
)
def test_options_that_beam_refuses_are_named(prepared, tmp_path, change, message) -> None:
    with pytest.raises(InputError, match=message):
        run(prepared.reviews, tmp_path, PreprocessConfig(vocabulary_size=60, **change))
    assert list(tmp_path.iterdir()) == []
