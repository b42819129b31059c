"""The linear floor."""

import random
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.baseline import linear_baseline
from components.evaluate.metrics import measure
from components.shared.errors import InputError

ARCHIVE = Path(__file__).parents[4] / "shared" / "data" / "aclImdb_v1.tar.gz"
_FILLER = ("plot", "camera", "actor", "scene", "score", "night")


def made_up(seed: int, rows: int) -> tuple[list[str], np.ndarray]:
    """Reviews whose label only a pair of words tells: each single word stands on both sides."""
    draw = random.Random(seed)
    texts, labels = [], []
    for row in range(rows):
        pairs = ["not good", "very bad"] if row % 2 == 0 else ["very good", "not bad"]
        words = [*pairs, *draw.choices(_FILLER, k=6)]
        draw.shuffle(words)
        texts.append(" , ".join(words))
        labels.append(row % 2)
    return texts, np.array(labels)


def test_it_learns_what_only_bigrams_tell() -> None:
    train, test = made_up(seed=0, rows=200), made_up(seed=1, rows=100)
    predictions = linear_baseline(*train, test[0])
    assert measure(test[1], predictions)["accuracy"] == 1.0


def test_the_same_reviews_give_the_same_bytes() -> None:
    train, test = made_up(seed=0, rows=100), made_up(seed=1, rows=50)
    first, second = (linear_baseline(*train, test[0]) for _ in range(2))
    assert first.probabilities.tobytes() == second.probabilities.tobytes()


def test_it_is_fitted_to_train_alone() -> None:
    train, test = made_up(seed=0, rows=100), made_up(seed=1, rows=50)
    alone = linear_baseline(*train, test[0][:1])
    among = linear_baseline(*train, test[0] + ["superb " * 100] * 50)
    assert alone.probabilities[0] == among.probabilities[0]


def test_texts_without_a_word_get_a_probability() -> None:
    predictions = linear_baseline(*made_up(seed=0, rows=20), ["", "...", "😀"])
    assert predictions.valid.all()


def test_train_reviews_of_one_label_are_refused() -> None:
    texts, labels = made_up(seed=0, rows=20)
    with pytest.raises(InputError, match="train: has not both negative and positive reviews"):
        linear_baseline(texts, np.zeros_like(labels), texts)


def test_it_needs_no_tensorflow() -> None:
    code = "import components.evaluate.baseline, sys; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the archive with the real reviews isn't here")
def test_real_reviews() -> None:
    rows: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    with tarfile.open(ARCHIVE) as archive:
        for number, member in enumerate(archive):
            _, split, label, *_ = *member.name.split("/"), "", ""
            if split in rows and label in ("neg", "pos") and member.isfile() and number % 6 == 0:
                content = archive.extractfile(member)
                assert content is not None
                rows[split].append((content.read().decode("utf-8"), int(label == "pos")))
    texts, labels = zip(*rows["train"], strict=True)
    test_texts, test_labels = zip(*rows["test"], strict=True)
    assert len(texts) > 4000
    predictions = linear_baseline(texts, np.array(labels), test_texts)
    accuracy = measure(np.array(test_labels), predictions)["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.86
