"""The recurrences against their equations, written out in NumPy with float64."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.shared.model import SentimentRNN
from components.shared.pooling import Pooling, pool
from components.shared.recurrence import CELLS, CellName, Direction, recur
from components.shared.stacked_recurrence import recur_stacked

TIME, BATCH, HIDDEN = 8, 3, 4
LENGTHS = [8, 4, 1]

# Of a CPU, and of a GPU with several steps an iteration of the loop and with one.
FORMS: dict[str, Callable[..., Any]] = {
    "loop": recur,
    "stacked": partial(recur_stacked, max_unrolled=4),
    "stacked by one": partial(recur_stacked, max_unrolled=1),
}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def simple_rnn(x: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """h_t = tanh(x_t + U h_{t-1} + b), for one sequence of projected inputs."""
    h, outputs = np.zeros(HIDDEN), []
    for x_t in x:
        h = np.tanh(x_t + h @ u + b)
        outputs.append(h)
    return np.array(outputs)


def lstm(x: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The six steps: input gate, forget gate, candidate, output gate, cell, output."""
    h, c, outputs = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for x_t in x:
        z_i, z_f, z_c, z_o = np.split(x_t + h @ u + b, 4)
        i = sigmoid(z_i)
        f = sigmoid(z_f)
        candidate = np.tanh(z_c)
        o = sigmoid(z_o)
        c = f * c + i * candidate
        h = o * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def gru(x: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Update gate, reset gate, candidate (reset after the product), output."""
    h, outputs = np.zeros(HIDDEN), []
    for x_t in x:
        x_z, x_r, x_h = np.split(x_t, 3)
        r_z, r_r, r_h = np.split(h @ u + b, 3)
        z, r = sigmoid(x_z + r_z), sigmoid(x_r + r_r)
        h = z * h + (1 - z) * np.tanh(x_h + r * r_h)
        outputs.append(h)
    return np.array(outputs)


EQUATIONS = {"simple_rnn": simple_rnn, "lstm": lstm, "gru": gru}


def arguments(cell: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs `[time, batch, width]`, recurrent kernel and bias, float64."""
    random, width = np.random.default_rng(3), CELLS[cell].gates * HIDDEN
    x = random.normal(size=(TIME, BATCH, width))
    return x, random.normal(size=(HIDDEN, width)), random.normal(size=width)


def mask() -> np.ndarray:
    """bool `[time, batch, 1]`, padding on the right."""
    return (np.arange(TIME)[:, None] < np.array(LENGTHS))[..., None]


def direction(x: np.ndarray, u: np.ndarray, b: np.ndarray, m: np.ndarray) -> Direction:
    inputs, kernel, bias = (tf.constant(a, tf.float32) for a in (x, u, b))
    return Direction(inputs, tf.constant(m), kernel, bias)


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cell", list(CELLS))
def test_outputs_follow_the_equations(cell: str, training: bool, form: str) -> None:
    x, u, b = arguments(cell)

    @tf.function(jit_compile=form != "loop", autograph=False)
    def run() -> list[tf.Tensor]:
        return FORMS[form](CELLS[cell], [direction(x, u, b, mask())], training)

    (outputs,) = run()
    for row, length in enumerate(LENGTHS):
        expected = EQUATIONS[cell](x[:length, row], u, b)
        np.testing.assert_allclose(outputs[:length, row], expected, atol=1e-5, rtol=0)
        # Over the padding, the state stays.
        padding = outputs[length:, row]
        np.testing.assert_allclose(padding, np.tile(expected[-1], (TIME - length, 1)), atol=1e-5)


@pytest.mark.parametrize("cell", list(CELLS))
def test_a_bidirectional_model_concatenates_the_final_states_of_both_directions(
    cell: CellName,
) -> None:
    model = SentimentRNN(
        vocabulary_size=30, cell=cell, bidirectional=True, embedding_size=5, hidden_size=HIDDEN,
        pooling="last", masked=True, bigram_vocabulary_size=0, bigram_embedding_size=1,
        region_embedding_size=0, linear_ngrams=0, linear_rows=0,
        skip_connection=False, dropout_rate=0.0, seed=1,
    )  # fmt: skip
    weights = {weight.name: weight.numpy().astype(np.float64) for weight in model.weights}
    token_ids = np.random.default_rng(0).integers(2, 30, size=(BATCH, TIME))
    token_ids[~mask()[..., 0].T] = 0
    expected = []
    for row, length in enumerate(LENGTHS):
        embedded = weights["token_table"][token_ids[row, :length]]
        final = []
        for name, sequence in (("forward", embedded), ("backward", embedded[::-1])):
            bias = weights[f"{name}_bias"]
            x = sequence @ weights[f"{name}_kernel"] + bias[0]
            recurrent_bias = bias[1] if cell == "gru" else np.zeros(1)
            final.append(
                EQUATIONS[cell](x, weights[f"{name}_recurrent_kernel"], recurrent_bias)[-1]
            )
        features = np.concatenate(final)
        expected.append(features @ weights["output_kernel"][:, 0] + weights["output_bias"][0])
    np.testing.assert_allclose(model(token_ids.astype(np.int32)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "max_mean"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("cell", "layers"), [("lstm", 1), ("lstm", 2), ("gru", 2), ("min_gru", 2)])
def test_a_model_is_the_same_function_on_a_server_a_cpu_and_a_gpu(
    pooling: Pooling, masked: bool, cell: CellName, layers: int
) -> None:
    model = SentimentRNN(
        vocabulary_size=30, cell=cell, num_layers=layers, bidirectional=True,
        embedding_size=5, hidden_size=HIDDEN, pooling=pooling, masked=masked,
        bigram_vocabulary_size=0, bigram_embedding_size=1,
        region_embedding_size=0, linear_ngrams=0, linear_rows=0,
        skip_connection=True, dropout_rate=0.0, seed=1,
    )  # fmt: skip
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    token_ids = random.integers(2, 30, size=(BATCH, TIME)).astype(np.int32)
    padding = ~mask()[..., 0].T
    token_ids[padding if masked else padding[:, ::-1]] = 0
    for target in ("cpu", "gpu"):
        compiled = tf.function(
            partial(model.logits, target=target), jit_compile=True, autograph=False
        )
        found = compiled(model.embed(token_ids), tf.constant(token_ids.T != 0))
        np.testing.assert_allclose(model(token_ids), found, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("form", "compiled"),
    [("loop", False), ("loop", True), ("stacked", True), ("stacked by one", True)],
)
@pytest.mark.parametrize("cell", list(CELLS))
def test_gradients_flow_through_time_as_finite_differences_say(
    cell: str, form: str, compiled: bool
) -> None:
    x, u, b = arguments(cell)
    u *= 0.5
    m, weight = mask(), np.random.default_rng(5).normal(size=(TIME, BATCH, HIDDEN))

    def loss(x: np.ndarray, u: np.ndarray, b: np.ndarray) -> float:
        total = 0.0
        for row, length in enumerate(LENGTHS):
            outputs = EQUATIONS[cell](x[:length, row], u, b)
            padding = np.tile(outputs[-1], (TIME - length, 1))
            total += (np.concatenate([outputs, padding]) * weight[:, row]).sum()
        return total

    @tf.function(jit_compile=compiled, autograph=False)
    def gradients(x: tf.Tensor, u: tf.Tensor, b: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch((x, u, b))
            (outputs,) = FORMS[form](CELLS[cell], [Direction(x, tf.constant(m), u, b)], True)
            total = tf.reduce_sum(outputs * tf.constant(weight, tf.float32))
        return tape.gradient(total, [x, u, b])

    found = gradients(*(tf.constant(a, tf.float32) for a in (x, u, b)))
    for position, gradient in enumerate(found):
        values = [x, u, b]
        for place in np.ndindex(values[position].shape):
            ends = []
            for change in (1e-6, -1e-6):
                moved = [a.copy() for a in values]
                moved[position][place] += change
                ends.append(loss(*moved))
            expected = (ends[0] - ends[1]) / 2e-6
            assert abs(gradient.numpy()[place] - expected) < 1e-4 * max(1.0, abs(expected))
    # The first input of the longest review moves the last output: through every step between.
    assert np.abs(found[0].numpy()[0, 0]).max() > 0


@pytest.mark.parametrize("form", ["loop", "stacked"])
@pytest.mark.parametrize("cell", list(CELLS))
def test_two_directions_are_two_recurrences_one_over_the_reversed(cell: str, form: str) -> None:
    given = [tuple(tf.constant(a, tf.float32) for a in arguments(cell)) for _ in range(2)]
    given[1] = tuple(-0.5 * a for a in given[1])
    m, random = mask(), np.random.default_rng(5)
    weights = [random.normal(size=(TIME, BATCH, HIDDEN)).astype(np.float32) for _ in range(2)]

    @tf.function(jit_compile=True)
    def learn(together: bool) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            (x, u, b), (y, v, c) = given
            forward = Direction(x, tf.constant(m), u, b)
            if together:
                backward = Direction(y, tf.constant(m), v, c, backward=True)
                outputs = FORMS[form](CELLS[cell], [forward, backward], training=True)
            else:
                turned = Direction(tf.reverse(y, [0]), tf.constant(m[::-1]), v, c)
                outputs = [
                    recur(CELLS[cell], [forward], training=True)[0],
                    tf.reverse(recur(CELLS[cell], [turned], training=True)[0], [0]),
                ]
            total = sum(tf.reduce_sum(o * w) for o, w in zip(outputs, weights, strict=True))
        return outputs, tf.nest.flatten(tape.gradient(total, given))

    (outputs, gradients), (expected, by_one) = learn(True), learn(False)
    for found, wanted in zip([*outputs, *gradients], [*expected, *by_one], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)


def test_pooling_leaves_padding_out() -> None:
    outputs = tf.constant([[[1.0, -3.0]], [[3.0, -5.0]], [[9.0, 9.0]]])
    valid = tf.constant([True, True, False])[:, None, None]
    assert pool(outputs, valid, "max").numpy().tolist() == [[3.0, -3.0]]
    assert pool(outputs, valid, "mean").numpy().tolist() == [[2.0, -4.0]]
    assert pool(outputs, valid, "max_mean").numpy().tolist() == [[3.0, -3.0, 2.0, -4.0]]
    assert pool(outputs, valid, "last").numpy().tolist() == [[9.0, 9.0]]
