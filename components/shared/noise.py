"""Dropout's random numbers, the same however many replicas draw them."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Noise:
    """Dropout's random numbers: a pure function of a seed and of a row's place in the batch.

    Replicas that share a batch draw the numbers of all its rows and keep those of their own, so
    that training is the same however many replicas there are.
    """

    seed: tf.Tensor
    """int32 `[2]`, another for each step."""
    first_row: tf.Tensor
    """int32 scalar: the place in the global batch of the first row here."""
    rows: int
    """Rows here."""
    global_rows: int
    """Rows of the global batch."""

    def uniform(self, salt: int, width: int) -> tf.Tensor:
        """float32 `[rows, width]`, uniform from 0 to 1; `salt` tells uses apart."""
        seed = tf.random.experimental.stateless_fold_in(self.seed, salt)
        values = tf.random.stateless_uniform([self.global_rows, width], seed)
        # XLA would compile a slice anew for each place that it begins at.
        return tf.gather(values, self.first_row + tf.range(self.rows))

    def drop(self, x: tf.Tensor, rate: float, salt: int) -> tf.Tensor:
        """Drops features of `x` `[..., rows, width]`, the same ones at all leading places."""
        if rate == 0:
            return x
        return tf.where(self.uniform(salt, x.shape[-1]) >= rate, x / (1.0 - rate), 0.0)
