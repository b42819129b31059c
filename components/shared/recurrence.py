"""Recurrent cells and the loop over time that runs them, in TensorFlow ops that XLA compiles.

The input projections of all steps are one matrix product outside of the loop; within it remain the
recurrent product and the gates. The gradient is backpropagation through time with the gates'
derivatives taken step by step, so that the gradient of the recurrent kernel, too, is one matrix
product over all steps (it would else be accumulated in the loop).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

_STEPS_A_BLOCK = 8

CellName = Literal["simple_rnn", "lstm", "gru"]
State = tuple[tf.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A recurrent cell.

    `step(x, r, state) -> state` takes the projections of the input and of the last output, float32
    `[batch, gates * hidden]` each with its bias, and the state, whose first part is the output.
    """

    gates: int
    states: int
    sums: bool
    """Whether `step` reads nothing of `x` and `r` but their sum."""
    step: Callable[[tf.Tensor, tf.Tensor, State], State]


def _simple_rnn(x: tf.Tensor, r: tf.Tensor, state: State) -> State:
    """H' = tanh(W x + U h + b) (Elman, 1990)."""
    return (tf.tanh(x + r),)


def _lstm(x: tf.Tensor, r: tf.Tensor, state: State) -> State:
    """The LSTM with a forget gate (Gers et al., 2000), gates in Keras's order.

    i = sigmoid(W_i x + U_i h + b_i), f and o likewise, g = tanh(W_c x + U_c h + b_c),
    c' = f c + i g, h' = o tanh(c').
    """
    _, c = state
    i, f, g, o = tf.split(x + r, 4, axis=-1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return (tf.sigmoid(o) * tf.tanh(c), c)


def _gru(x: tf.Tensor, r: tf.Tensor, state: State) -> State:
    """The GRU (Cho et al., 2014) with the reset gate after the product, as Keras and cuDNN have it.

    z = sigmoid(W_z x + U_z h + b_z), r likewise, g = tanh(W_h x + r (U_h h + b_u) + b_w),
    h' = z h + (1 - z) g.
    """
    (h,) = state
    x_z, x_r, x_h = tf.split(x, 3, axis=-1)
    r_z, r_r, r_h = tf.split(r, 3, axis=-1)
    z = tf.sigmoid(x_z + r_z)
    return (z * h + (1 - z) * tf.tanh(x_h + tf.sigmoid(x_r + r_r) * r_h),)


CELLS: dict[str, Cell] = {
    "simple_rnn": Cell(gates=1, states=1, sums=True, step=_simple_rnn),
    "lstm": Cell(gates=4, states=2, sums=True, step=_lstm),
    "gru": Cell(gates=3, states=1, sums=False, step=_gru),
}


@dataclass(frozen=True, slots=True)
class Direction:
    """What one direction of a recurrence reads, time first, in the order in which it reads it."""

    inputs: tf.Tensor
    """float32 `[time, batch, gates * hidden]`: the inputs, projected, with their bias."""
    mask: tf.Tensor
    """bool `[time, batch, 1]`: where false, the state stays as it is."""
    kernel: tf.Tensor
    """float32 `[hidden, gates * hidden]`: the recurrent kernel."""
    bias: tf.Tensor
    """float32 `[gates * hidden]`: the recurrent bias."""


def recur(cell: Cell, directions: Sequence[Direction], training: bool) -> list[tf.Tensor]:
    """Runs a cell over time in several directions at once, from a state of zeros.

    Args:
        cell: the cell.
        directions: one or two; both are stepped in one loop, which shares its overhead.
        training: whether gradients will be taken; the shapes must be static then.

    Returns:
        The outputs of each direction, float32 `[time, batch, hidden]`, in its order of reading.
    """
    masks = [direction.mask for direction in directions]
    inputs = [direction.inputs for direction in directions]
    kernels = [direction.kernel for direction in directions]
    biases = [direction.bias for direction in directions]
    if not training:
        return [states[0] for states in _forward(cell, inputs, masks, kernels, biases, keep=1)]
    n = len(directions)

    @tf.custom_gradient
    def run(*arguments: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., Any]]:
        inputs, kernels, biases = arguments[:n], arguments[n : 2 * n], arguments[2 * n :]
        states = _forward(cell, inputs, masks, kernels, biases, keep=cell.states)

        def gradient(*d_outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return _backward(cell, inputs, masks, kernels, biases, states, d_outputs)

        return tuple(parts[0] for parts in states), gradient

    return list(run(*inputs, *kernels, *biases))


def _step(cell: Cell, x: tf.Tensor, r: tf.Tensor, state: State, mask: tf.Tensor) -> State:
    new = cell.step(x, r, state)
    return tuple(tf.where(mask, a, b) for a, b in zip(new, state, strict=True))


def _forward(
    cell: Cell,
    inputs: Sequence[tf.Tensor],
    masks: Sequence[tf.Tensor],
    kernels: Sequence[tf.Tensor],
    biases: Sequence[tf.Tensor],
    keep: int,
) -> list[list[tf.Tensor]]:
    """Of each direction the first `keep` parts of the states, each `[time, batch, hidden]`."""
    time, batch = tf.shape(inputs[0])[0], tf.shape(inputs[0])[1]
    shape = [inputs[0].shape[1], kernels[0].shape[0]]
    n = len(inputs)
    input_arrays = [_array(x) for x in inputs]
    mask_arrays = [_array(mask) for mask in masks]

    def body(t: tf.Tensor, states: Any, arrays: Any) -> Any:
        new_states, new_arrays = [], []
        for d in range(n):
            r = tf.matmul(states[d][0], kernels[d]) + biases[d]
            state = _step(cell, input_arrays[d].read(t), r, states[d], mask_arrays[d].read(t))
            new_states.append(state)
            new_arrays.append(
                [a.write(t, part) for a, part in zip(arrays[d], state[:keep], strict=True)]
            )
        return t + 1, new_states, new_arrays

    zero = tf.ensure_shape(tf.zeros(tf.stack([batch, shape[1]])), shape)
    states = [(zero,) * cell.states for _ in range(n)]
    arrays = [[_empty_array(time, shape) for _ in range(keep)] for _ in range(n)]
    _, _, arrays = tf.while_loop(
        lambda t, *_: t < time,
        body,
        (tf.constant(0), states, arrays),
        maximum_iterations=inputs[0].shape[0],
    )
    return [[_stack(array, inputs[0].shape[0]) for array in direction] for direction in arrays]


def _backward(
    cell: Cell,
    inputs: Sequence[tf.Tensor],
    masks: Sequence[tf.Tensor],
    kernels: Sequence[tf.Tensor],
    biases: Sequence[tf.Tensor],
    states: Sequence[Sequence[tf.Tensor]],
    d_outputs: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, ...]:
    """The gradients of the inputs, kernels and biases, in this order, of each direction."""
    n = len(inputs)
    time, batch, width = inputs[0].shape
    hidden = kernels[0].shape[0]
    previous = [[tf.concat([tf.zeros_like(s[:1]), s[:-1]], 0) for s in part] for part in states]
    previous_arrays = [[_array(part) for part in parts] for parts in previous]
    input_arrays = [_array(x) for x in inputs]
    mask_arrays = [_array(mask) for mask in masks]
    d_output_arrays = [_array(d) for d in d_outputs]
    # Once, before the loop: a product with a transposed kernel takes XLA twice the time.
    transposed = [tf.transpose(kernel) for kernel in kernels]

    def body(t: tf.Tensor, d_states: Any, arrays: Any) -> Any:
        new_states, new_arrays = [], []
        for d in range(n):
            state = tuple(array.read(t) for array in previous_arrays[d])
            x = input_arrays[d].read(t)
            r = tf.matmul(state[0], kernels[d]) + biases[d]
            with tf.GradientTape() as tape:
                tape.watch((x, r, state))
                new = _step(cell, x, r, state, mask_arrays[d].read(t))
            d_new = (d_states[d][0] + d_output_arrays[d].read(t), *d_states[d][1:])
            d_x, d_r, d_state = tape.gradient(
                new,
                (x, r, state),
                output_gradients=d_new,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            d_h = d_state[0] + tf.matmul(d_r, transposed[d])
            d_read = [d_x] if cell.sums else [d_x, d_r]
            new_states.append((d_h, *d_state[1:]))
            new_arrays.append([a.write(t, d) for a, d in zip(arrays[d], d_read, strict=True)])
        return t - 1, new_states, new_arrays

    zero = tf.zeros([batch, hidden])
    d_states = [(zero,) * cell.states for _ in range(n)]
    written = 1 if cell.sums else 2
    arrays = [[_empty_array(time, [batch, width]) for _ in range(written)] for _ in range(n)]
    _, _, arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (tf.constant(time - 1), d_states, arrays),
        maximum_iterations=time,
    )
    d_inputs = [_stack(direction[0], time) for direction in arrays]
    d_recurrent = [_stack(direction[-1], time) for direction in arrays]
    d_kernels = [
        kernel_gradient(parts[0], d_r) for parts, d_r in zip(previous, d_recurrent, strict=True)
    ]
    d_biases = [tf.reduce_sum(d_r, [0, 1]) for d_r in d_recurrent]
    return (*d_inputs, *d_kernels, *d_biases)


def kernel_gradient(inputs: tf.Tensor, d_outputs: tf.Tensor) -> tf.Tensor:
    """The gradient of a kernel that was applied to each step's inputs.

    A product over all steps at once, tall and thin, runs on one core at a tenth of its speed; cut
    into blocks of some steps, the blocks run side by side.

    Args:
        inputs: float32 `[time, batch, n]`, of static shape.
        d_outputs: float32 `[time, batch, m]`.

    Returns:
        float32 `[n, m]`.
    """
    blocks = inputs.shape[0] // math.gcd(inputs.shape[0], _STEPS_A_BLOCK)
    a, b = (tf.reshape(x, [blocks, -1, x.shape[-1]]) for x in (inputs, d_outputs))
    return tf.reduce_sum(tf.matmul(a, b, transpose_a=True), axis=0)


@tf.custom_gradient
def project(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """The product of each step's inputs, `[time, batch, n]`, and a kernel `[n, m]`."""

    def gradient(d_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        d_inputs = tf.tensordot(d_outputs, kernel, [[2], [1]])
        return d_inputs, kernel_gradient(inputs, d_outputs)

    return tf.tensordot(inputs, kernel, 1), gradient


def _array(values: tf.Tensor) -> tf.TensorArray:
    array = tf.TensorArray(values.dtype, tf.shape(values)[0], element_shape=values.shape[1:])
    return array.unstack(values)


def _empty_array(time: tf.Tensor | int, shape: list[int | None]) -> tf.TensorArray:
    return tf.TensorArray(tf.float32, time, element_shape=shape)


def _stack(array: tf.TensorArray, time: int | None) -> tf.Tensor:
    values = array.stack()
    return tf.ensure_shape(values, [time, *values.shape[1:]])
