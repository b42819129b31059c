"""Sums of rows by index, without a scatter."""

import numpy as np
import tensorflow as tf

from components.train.row_sums import gather_rows, row_sums

ROWS = 11


def test_row_sums_are_the_sums_and_counts_of_each_index() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(40, 3, 5)).astype(np.float32)
    indices = random.integers(0, ROWS, (40, 3)).astype(np.int32)
    # The first and the last row unused, and one used by most.
    indices[(indices == 0) | (indices == ROWS - 1)] = 7
    expected = np.zeros((ROWS, 5))
    np.add.at(expected, indices.ravel(), values.reshape(-1, 5))
    found = tf.function(row_sums, jit_compile=True, autograph=False)(values, indices, ROWS)
    np.testing.assert_allclose(found.sums, expected, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(found.counts, np.bincount(indices.ravel(), minlength=ROWS))


def test_gather_rows_has_the_gradient_of_gather_and_no_scatter() -> None:
    random = np.random.default_rng(1)
    table = tf.constant(random.normal(size=(ROWS, 2)), tf.float32)
    indices = tf.constant(random.integers(0, ROWS, (6, 4)), tf.int32)
    weight = tf.constant(random.normal(size=(6, 4, 2)), tf.float32)

    def gradient(gather):
        def run(table: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(table)
                total = tf.reduce_sum(tf.sin(gather(table, indices)) * weight)
            return tf.convert_to_tensor(tape.gradient(total, table))

        return tf.function(run, jit_compile=True, autograph=False)

    own, plain = gradient(gather_rows), gradient(tf.gather)
    np.testing.assert_allclose(own(table), plain(table), atol=1e-5, rtol=0)
    assert "scatter" in plain.experimental_get_compiler_ir(table)(stage="hlo")
    assert "scatter" not in own.experimental_get_compiler_ir(table)(stage="hlo")
