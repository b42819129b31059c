"""Recurrences that are linear in the state, h_t = a_t h_{t-1} + v_t, in forms for several devices.

The gradient is a recurrence of the same kind that runs the other way:

    s_t = dL/dh_t + a_{t+1} s_{t+1},    dL/dv_t = s_t,    dL/da_t = s_t h_{t-1}

A CPU does both fastest step by step. A GPU, and TensorFlow without XLA, pay for each operation:
there the time is cut into chunks, and a step is taken in all chunks at once; first from zeros, to
see what a chunk does to the state that enters it, and then from that state. Which states enter
follows from a recurrence over the chunks. On a GPU that one is cut into chunks again, and as they
are of few steps no loop is needed.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_optimization_barrier

_CHUNK = 8

Form = Literal["steps", "chunks", "loop_of_chunks"]


def linear_recurrence(factors: tf.Tensor, values: tf.Tensor, form: Form) -> tf.Tensor:
    """Computes h_t = factors_t h_{t-1} + values_t, from a state of zeros.

    Args:
        factors: float32 `[time, ...]`.
        values: of the same shape.
        form: how it is computed: "steps", one after the other; "chunks", which XLA alone compiles,
            for static shapes; "loop_of_chunks", which has no gradient.

    Returns:
        h, of the same shape.
    """
    if form == "loop_of_chunks":
        return _loop_over_chunks(factors, values)
    scan = _scan_chunks if form == "chunks" else _scan_steps

    @tf.custom_gradient
    def run(factors: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        if form == "chunks":
            factors, values = _computed(factors, values)
        outputs = scan(factors, values, _step, reverse=False)

        def gradient(d_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if form == "chunks":
                (d_outputs,) = _computed(d_outputs)
            d_values = scan(factors, d_outputs, _gradient_step, reverse=True)
            previous = tf.concat([tf.zeros_like(outputs[:1]), outputs[:-1]], axis=0)
            return d_values * previous, d_values

        return outputs, gradient

    return run(factors, values)


Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Of a step's factor and value, and the carry that enters it: its output and what leaves it."""


def _step(factor: tf.Tensor, value: tf.Tensor, carry: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    output = factor * carry + value
    return output, output


def _gradient_step(
    factor: tf.Tensor, value: tf.Tensor, carry: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    output = value + carry
    return output, factor * output


def running_sums(values: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
    """Sums over the rows since a first one, in chunks.

    Args:
        values: float32 `[rows, width]`, of static shape.
        first: bool `[rows]`: where a new sum begins.

    Returns:
        At each row the sum up to it, of the shape of the values.
    """
    factors = tf.where(first, 0.0, 1.0)[:, tf.newaxis]
    factors, values = _computed(factors, values)
    return _scan_chunks(factors, values, _step, reverse=False)


def _scan_steps(factors: tf.Tensor, values: tf.Tensor, step: Step, reverse: bool) -> tf.Tensor:
    time = tf.shape(values)[0]
    arrays = [_array(factors), _array(values)]

    def body(t: tf.Tensor, carry: tf.Tensor, outputs: tf.TensorArray) -> Any:
        place = time - 1 - t if reverse else t
        output, carry = step(arrays[0].read(place), arrays[1].read(place), carry)
        return t + 1, carry, outputs.write(place, output)

    outputs = tf.TensorArray(values.dtype, time, element_shape=values.shape[1:])
    _, _, outputs = tf.while_loop(
        lambda t, *_: t < time,
        body,
        (tf.constant(0), tf.zeros_like(values[0]), outputs),
        maximum_iterations=values.shape[0],
    )
    return tf.ensure_shape(outputs.stack(), values.shape)


def _scan_chunks(factors: tf.Tensor, values: tf.Tensor, step: Step, reverse: bool) -> tf.Tensor:
    """As `_scan_steps`; the factors may have fewer entries than the values, to be broadcast."""
    time = values.shape[0]
    if time <= _CHUNK:
        return tf.stack(_unroll(tf.unstack(factors), tf.unstack(values), step, reverse)[0])
    # Steps that change nothing fill the last chunk up.
    missing = -time % _CHUNK
    a, v = (
        tf.unstack(tf.reshape(x, [-1, _CHUNK, *x.shape[1:]]), axis=1)
        for x in (_pad(factors, missing, 1.0), _pad(values, missing, 0.0))
    )
    # A chunk makes `total * carry + left` of the carry that enters it.
    total = a[0]
    for factor in a[1:]:
        total *= factor
    left = _unroll(a, v, step, reverse)[1]
    after = _scan_chunks(total, left, _step, reverse)
    none = tf.zeros_like(after[:1])
    entering = tf.concat([after[1:], none] if reverse else [none, after[:-1]], axis=0)
    (entering,) = _computed(entering)
    outputs = tf.stack(_unroll(a, v, step, reverse, entering)[0], axis=1)
    return tf.reshape(outputs, [-1, *values.shape[1:]])[:time]


def _unroll(
    factors: Sequence[tf.Tensor],
    values: Sequence[tf.Tensor],
    step: Step,
    reverse: bool,
    carry: tf.Tensor | None = None,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The outputs of a few steps, in the order of time, and the carry that leaves the last."""
    outputs = list(values)
    carry = tf.zeros_like(values[0]) if carry is None else carry
    for i in range(len(values))[::-1] if reverse else range(len(values)):
        outputs[i], carry = step(factors[i], values[i], carry)
    return outputs, carry


def _computed(*values: tf.Tensor) -> list[tf.Tensor]:
    """The same values, which XLA computes once.

    It would else fuse what they are made of with each operation that reads them, and the code of
    nested chunks grows exponentially: its compilation takes a minute.
    """
    return xla_optimization_barrier(list(values))


def _pad(values: tf.Tensor, steps: int, value: float) -> tf.Tensor:
    if steps == 0:
        return values
    paddings = [[0, steps], *([0, 0] for _ in values.shape[1:])]
    return tf.pad(values, paddings, constant_values=value)


def _loop_over_chunks(factors: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    time = tf.shape(values)[0]
    # At least one of each, as a batch without a review has no time step.
    steps = tf.maximum(1, tf.cast(tf.math.ceil(tf.sqrt(tf.cast(time, tf.float32))), tf.int32))
    chunks = tf.maximum(1, -(-time // steps))
    rest = tf.shape(values)[1:]
    padding = tf.concat([[[0, chunks * steps - time]], tf.zeros([tf.size(rest), 2], tf.int32)], 0)

    def cut(x: tf.Tensor) -> tf.Tensor:
        """`[steps, chunks, ...]`"""
        x = tf.reshape(tf.pad(x, padding), tf.concat([[chunks, steps], rest], 0))
        return tf.einsum("cs...->sc...", x)

    a, v = cut(factors), cut(values)
    totals = tf.math.cumprod(a, axis=0)
    partial = _scan_steps(a, v, _step, reverse=False)
    left = _scan_steps(totals[-1], partial[-1], _step, reverse=False)
    entering = tf.concat([tf.zeros_like(left[:1]), left[:-1]], axis=0)
    outputs = tf.einsum("sc...->cs...", partial + totals * entering)
    outputs = tf.reshape(outputs, tf.concat([[chunks * steps], rest], 0))[:time]
    return tf.ensure_shape(outputs, values.shape)


def _array(values: tf.Tensor) -> tf.TensorArray:
    array = tf.TensorArray(values.dtype, tf.shape(values)[0], element_shape=values.shape[1:])
    return array.unstack(values)
