"""What `ingest` makes of good input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from components.ingest import builder
from components.shared import reviews
from components.shared.artifacts import directory_sha256, read_json


def everything(corpus):
    """All texts with their labels."""
    return sorted(
        row for split in reviews.split_sizes(corpus.output) for row in corpus.texts(split)
    )


def test_archive(corpus, capsys):
    files = corpus.files(per_class=100, unlabelled=30)
    summary = corpus.ingest(corpus.archive(files))

    assert set(summary["splits"]) == {"train", "validation", "test", "unsupervised"}
    assert summary["splits"] == reviews.split_sizes(corpus.output)
    assert corpus.texts("test") == sorted(
        (text, int("/pos/" in name)) for name, text in files.items() if name.startswith("test")
    )
    assert sorted(corpus.texts("train") + corpus.texts("validation")) == sorted(
        (text, int("/pos/" in name))
        for name, text in files.items()
        if name.startswith(("train/neg", "train/pos"))
    )
    assert corpus.texts("unsupervised") == sorted(
        (text, -1) for name, text in files.items() if "/unsup/" in name
    )
    assert 8 <= summary["splits"]["validation"] <= 32
    assert summary["labels"]["test"] == {"neg": 100, "pos": 100}
    assert summary["labels"]["unsupervised"] == {"unsup": 30}
    assert summary["kind"] == "archive"
    assert summary == read_json(corpus.output / reviews.SUMMARY)
    assert '@progress {"text": ' in capsys.readouterr().out


def test_the_data_set_is_read_by_tfds(corpus):
    corpus.ingest(corpus.archive(corpus.files(unlabelled=5)))
    found = tfds.builder_from_directory(corpus.output / "reviews" / "1.0.0")
    assert found.info.features["label"].names == ["neg", "pos"]
    for split in ("train", "validation", "test", "unsupervised"):
        read = [(row["text"], row["label"]) for row in tfds.as_numpy(found.as_dataset(split=split))]
        assert sorted(read) == corpus.texts(split)


@pytest.mark.parametrize("form", ["tar", "tgz", "folder", "parent", "root", "reversed", "renamed"])
def test_the_form_of_the_source_makes_no_difference(corpus, form):
    files = corpus.files(unlabelled=10)
    reference = corpus.ingest(corpus.archive(files))
    reference_bytes = directory_sha256(corpus.output / "reviews")
    renamed = {
        f"{Path(name).parent}/x{i}_7.txt": text for i, (name, text) in enumerate(files.items())
    }
    make = {
        "tar": lambda: corpus.archive(files, "a.tar"),
        "tgz": lambda: corpus.archive(files, "a.tgz"),
        "folder": lambda: corpus.folder(files),
        "parent": lambda: corpus.folder(files, "parent/aclImdb").parent,
        "root": lambda: corpus.archive(files, "a.tar.gz", root="./"),
        "reversed": lambda: corpus.archive(dict(reversed(files.items())), "a.tar.gz", time=7),
        "renamed": lambda: corpus.archive(renamed, "a.tar.gz", root="our own reviews/"),
    }
    summary = corpus.ingest(make[form]())
    assert summary["fingerprint"] == reference["fingerprint"]
    assert directory_sha256(corpus.output / "reviews") == reference_bytes


def test_each_process_writes_the_same_bytes_without_tensorflow(corpus):
    source = corpus.archive(corpus.files())
    code = """
