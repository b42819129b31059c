"""Recurrent cells and the loop over time that runs them, in TensorFlow ops that XLA compiles.

The input projections of all steps are one matrix product outside of the loop; within it remain the
recurrent product and the gates. The gradient is backpropagation through time with the gates'
derivatives taken step by step, so that the gradient of the recurrent kernel, too, is one matrix
product over all steps (it would else be accumulated in the loop).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import tensorflow as tf

_STEPS_A_BLOCK = 8

CellName = Literal["simple_rnn", "lstm", "gru", "min_gru"]
State = tuple[tf.Tensor, ...]
Gradient = Callable[..., tuple[tf.Tensor, ...]]


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
    """What one direction of a recurrence reads, time first."""

    inputs: tf.Tensor
    """float32 `[time, batch, gates * hidden]`: the inputs, projected, with their bias."""
    mask: tf.Tensor
    """bool `[time, batch, 1]`: where false, the state stays as it is."""
    kernel: tf.Tensor
    """float32 `[hidden, gates * hidden]`: the recurrent kernel."""
    bias: tf.Tensor
    """float32 `[gates * hidden]`: the recurrent bias."""
    backward: bool = False
    """Whether it reads the last step first."""

    def place(self, step: tf.Tensor, last: tf.Tensor | int) -> tf.Tensor:
        """Which place in time, of 0 to `last`, it reads as its `step`-th, from 0."""
        return last - step if self.backward else step


def recur(cell: Cell, directions: Sequence[Direction], training: bool) -> list[tf.Tensor]:
    """Runs a cell over time in several directions at once, from a state of zeros.

    Args:
        cell: the cell.
        directions: one or two; both are stepped in one loop, which shares its overhead.
        training: whether gradients will be taken; the shapes must be static then.

    Returns:
        The outputs of each direction, float32 `[time, batch, hidden]`.
    """
    if not training:
        return [states[0] for states in _forward(cell, directions, keep=1)]

    def compute(given: Sequence[Direction]) -> tuple[tuple[tf.Tensor, ...], Gradient]:
        states = _forward(cell, given, keep=cell.states)
        outputs = tuple(parts[0] for parts in states)
        return outputs, lambda *d_outputs: _backward(cell, given, states, d_outputs)

    return with_gradient(directions, compute)


def with_gradient(
    directions: Sequence[Direction],
    compute: Callable[[Sequence[Direction]], tuple[tuple[tf.Tensor, ...], Gradient]],
) -> list[tf.Tensor]:
    """Computes a recurrence with a gradient of its own in the place of TensorFlow's.

    Args:
        directions: what is read.
        compute: gives, for directions, the outputs of each, and a function from the gradients of
            the outputs to those of the inputs, the kernels and the biases, in this order.

    Returns:
        The outputs of each direction.
    """
    n = len(directions)

    @tf.custom_gradient
    def run(*arguments: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Gradient]:
        inputs, kernels, biases = arguments[:n], arguments[n : 2 * n], arguments[2 * n :]
        return compute(
            [
                replace(direction, inputs=x, kernel=kernel, bias=bias)
                for direction, x, kernel, bias in zip(
                    directions, inputs, kernels, biases, strict=True
                )
            ]
        )

    columns = zip(*((it.inputs, it.kernel, it.bias) for it in directions), strict=True)
    return list(run(*(tensor for column in columns for tensor in column)))


def _step(cell: Cell, x: tf.Tensor, r: tf.Tensor, state: State, mask: tf.Tensor) -> State:
    new = cell.step(x, r, state)
    return tuple(tf.where(mask, a, b) for a, b in zip(new, state, strict=True))


def _forward(cell: Cell, directions: Sequence[Direction], keep: int) -> list[list[tf.Tensor]]:
    """Of each direction the first `keep` parts of the states, each `[time, batch, hidden]`."""
    inputs, kernel = directions[0].inputs, directions[0].kernel
    time, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
    last = time - 1
    shape = [inputs.shape[1], kernel.shape[0]]
    input_arrays = [_array(direction.inputs) for direction in directions]
    mask_arrays = [_array(direction.mask) for direction in directions]

    def body(t: tf.Tensor, states: Any, arrays: Any) -> Any:
        new_states, new_arrays = [], []
        for d, direction in enumerate(directions):
            place = direction.place(t, last)
            r = tf.matmul(states[d][0], direction.kernel) + direction.bias
            x, mask = input_arrays[d].read(place), mask_arrays[d].read(place)
            state = _step(cell, x, r, states[d], mask)
            new_states.append(state)
            new_arrays.append(
                [a.write(place, part) for a, part in zip(arrays[d], state[:keep], strict=True)]
            )
        return t + 1, new_states, new_arrays

    zero = tf.ensure_shape(tf.zeros(tf.stack([batch, shape[1]])), shape)
    states = [(zero,) * cell.states for _ in directions]
    arrays = [[_empty_array(time, shape) for _ in range(keep)] for _ in directions]
    _, _, arrays = tf.while_loop(
        lambda t, *_: t < time,
        body,
        (tf.constant(0), states, arrays),
        maximum_iterations=inputs.shape[0],
    )
    return [[_stack(array, inputs.shape[0]) for array in direction] for direction in arrays]


def _backward(
    cell: Cell,
    directions: Sequence[Direction],
    states: Sequence[Sequence[tf.Tensor]],
    d_outputs: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, ...]:
    """The gradients of the inputs, kernels and biases, in this order, of each direction."""
    time, batch, width = directions[0].inputs.shape
    hidden = directions[0].kernel.shape[0]
    previous = [
        [_previous(part, direction.backward) for part in parts]
        for direction, parts in zip(directions, states, strict=True)
    ]
    previous_arrays = [[_array(part) for part in parts] for parts in previous]
    mask_arrays = [_array(direction.mask) for direction in directions]
    d_output_arrays = [_array(d) for d in d_outputs]
    # Once, before the loop: a product with a transposed kernel takes XLA twice the time.
    transposed = [tf.transpose(direction.kernel) for direction in directions]

    def body(t: tf.Tensor, d_states: Any, arrays: Any) -> Any:
        new_states, new_arrays = [], []
        for d, direction in enumerate(directions):
            place = direction.place(t, time - 1)
            state = tuple(array.read(place) for array in previous_arrays[d])
            x, mask = arrays[d][0].read(place), mask_arrays[d].read(place)
            r = tf.matmul(state[0], direction.kernel) + direction.bias
            with tf.GradientTape() as tape:
                tape.watch((x, r, state))
                new = _step(cell, x, r, state, mask)
            d_new = (d_states[d][0] + d_output_arrays[d].read(place), *d_states[d][1:])
            d_x, d_r, d_state = tape.gradient(
                new,
                (x, r, state),
                output_gradients=d_new,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            d_h = d_state[0] + tf.matmul(d_r, transposed[d])
            d_read = [d_x] if cell.sums else [d_x, d_r]
            new_states.append((d_h, *d_state[1:]))
            new_arrays.append([a.write(place, d) for a, d in zip(arrays[d], d_read, strict=True)])
        return t - 1, new_states, new_arrays

    d_states = [(tf.zeros([batch, hidden]),) * cell.states for _ in directions]
    # The gradient of an input takes the input's place, which nothing reads any more.
    arrays = [[_array(direction.inputs)] for direction in directions]
    if not cell.sums:
        arrays = [[*array, _empty_array(time, [batch, width])] for array in arrays]
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


def _previous(states: tf.Tensor, backward: bool) -> tf.Tensor:
    """At each place the state before it was read, `[time, batch, hidden]` both."""
    zero = tf.zeros_like(states[:1])
    return tf.concat([states[1:], zero] if backward else [zero, states[:-1]], axis=0)


def kernel_gradient(inputs: tf.Tensor, d_outputs: tf.Tensor) -> tf.Tensor:
    """The gradient of a kernel that was applied to each step's inputs.

    A product over all steps at once, tall and thin, runs on one core at a tenth of its speed; cut
    into blocks of some steps, the blocks run side by side. A GPU, too, is busier with them.

    Args:
        inputs: `[..., time, batch, n]`, of static shape.
        d_outputs: `[..., time, batch, m]`, with the same leading dimensions.

    Returns:
        float32 `[..., n, m]`.
    """
    *leading, time, _, _ = inputs.shape
    blocks = time // math.gcd(time, _STEPS_A_BLOCK)
    a, b = (tf.reshape(x, [*leading, blocks, -1, x.shape[-1]]) for x in (inputs, d_outputs))
    product = tf.matmul(a, b, transpose_a=True)
    return tf.reduce_sum(tf.cast(product, tf.float32), axis=len(leading))


@tf.custom_gradient
def project(
    inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, Callable[..., Any]]:
    """The product of each step's inputs and a kernel, and a bias.

    Args:
        inputs: float32 or bfloat16 `[time, batch, n]`; the product is taken in this dtype.
        kernel: float32 `[n, m]`.
        bias: float32 `[m]`.

    Returns:
        `[time, batch, m]`, of the dtype of the inputs.
    """
    kernel, bias = tf.cast(kernel, inputs.dtype), tf.cast(bias, inputs.dtype)

    def gradient(d_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        d_inputs = tf.tensordot(d_outputs, kernel, [[2], [1]])
        d_bias = tf.reduce_sum(tf.cast(d_outputs, tf.float32), [0, 1])
        return d_inputs, kernel_gradient(inputs, d_outputs), d_bias

    return tf.tensordot(inputs, kernel, 1) + bias, gradient


def _array(values: tf.Tensor) -> tf.TensorArray:
    array = tf.TensorArray(values.dtype, tf.shape(values)[0], element_shape=values.shape[1:])
    return array.unstack(values)


def _empty_array(time: tf.Tensor | int, shape: list[int | None]) -> tf.TensorArray:
    return tf.TensorArray(tf.float32, time, element_shape=shape)


def _stack(array: tf.TensorArray, time: int | None) -> tf.Tensor:
    values = array.stack()
    return tf.ensure_shape(values, [time, *values.shape[1:]])
