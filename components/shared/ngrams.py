"""Runs of neighbouring tokens in the model: their keys, and a linear classifier over them."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.shared.tokenizer import UNK_ID


def ngram_keys(token_ids: tf.Tensor, vocabulary_size: int, order: int) -> tf.Tensor:
    """The key of the run of `order` tokens that begins at each place.

    A key is the number whose digits, to the base `vocabulary_size`, are the ids of the tokens, so
    that runs of different orders have different keys.

    Args:
        token_ids: `[batch, time]`, padded with `<pad>`.
        vocabulary_size: rows of the vocabulary.
        order: 1 for tokens, 2 for pairs of them, and so on.

    Returns:
        int64 `[batch, time]`; 0 where a run has not got so many tokens, or an unknown one.
    """
    ids = tf.cast(token_ids, tf.int64)
    keys, known = ids, ids > UNK_ID
    for place in range(1, order):
        following = tf.pad(ids[:, place:], [[0, 0], [0, tf.minimum(place, tf.shape(ids)[1])]])
        keys = keys * vocabulary_size + following
        known &= following > UNK_ID
    return tf.where(known, keys, tf.zeros_like(keys))


def places_of(keys: tf.Tensor, sorted_keys: tf.Tensor) -> tf.Tensor:
    """1 + the place of each key among the sorted ones; 0 for any other key.

    Args:
        keys: int64 of any shape.
        sorted_keys: int64 `[n]`, ascending; at least one.

    Returns:
        int32, of the shape of `keys`.
    """
    flat = tf.reshape(keys, [-1])
    places = tf.minimum(tf.searchsorted(sorted_keys, flat), tf.size(sorted_keys) - 1)
    found = tf.where(tf.equal(tf.gather(sorted_keys, places), flat), places + 1, 0)
    return tf.reshape(found, tf.shape(keys))


@keras.saving.register_keras_serializable("imdb_pipeline")
class NgramClassifier(keras.layers.Layer):
    """A linear classifier over the different runs of tokens in a review (Wang and Manning, 2012).

    Each run that it knows has a naive Bayes log-count ratio r and a weight w. With the sums over
    the runs of a review, each taken once, the logit is `sum(r w) / sqrt(sum(r r)) + bias`.

    Args:
        vocabulary_size: rows of the vocabulary.
        order: the tokens in the longest runs.
        rows: the number of runs that it knows.
    """

    def __init__(self, *, vocabulary_size: int, order: int, rows: int, **keywords: Any) -> None:
        super().__init__(trainable=False, **keywords)
        self.config: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "order": order,
            "rows": rows,
        }
        self.keys = self.add_weight(name="keys", shape=(rows,), dtype="int64", trainable=False)
        self.table = self.add_weight(name="table", shape=(rows + 1, 2), trainable=False)
        self.bias = self.add_weight(name="bias", shape=(), trainable=False)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), **self.config}

    def set(self, keys: np.ndarray, ratios: np.ndarray, weights: np.ndarray, bias: float) -> None:
        """Takes over what was fitted: the sorted keys int64, ratios and weights float `[rows]`."""
        self.keys.assign(keys)
        table = np.stack([ratios * weights, ratios * ratios], axis=1)
        self.table.assign(np.pad(table, [(1, 0), (0, 0)]))
        self.bias.assign(bias)

    def call(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Float32 logits `[batch]` of int32 token ids `[batch, time]`."""
        size, order = self.config["vocabulary_size"], self.config["order"]
        keys = [ngram_keys(token_ids, size, n) for n in range(1, order + 1)]
        places = tf.sort(places_of(tf.concat(keys, axis=1), tf.convert_to_tensor(self.keys)))
        repeated = tf.equal(places, tf.pad(places[:, :-1], [[0, 0], [1, 0]]))
        sums = tf.reduce_sum(tf.gather(self.table, tf.where(repeated, 0, places)), axis=1)
        return tf.math.divide_no_nan(sums[:, 0], tf.sqrt(sums[:, 1])) + self.bias
