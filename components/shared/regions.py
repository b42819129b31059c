"""Embeddings of regions of text: of a few neighbouring tokens together, in whatever order."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

REACH = 2
"""Tokens of a region on either side of its middle."""


def embed_regions(rows: tf.Tensor, mask: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """The embedding of the region around each place: max(0, the sum of its rows + bias).

    Args:
        rows: those of the tokens, float32 `[time, batch, width]`.
        mask: bool `[time, batch]`, true for tokens.
        bias: float32 `[width]`.

    Returns:
        float32 `[time, batch, width]`.
    """
    rows = tf.where(mask[..., tf.newaxis], rows, 0.0)
    time = tf.shape(rows)[0] if rows.shape[0] is None else rows.shape[0]
    padded = tf.pad(rows, [[REACH, REACH], [0, 0], [0, 0]])
    return tf.nn.relu(tf.add_n([padded[i : i + time] for i in range(2 * REACH + 1)]) + bias)


@keras.saving.register_keras_serializable("imdb_pipeline")
class RegionEmbedding(keras.layers.Layer):
    """Region embeddings that were learned beforehand; `components.train.regions` tells how.

    Args:
        vocabulary_size: rows of its table of tokens.
        width: of the embeddings.
    """

    def __init__(self, *, vocabulary_size: int, width: int, **keywords: Any) -> None:
        super().__init__(trainable=False, **keywords)
        self.config = {"vocabulary_size": vocabulary_size, "width": width}
        shape = (vocabulary_size, width)
        self.table = self.add_weight(name="table", shape=shape, trainable=False)
        self.bias = self.add_weight(name="bias", shape=(width,), trainable=False)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), **self.config}

    def set(self, table: np.ndarray, bias: np.ndarray) -> None:
        """Takes over what was learned: float32 `[vocabulary_size, width]` and `[width]`."""
        self.table.assign(table)
        self.bias.assign(bias)

    def call(self, rows: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Float32 `[time, batch, width]` of the rows of the tokens, and their mask."""
        return embed_regions(rows, mask, tf.convert_to_tensor(self.bias))
