"""minGRU against its equations, written out in NumPy with float64, in all forms."""

import numpy as np
import pytest
import tensorflow as tf

from components.shared.linear_recurrence import Form, linear_recurrence, running_sums
from components.shared.min_gru import min_gru

BATCH, HIDDEN = 3, 4


def equations(x: np.ndarray) -> np.ndarray:
    """z = sigmoid(x_z), h_t = (1 - z) h_{t-1} + z x_h, for one sequence of projected inputs."""
    h, outputs = np.zeros(HIDDEN), []
    for x_t in x:
        x_z, x_h = np.split(x_t, 2)
        z = 1.0 / (1.0 + np.exp(-x_z))
        h = (1.0 - z) * h + z * x_h
        outputs.append(h)
    return np.array(outputs)


def run(x: np.ndarray, mask: np.ndarray, form: Form) -> tf.Tensor:
    compiled = tf.function(min_gru, jit_compile=form != "loop_of_chunks", autograph=False)
    return compiled(tf.constant(x, tf.float32), tf.constant(mask), form)


# In one chunk, in chunks of which the last isn't full, and in chunks of chunks.
@pytest.mark.parametrize("time", [1, 7, 20, 150])
@pytest.mark.parametrize("form", ["steps", "chunks", "loop_of_chunks"])
def test_outputs_follow_the_equations(form: Form, time: int) -> None:
    x = np.random.default_rng(time).normal(size=(time, BATCH, 2 * HIDDEN))
    lengths = [time, time // 2 + 1, 1]
    mask = (np.arange(time)[:, None] < np.array(lengths))[..., None]
    outputs = run(x, mask, form)
    for row, length in enumerate(lengths):
        expected = equations(x[:length, row])
        np.testing.assert_allclose(outputs[:length, row], expected, atol=1e-5, rtol=0)
        # Over the padding, the state stays.
        padding = outputs[length:, row]
        np.testing.assert_allclose(padding, np.tile(expected[-1], (time - length, 1)), atol=1e-5)


def test_a_server_takes_no_review_at_all() -> None:
    serve = tf.function(
        lambda x, mask: min_gru(x, mask, "loop_of_chunks"),
        input_signature=[
            tf.TensorSpec([None, None, 2 * HIDDEN]), tf.TensorSpec([None, None, 1], tf.bool)
        ],
        autograph=False,
    )  # fmt: skip
    for time, batch in ((0, 0), (0, BATCH), (7, 0)):
        outputs = serve(tf.zeros([time, batch, 2 * HIDDEN]), tf.zeros([time, batch, 1], tf.bool))
        assert outputs.shape == (time, batch, HIDDEN)


@pytest.mark.parametrize("form", ["steps", "chunks"])
def test_gradients_are_those_of_finite_differences(form: Form) -> None:
    time, random = 20, np.random.default_rng(1)
    factors, values, weight = (random.uniform(-1, 1, size=(time, 2)) for _ in range(3))

    def loss(factors: np.ndarray, values: np.ndarray) -> float:
        h, total = np.zeros(2), 0.0
        for a, v, w in zip(factors, values, weight, strict=True):
            h = a * h + v
            total += h @ w
        return total

    @tf.function(jit_compile=True, autograph=False)
    def gradients(*given: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(
                linear_recurrence(given[0], given[1], form) * tf.constant(weight, tf.float32)
            )
        return tape.gradient(total, given)

    given = [factors, values]
    found = gradients(*(tf.constant(a, tf.float32) for a in given))
    for position, gradient in enumerate(found):
        for place in np.ndindex(factors.shape):
            ends = []
            for change in (1e-6, -1e-6):
                moved = [a.copy() for a in given]
                moved[position][place] += change
                ends.append(loss(*moved))
            expected = (ends[0] - ends[1]) / 2e-6
            assert abs(gradient.numpy()[place] - expected) < 1e-4 * max(1.0, abs(expected))


def test_running_sums_begin_anew_where_they_are_told_to() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=(100, 3))
    first = random.uniform(size=100) < 0.2
    expected, total = np.zeros_like(values), np.zeros(3)
    for i, value in enumerate(values):
        total = value if first[i] else total + value
        expected[i] = total
    found = tf.function(running_sums, jit_compile=True, autograph=False)(
        tf.constant(values, tf.float32), tf.constant(first)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
