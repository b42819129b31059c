"""Fits the linear classifier beside the RNN, and the weights of the two.

Each is fitted on train by itself: an RNN that learned what the classifier leaves over would have
little to learn from, as the classifier is right in all of train. What they get wrong elsewhere has
little in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from components.shared.errors import InputError
from components.shared.features import Examples
from components.train.ngrams import chunks, commonest_ngrams, ngrams

_INVERSE_REGULARIZATION = 10.0
_MAX_KEY = 2**63
# Of runs; more would tell little more, and take memory for as long as the model lives.
_MAX_RUNS = 2**20


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear classifier that has been fitted."""

    keys: np.ndarray
    """int64 `[rows]`, sorted: the runs of tokens that it knows."""
    ratios: np.ndarray
    """float32 `[rows]`: the log-count ratio of each."""
    weights: np.ndarray
    """float32 `[rows]`: the weight of each."""
    bias: float


def fit_linear(examples: Examples, vocabulary_size: int, order: int) -> Linear:
    """Fits a logistic regression over the runs of up to `order` tokens.

    Args:
        examples: those to learn from; a label between 0 and 1 is the probability of 1.
        vocabulary_size: rows of the vocabulary.
        order: the tokens in the longest runs.

    Raises:
        InputError: the examples have one label alone or no run that occurs twice, or there are
            too many runs for their keys.
    """
    if vocabulary_size**order >= _MAX_KEY:
        raise InputError(
            f"linear_ngrams={order}: too long for a vocabulary of {vocabulary_size:,} tokens; "
            "set it lower, or vocabulary_size"
        )
    labels = examples.labels.astype(np.float32)
    places, classes, weights = _certain(labels)
    if len(np.unique(classes)) < 2:
        raise InputError("linear_ngrams: train has reviews of one label alone; bring others")
    orders = range(1, order + 1)
    keys = commonest_ngrams(examples, vocabulary_size, orders, _MAX_RUNS)
    if len(keys) == 0:
        raise InputError("linear_ngrams: no known word occurs twice in train; bring more reviews")
    rows = _rows(examples, vocabulary_size, orders, keys)
    ratios = log_count_ratios(rows, labels)
    rows.data *= ratios[rows.indices]
    rows = normalize(rows, copy=False)
    if len(places) > len(labels):
        rows = rows[places]
    regression = LogisticRegression(C=_INVERSE_REGULARIZATION, max_iter=1000)
    regression.fit(rows, classes, sample_weight=weights)
    coefficients = regression.coef_[0].astype(np.float32)
    return Linear(keys, ratios, coefficients, float(regression.intercept_[0]))


def log_count_ratios(rows: sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """By how much more often each column occurs with the label 1 (Wang and Manning, 2012).

    Args:
        rows: what occurs where, as ones: float32 `[n, columns]`.
        labels: the probabilities of 1, float32 `[n]`.

    Returns:
        The logarithm of the ratio of the smoothed shares, float32 `[columns]`.
    """
    counts = [1.0 + (rows.T @ chances).astype(np.float64) for chances in (labels, 1.0 - labels)]
    shares = [count / count.sum() for count in counts]
    return np.log(shares[0] / shares[1]).astype(np.float32)


def mixture(
    recurrent: np.ndarray, linear: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The weights of two logits, and a bias, that make the likeliest of labels.

    Args:
        recurrent: the logits of the RNN, float `[rows]`.
        linear: those of the linear classifier.
        labels: 0 or 1.
        weights: how much each row counts.

    Returns:
        float32 `[3]`; a plain sum where the rows have one label alone.
    """
    if len(np.unique(labels[weights > 0])) < 2:
        return np.array([1.0, 1.0, 0.0], np.float32)
    logits = np.stack([recurrent, linear], axis=1)
    found = LogisticRegression().fit(logits, labels, sample_weight=weights)
    return np.append(found.coef_[0], found.intercept_).astype(np.float32)


def _certain(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with a label of 0 or 1, and how much each counts, that stand for soft labels.

    Args:
        labels: the probabilities of 1, float32 `[rows]`.

    Returns:
        The places of the rows, int64; their labels, bool; their weights, float64. A row that is
        surely neither is there twice.
    """
    labels = labels.astype(np.float64)
    chances = np.stack([1.0 - labels, labels], axis=1)
    places, classes = np.nonzero(chances)
    return places, classes == 1, chances[places, classes]


def _rows(
    examples: Examples, vocabulary_size: int, orders: Sequence[int], keys: np.ndarray
) -> sparse.csr_matrix:
    """Which of the runs occur in which example, as ones: float32 `[examples, keys]`."""
    parts = []
    for chunk in chunks(examples):
        runs = [ngrams(chunk, vocabulary_size, order) for order in orders]
        found, rows = (np.concatenate(column) for column in zip(*runs, strict=True))
        places = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
        known = keys[places] == found
        ones = np.ones(int(known.sum()), np.float32)
        part = sparse.csr_matrix((ones, (rows[known], places[known])), (len(chunk), len(keys)))
        # A run that occurs again counts once.
        part.sum_duplicates()
        part.data[:] = 1.0
        parts.append(part)
    return sparse.vstack(parts, format="csr")
