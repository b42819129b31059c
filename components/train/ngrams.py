"""Runs of neighbouring tokens in the examples to learn from: their keys, and the commonest ones."""

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

from components.shared.features import Examples
from components.shared.tokenizer import UNK_ID

# A run that occurs less often tells more of its review than of reviews.
_MIN_COUNT = 2
_CHUNK_TOKENS = 4_000_000


def ngrams(examples: Examples, vocabulary_size: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Every run of `order` known tokens within an example.

    Args:
        examples: the examples.
        vocabulary_size: rows of the vocabulary.
        order: 1 for tokens, 2 for pairs of them, and so on.

    Returns:
        Their keys, as `components.shared.ngrams.ngram_keys` has them, and the row of each in the
        examples: int64 `[runs]` both.
    """
    ids = examples.token_ids.astype(np.int64)
    rows = np.repeat(np.arange(len(examples)), examples.lengths)
    runs = max(0, len(ids) - order + 1)
    keys, inside = np.zeros(runs, np.int64), np.ones(runs, bool)
    for place in range(order):
        shifted = ids[place : place + runs]
        inside &= (shifted > UNK_ID) & (rows[place : place + runs] == rows[:runs])
        keys = keys * vocabulary_size + shifted
    return keys[inside], rows[:runs][inside]


def commonest_ngrams(
    examples: Examples, vocabulary_size: int, orders: Iterable[int], size: int
) -> np.ndarray:
    """The keys of the commonest runs of known tokens.

    A run that occurs once is left out; ties break by key.

    Args:
        examples: those to learn from.
        vocabulary_size: rows of the vocabulary.
        orders: how many tokens a run may have.
        size: the most runs to take.

    Returns:
        int64 `[<= size]`, sorted.
    """
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if size == 0:
        return keys
    for chunk, order in product(chunks(examples), orders):
        runs, _ = ngrams(chunk, vocabulary_size, order)
        keys, counts = _merge(keys, counts, *np.unique(runs, return_counts=True))
    common = counts >= _MIN_COUNT
    keys, counts = keys[common], counts[common]
    order_of_size = np.lexsort((keys, -counts))[:size]
    return np.sort(keys[order_of_size])


def chunks(examples: Examples) -> Iterator[Examples]:
    """The examples some at a time, so that memory follows what is made of them."""
    first = 0
    while first < len(examples):
        end = examples.offsets[first] + _CHUNK_TOKENS
        stop = max(first + 1, int(np.searchsorted(examples.offsets, end, side="right")) - 1)
        offsets = examples.offsets[first : stop + 1]
        token_ids = examples.token_ids[offsets[0] : offsets[-1]]
        yield Examples(token_ids, offsets - offsets[0], examples.labels[first:stop])
        first = stop


def _merge(
    keys: np.ndarray, counts: np.ndarray, more_keys: np.ndarray, more_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    merged, place = np.unique(np.concatenate([keys, more_keys]), return_inverse=True)
    totals = np.zeros(len(merged), np.int64)
    np.add.at(totals, place, np.concatenate([counts, more_counts]))
    return merged, totals
