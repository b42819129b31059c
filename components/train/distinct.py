"""The rows of a table that a batch uses, each of them once.

A batch of reviews uses a few thousand tokens some ten times each. What is done to each distinct row
alone, and the sum of gradients over its occurrences, costs that much less; XLA adds the occurrences
up, which takes it a third of the time of TensorFlow's own kernel.
"""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct rows of a table in a batch."""

    rows: tf.Tensor
    """float32 `[distinct, width]`."""
    indices: tf.Tensor
    """int32 `[distinct]`: their places in the table."""
    places: tf.Tensor
    """int32 `[time, batch]`: where in `rows` the row of each token is."""
    most: int
    """How many there can be in a batch of this shape."""

    @classmethod
    def of(cls, table: tf.Variable, indices: tf.Tensor) -> "Distinct":
        """Looks rows up by their places in the table, int32 `[time, batch]` of static shape."""
        distinct, places = tf.unique(tf.reshape(indices, [-1]))
        most = min(indices.shape.num_elements(), table.shape[0])
        return cls(rows_of(table, distinct), distinct, tf.reshape(places, indices.shape), most)

    def pad(self, values: tf.Tensor) -> tf.Tensor:
        """Values of the rows, `[distinct, ...]`, and zeros up to `[most, ...]`.

        XLA compiles for one shape, and the number of distinct rows is another in each batch.
        """
        padded = tf.pad(values, [[0, self.most - tf.shape(values)[0]], [0, 0]])
        return tf.ensure_shape(padded, [self.most, values.shape[1]])

    def unpad(self, values: tf.Tensor) -> tf.Tensor:
        """The values of the rows, of what `pad` gave."""
        return values[: tf.size(self.indices)]


def rows_of(table: tf.Variable, indices: tf.Tensor) -> tf.Tensor:
    """Some rows of a table, float32 `[rows, width]`.

    `tf.gather` copies the whole table first where operations have to be deterministic.
    """
    return tf.raw_ops.ResourceGather(
        resource=table.handle, indices=indices, dtype=table.dtype, validate_indices=False
    )
