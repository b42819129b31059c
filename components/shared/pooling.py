"""How the outputs of all steps become one vector."""

from typing import Literal

import tensorflow as tf

Pooling = Literal["last", "max", "mean", "max_mean"]

# Below any output of a cell, which lies within -1 and 1, and any embedding.
_LOWEST = -1e4


def pool(
    outputs: tf.Tensor, mask: tf.Tensor, pooling: Pooling, backward: bool = False
) -> tf.Tensor:
    """Pools `[time, batch, width]` over the steps where mask `[time, batch, 1]` is true.

    Returns:
        `[batch, width]`, for "max_mean" `[batch, 2 * width]`. "last" takes the final step, to which
        a masked recurrence carries its state; it is the first in time of one that reads backward.
    """
    if pooling == "last":
        return outputs[0 if backward else -1]
    parts = []
    if "max" in pooling:
        parts.append(tf.reduce_max(tf.where(mask, outputs, _LOWEST), axis=0))
    if "mean" in pooling:
        count = tf.reduce_sum(tf.cast(mask, outputs.dtype), axis=0)
        parts.append(tf.reduce_sum(tf.where(mask, outputs, 0.0), axis=0) / count)
    return tf.concat(parts, axis=-1)
