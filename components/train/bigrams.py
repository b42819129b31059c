"""The commonest pairs of neighbouring tokens."""

import numpy as np

from components.shared.features import Examples
from components.shared.tokenizer import UNK_ID

_MIN_COUNT = 2
_CHUNK_TOKENS = 4_000_000


def commonest_bigrams(examples: Examples, vocabulary_size: int, size: int) -> np.ndarray:
    """The keys, `first * vocabulary_size + second`, of the commonest pairs of known tokens.

    A pair that occurs once is left out; ties break by key.

    Args:
        examples: those of train.
        vocabulary_size: rows of the vocabulary.
        size: the most pairs to take.

    Returns:
        int64 `[<= size]`, sorted.
    """
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    ends = examples.offsets[1:]
    starts_next = np.zeros(len(examples.token_ids) + 1, bool)
    starts_next[ends] = True
    # In chunks, so that memory follows the number of different pairs, not of tokens.
    for start in range(0, len(examples.token_ids) - 1, _CHUNK_TOKENS):
        stop = min(start + _CHUNK_TOKENS, len(examples.token_ids) - 1)
        first = examples.token_ids[start:stop].astype(np.int64)
        second = examples.token_ids[start + 1 : stop + 1]
        inside = ~starts_next[start + 1 : stop + 1] & (first > UNK_ID) & (second > UNK_ID)
        pairs = (first * vocabulary_size + second)[inside]
        chunk_keys, chunk_counts = np.unique(pairs, return_counts=True)
        keys, counts = _merge(keys, counts, chunk_keys, chunk_counts)
    common = counts >= _MIN_COUNT
    keys, counts = keys[common], counts[common]
    order = np.lexsort((keys, -counts))[:size]
    return np.sort(keys[order])


def _merge(
    keys: np.ndarray, counts: np.ndarray, more_keys: np.ndarray, more_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    merged, place = np.unique(np.concatenate([keys, more_keys]), return_inverse=True)
    totals = np.zeros(len(merged), np.int64)
    np.add.at(totals, place, np.concatenate([counts, more_counts]))
    return merged, totals
