"""The linear classifier beside the RNN: what it counts, and what the model makes of it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.features import Examples, read_examples
from components.shared.ngrams import NgramClassifier, ngram_keys, places_of
from components.train import ngrams as ngrams_module
from components.train.batches import pad
from components.train.linear import Linear, fit_linear, mixture
from components.train.ngrams import ngrams
from components.train.train import train

WORDS = 12
"""Rows of the vocabulary; 0 and 1 are `<pad>` and `<unk>`."""

_REVIEWS = st.lists(
    st.lists(st.integers(1, WORDS - 1), min_size=1, max_size=9), min_size=4, max_size=20
)


def make(rows: list[list[int]]) -> Examples:
    flat = np.array([token for row in rows for token in row], np.int32)
    return Examples(flat, np.cumsum([0, *map(len, rows)]), np.arange(len(rows), dtype=np.int32) % 2)


def padded(examples: Examples) -> tf.Tensor:
    rows = np.arange(len(examples))
    return tf.constant(pad(examples, rows, 10, pad_left=False).token_ids)


def layer(linear: Linear, order: int) -> NgramClassifier:
    made = NgramClassifier(vocabulary_size=WORDS, order=order, rows=len(linear.keys))
    made.set(linear.keys, linear.ratios, linear.weights, linear.bias)
    return made


@given(_REVIEWS, st.integers(1, 3))
def test_runs_are_those_within_a_review_and_of_known_words(
    rows: list[list[int]], order: int
) -> None:
    expected = [
        (sum(token * WORDS ** (order - 1 - i) for i, token in enumerate(run)), row)
        for row, tokens in enumerate(rows)
        for run in (tokens[i : i + order] for i in range(len(tokens) - order + 1))
        if min(run) > 1
    ]
    keys, places = ngrams(make(rows), WORDS, order)
    assert list(zip(keys.tolist(), places.tolist(), strict=True)) == expected
    in_model = ngram_keys(padded(make(rows)), WORDS, order).numpy()
    assert [(key, row) for row in range(len(rows)) for key in in_model[row] if key] == expected


@given(st.sets(st.integers(1, 99), min_size=1), st.lists(st.integers(0, 99), min_size=1))
def test_a_key_is_found_where_it_stands(known: set[int], asked: list[int]) -> None:
    table = sorted(known)
    found = places_of(tf.constant(asked, tf.int64), tf.constant(table, tf.int64)).numpy().tolist()
    assert found == [table.index(key) + 1 if key in known else 0 for key in asked]


def by_scikit_learn(rows: list[list[int]], labels: np.ndarray, order: int) -> np.ndarray:
    """The logits of the same classifier over texts."""
    texts = [" ".join("" if t == 1 else f"w{t}" for t in row).replace("  ", " | ") for row in rows]
    # A run across an unknown word is none.
    counter = CountVectorizer(ngram_range=(1, order), token_pattern=r"\S+", binary=False)
    counts = counter.fit_transform(texts)
    names = counter.get_feature_names_out()
    kept = (np.asarray(counts.sum(axis=0))[0] >= 2) & np.array(["|" not in n for n in names])
    ones = (counts[:, kept] > 0).astype(float)
    positive, negative = (1 + np.asarray(ones[labels == y].sum(axis=0))[0] for y in (1, 0))
    ratios = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
    scaled = normalize(ones.multiply(ratios).tocsr())
    return LogisticRegression(C=10.0, max_iter=1000).fit(scaled, labels).decision_function(scaled)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_model_gives_what_scikit_learn_gives_for_the_texts(order: int) -> None:
    random = np.random.default_rng(order)
    rows = [random.integers(1, WORDS, random.integers(1, 9)).tolist() for _ in range(60)]
    examples = make(rows)
    linear = fit_linear(examples, WORDS, order)
    found = layer(linear, order)(padded(examples)).numpy()
    expected = by_scikit_learn(rows, examples.labels, order)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_reviews_that_are_taken_some_at_a_time_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    examples = make([random.integers(1, WORDS, random.integers(1, 9)).tolist() for _ in range(60)])
    whole = fit_linear(examples, WORDS, 2)
    monkeypatch.setattr(ngrams_module, "_CHUNK_TOKENS", 7)
    parts = fit_linear(examples, WORDS, 2)
    for name in ("keys", "ratios", "weights", "bias"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_labels_between_0_and_1_are_probabilities() -> None:
    random = np.random.default_rng(0)
    examples = make([random.integers(1, WORDS, random.integers(1, 9)).tolist() for _ in range(60)])
    hard, same = (
        fit_linear(replace(examples, labels=examples.labels.astype(kind)), WORDS, 2)
        for kind in (np.int32, np.float32)
    )
    np.testing.assert_array_equal(hard.weights, same.weights)
    soft = replace(examples, labels=random.uniform(size=60).astype(np.float32))
    fitted = fit_linear(soft, WORDS, 2)
    chances = tf.sigmoid(layer(fitted, 2)(padded(soft))).numpy()
    # Where the likelihood is greatest, as many are expected of each label as there are.
    assert chances.mean() == pytest.approx(soft.labels.mean(), abs=1e-3)
    occurs = np.array([2 in soft.token_ids[a:b] for a, b in pairwise(soft.offsets)])
    counts = [1 + np.sum(y[occurs]) for y in (soft.labels, 1 - soft.labels)]
    ratios = fitted.ratios[np.searchsorted(fitted.keys, [2, 3])]
    others = np.array([3 in soft.token_ids[a:b] for a, b in pairwise(soft.offsets)])
    more = [1 + np.sum(y[others]) for y in (soft.labels, 1 - soft.labels)]
    expected = np.log(counts[0] / counts[1]) - np.log(more[0] / more[1])
    assert ratios[0] - ratios[1] == pytest.approx(expected, abs=1e-4)


def test_a_review_without_a_known_run_has_the_bias() -> None:
    linear = Linear(np.array([5]), np.ones(1), np.ones(1), 0.25)
    assert layer(linear, 2)(tf.constant([[1, 0], [5, 5]])).numpy().tolist() == [0.25, 1.25]
    assert layer(linear, 2)(tf.zeros([0, 1], tf.int32)).shape == (0,)


def test_the_mixture_trusts_what_is_right() -> None:
    labels = np.arange(200) % 2
    told = 2.0 * labels - 1.0
    chance = np.random.default_rng(0).normal(size=200)
    ones = np.ones(200)
    recurrent, linear, _ = mixture(chance, told, labels, ones)
    assert abs(recurrent) < 0.5 < linear
    # Rows of no weight, as those that fill up a batch, change nothing.
    a, b, c = (np.append(values, values[::-1]) for values in (chance, told, labels))
    again = mixture(a, b, c, np.append(ones, np.zeros(200)))
    np.testing.assert_allclose(again[:2], [recurrent, linear], atol=1e-4)
    assert mixture(chance, told, np.ones(200), ones).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("rows", "labels", "words", "order", "complaint"),
    [
        ([[2, 3], [2, 3]], [1, 1], WORDS, 1, "one label alone"),
        ([[2, 3], [4, 5]], [0, 1], WORDS, 1, "no known word occurs twice"),
        ([[2, 2], [2, 2]], [0, 1], 3_000_000, 3, "linear_ngrams=3: too long for a vocabulary"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    rows: list[list[int]], labels: list[int], words: int, order: int, complaint: str
) -> None:
    made = make(rows)
    examples = Examples(made.token_ids, made.offsets, np.array(labels, np.int32))
    with pytest.raises(InputError, match=complaint):
        fit_linear(examples, words, order)


def test_the_model_of_the_best_epoch_keeps_its_mixture(prepared: Any, tmp_path: Path) -> None:
    from components.shared.model_files import load_model

    config = TrainConfig(
        cell="identity", embedding_size=4, dropout_rate=0.0, linear_ngrams=2, num_epochs=2
    )
    out = tmp_path / "model"
    history = train(prepared.examples, prepared.vocabulary, config, out, tmp_path / "run", None)
    model, _ = load_model(out)
    validation = read_examples(prepared.examples, "validation")
    longest = int(validation.lengths.max())
    batch = pad(validation, np.arange(len(validation)), longest, pad_left=False)
    logits = model(batch.token_ids).numpy()
    best = history["epochs"][history["best_epoch"] - 1]
    assert np.mean((logits >= 0) == batch.labels) == pytest.approx(best["validation_accuracy"])
    loss = np.logaddexp(0.0, np.where(batch.labels == 1, -logits, logits)).mean()
    assert loss == pytest.approx(best["validation_loss"], abs=1e-4)
    assert not np.array_equal(model.mixture.numpy(), np.ones(3))
