"""Sums of rows by index, without the scatter that XLA makes of them elsewhere.

On a GPU a scatter adds in any order, or, where operations have to be deterministic, is a loop over
all rows. Here the rows are sorted by their index, and each sum is a segment of running sums.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_key_value_sort

from components.shared.linear_recurrence import running_sums


class RowSums(NamedTuple):
    """The gradient of a table of embeddings."""

    sums: tf.Tensor
    """float32 `[rows, width]`."""
    counts: tf.Tensor
    """float32 `[rows]`: how often each row was used."""


def row_sums(values: tf.Tensor, indices: tf.Tensor, rows: int) -> RowSums:
    """Sums the values of each index; XLA alone compiles this.

    Args:
        values: float32 `[..., width]`, of static shape.
        indices: int32 `[...]`, from 0 to below `rows`.
        rows: how many sums there are.
    """
    flat, indices = tf.reshape(values, [-1, values.shape[-1]]), tf.reshape(indices, [-1])
    count = flat.shape[0]
    # Behind the values of each index comes a mark, where its sum will stand.
    keys = tf.concat([2 * indices, 2 * tf.range(rows) + 1], axis=0)
    number = tf.range(count + rows)
    # XLA hands unsigned keys to CUB's radix sort.
    keys, order = xla_key_value_sort(tf.cast(keys, tf.uint32), number)
    places = xla_key_value_sort(tf.cast(order, tf.uint32), number)[1]
    ends = places[count:]
    is_mark = order >= count
    is_first = tf.concat([[True], is_mark[:-1]], axis=0)
    taken = tf.gather(flat, tf.minimum(order, count - 1))
    sums = running_sums(tf.where(is_mark[:, tf.newaxis], 0.0, taken), is_first)
    counts = ends - tf.concat([[-1], ends[:-1]], axis=0) - 1
    return RowSums(tf.gather(sums, ends), tf.cast(counts, tf.float32))


@tf.custom_gradient
def gather_rows(table: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """`tf.gather` with a gradient by `row_sums`.

    Args:
        table: float32 `[rows, width]`.
        indices: int32 `[...]`.

    Returns:
        float32 `[..., width]`.
    """

    def gradient(d_rows: tf.Tensor) -> tuple[tf.Tensor, None]:
        return row_sums(d_rows, indices, table.shape[0]).sums, None

    return tf.gather(table, indices), gradient