import sys
from components.ingest.ingest import ingest
from components.shared.config import IngestConfig
ingest(sys.argv[1], IngestConfig(), sys.argv[2])
loaded = {"tensorflow", "apache_beam", "pandas", "kfp"} & set(sys.modules)
assert not loaded, loaded
"""
    # Protobuf orders a map by where the process happens to be loaded: two may agree by chance.
    outputs = [corpus.path / f"out{number}" for number in range(4)]
    for number, output in enumerate(outputs):
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        command = [sys.executable, "-c", code, str(source), str(output)]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    assert len({json.dumps(directory_sha256(output)) for output in outputs}) == 1


def test_several_shards(corpus, monkeypatch):
    files = corpus.files(per_class=100)
    monkeypatch.setattr(builder, "SHARD_BYTES", 2000)
    corpus.ingest(corpus.archive(files))
    assert len(reviews.split_shards(corpus.output, "test")) > 3
    assert [text for text, _ in everything(corpus)] == sorted(files.values())
    ids = [row[0] for split in reviews.split_sizes(corpus.output) for row in corpus.rows(split)]
    assert len(set(ids)) == len(files)


def test_train_reviews_that_stand_in_test_are_dropped(corpus):
    files = corpus.files()
    shared = [text for name, text in files.items() if name.startswith("test/pos")][:3]
    # Whatever their label.
    files |= {f"train/neg/again{i}_1.txt": text for i, text in enumerate(shared)}
    files |= {"train/pos/again_9.txt": shared[0]}
    summary = corpus.ingest(corpus.archive(files))
    assert summary["dropped_because_in_test"] == 4
    assert summary["splits"]["test"] == 80
    assert summary["splits"]["train"] + summary["splits"]["validation"] == 80
    assert not set(shared) & {t for s in ("train", "validation") for t, _ in corpus.texts(s)}


def test_duplicates_and_contradictions_stay_in_one_split(corpus):
    files = corpus.files()
    twice = {f"train/pos/copy{i}_8.txt": b"the very same text" for i in range(3)}
    both = {"train/neg/both_2.txt": b"good or bad", "train/pos/both_9.txt": b"good or bad"}
    unchecked = {"max_contradiction_share": None}
    summary = corpus.ingest(corpus.archive(files | twice | both), config=unchecked)
    assert summary["texts_with_both_labels"] == 1
    assert sum(summary["duplicates"].values()) == 3
    for text, labels in ((b"the very same text", [1, 1, 1]), (b"good or bad", [0, 1])):
        found = [
            (split, id_, label)
            for split in summary["splits"]
            for id_, other, label in corpus.rows(split)
            if other == text
        ]
        assert len({split for split, _, _ in found}) == 1
        assert sorted(label for _, _, label in found) == labels
        assert len({id_ for _, id_, _ in found}) == len(labels)


def test_texts_arrive_byte_for_byte(corpus):
    odd = [b"", b" \n\t ", b"line\r\nline\n", b"\xef\xbb\xbfmark", b"a\0b", "🎬 ärger".encode()]
    odd.append(b"long " * 100_000)
    extra = {f"train/pos/odd{i}_9.txt": text for i, text in enumerate(odd)}
    files = corpus.files() | extra
    corpus.ingest(corpus.archive(files), config={"max_empty_share": None})
    assert sorted(text for text, _ in everything(corpus)) == sorted(files.values())


def test_file_names_of_any_script_and_bytes(corpus):
    files = corpus.files()
    extra = {"train/pos/отзыв 🎬_9.TXT": b"one more", f"test/neg/{'long' * 40}_1.txt": b"and more"}
    folder = corpus.folder(files | extra, "Kritiken, größte")
    with (folder / "train/neg" / os.fsdecode(b"\xff_1.txt")).open("wb") as file:
        file.write(b"a name that is not UTF-8")
    from_folder = corpus.ingest(folder)
    packed = files | extra | {"train/neg/\udcff_1.txt": b"a name that is not UTF-8"}
    from_archive = corpus.ingest(corpus.archive(packed))
    assert from_folder["fingerprint"] == from_archive["fingerprint"]
    assert sum(from_folder["splits"].values()) == len(packed)


def test_other_files_are_ignored(corpus):
    files = corpus.files()
    others = dict.fromkeys(
        (
            "README",
            "imdb.vocab",
            "train/urls_pos.txt",
            "train/labeledBow.feat",
            "train/pos/._1_9.txt",
            "train/pos/notes.md",
            "train/pos/deeper/1_9.txt",
            "test/unsup/1_0.txt",
        ),
        b"\xff not UTF-8",
    )
    archive = corpus.ingest(corpus.archive(files | others))
    folder = corpus.ingest(corpus.folder(files | others))
    plain = corpus.ingest(corpus.archive(files))
    assert archive["fingerprint"] == folder["fingerprint"] == plain["fingerprint"]


def test_an_earlier_output_is_replaced(corpus):
    corpus.output.mkdir()
    (corpus.output / "old").write_text("old")
    corpus.ingest(corpus.archive(corpus.files()))
    assert sorted(path.name for path in corpus.output.iterdir()) == ["reviews", "summary.json"]
    assert [path.name for path in corpus.output.parent.iterdir()] == ["out"]


def test_file_uri(corpus):
    archive = corpus.archive(corpus.files(), "our reviews.tar.gz")
    assert corpus.ingest(archive.as_uri())["splits"]["test"] == 80


def test_validation_fraction(corpus):
    archive = corpus.archive(corpus.files(per_class=200))
    assert (
        150 < corpus.ingest(archive, config={"validation_fraction": 0.5})["splits"]["train"] < 250
    )


def test_bundled(corpus):
    summary = corpus.ingest("bundled")
    assert summary["source"] == summary["kind"] == "bundled"
    sizes = summary["splits"]
    assert sum(sizes.values()) == 25_000
    assert abs(sizes["test"] - 5000) < 200
    assert abs(sizes["validation"] - 2000) < 150
    labels = [summary["labels"][split][label] for split in sizes for label in ("neg", "pos")]
    assert sum(labels[::2]) == sum(labels[1::2]) == 12_500
    texts = {split: {text for text, _ in corpus.texts(split)} for split in sizes}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]


def test_real_archive(corpus):
    archive = Path(__file__).parents[4] / "shared" / "data" / "aclImdb_v1.tar.gz"
    if not archive.is_file():
        pytest.skip(
            f"{archive} is not here: it is the real data set, which is not part of the project"
        )
    summary = corpus.ingest(archive)
    assert summary["dropped_because_in_test"] == 123
    assert summary["splits"]["test"] == 25_000
    assert summary["splits"]["unsupervised"] == 50_000
    assert summary["splits"]["train"] + summary["splits"]["validation"] == 24_877


def test_files_beside_the_splits_of_an_archive_without_a_folder_of_its_own(corpus):
    files = corpus.files()
    archive = corpus.archive(files | {"README": b"notes", "pos/1_9.txt": b"odd"}, root="")
    assert sum(corpus.ingest(archive)["splits"].values()) == len(files)
