"""The recurrence in the form for GPUs: few, large operations, as each costs a kernel launch.

Both directions are stepped by one batched matrix product and one or two fusions of element-wise
operations a step. An iteration of the loop over time takes several steps, so that XLA launches them
as one CUDA graph, and reads and writes slices of several steps. The backward pass computes the
recurrent projections of all steps anew by one product before its loop, which leaves one product a
step there too.

XLA alone compiles this: `XlaDynamicUpdateSlice` has no kernel outside of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_dynamic_update_slice

from components.shared.recurrence import (
    Cell,
    Direction,
    Gradient,
    State,
    kernel_gradient,
    with_gradient,
)

MAX_UNROLLED = 8
"""More make a step no faster on an H200, and its compilation slower: 20 by half."""


def recur_stacked(
    cell: Cell,
    directions: Sequence[Direction],
    training: bool,
    max_unrolled: int = MAX_UNROLLED,
) -> list[tf.Tensor]:
    """As `recurrence.recur`, which runs a cell over time in several directions at once.

    The dtype of the inputs, float32 or bfloat16, is that of the matrix products and of what is
    stored of each step; the state is carried from step to step in float32.

    Args:
        cell: the cell.
        directions: one or two, of static shapes.
        training: whether gradients will be taken.
        max_unrolled: the most steps that an iteration of the loop takes.

    Returns:
        The outputs of each direction, `[time, batch, hidden]`.
    """
    time = directions[0].inputs.shape[0]
    unrolled = max(n for n in range(1, max_unrolled + 1) if time % n == 0)
    stack = _Stack(cell, tuple(directions), unrolled)
    if not training:
        return stack.outputs(stack.forward(keep=1)[0])

    def compute(given: Sequence[Direction]) -> tuple[tuple[tf.Tensor, ...], Gradient]:
        stack = _Stack(cell, tuple(given), unrolled)
        states = stack.forward(keep=cell.states)
        outputs = tuple(stack.outputs(states[0]))
        return outputs, lambda *d_outputs: stack.backward(states, d_outputs)

    return with_gradient(directions, compute)


@dataclass(frozen=True, slots=True)
class _Stack:
    """Directions that are stepped together, `unrolled` steps an iteration.

    States are kept in arrays `[1 + steps, directions, batch, hidden]`, by the number of the step in
    each direction's order of reading, from zeros.
    """

    cell: Cell
    directions: tuple[Direction, ...]
    unrolled: int

    @property
    def dtype(self) -> tf.DType:
        return self.directions[0].inputs.dtype

    @property
    def kernel(self) -> tf.Tensor:
        """`[directions, hidden, gates * hidden]`."""
        return tf.cast(tf.stack([it.kernel for it in self.directions]), self.dtype)

    @property
    def bias(self) -> tf.Tensor:
        """`[directions, 1, gates * hidden]`."""
        return tf.stack([it.bias for it in self.directions])[:, tf.newaxis]

    @property
    def zeros(self) -> State:
        hidden, batch = self.directions[0].kernel.shape[0], self.directions[0].inputs.shape[1]
        return (tf.zeros([len(self.directions), batch, hidden]),) * self.cell.states

    def outputs(self, states: tf.Tensor) -> list[tf.Tensor]:
        """Of each direction the states after each step, in the order of time."""
        parts = tf.unstack(states[1:], axis=1)
        pairs = zip(self.directions, parts, strict=True)
        return [tf.reverse(part, [0]) if it.backward else part for it, part in pairs]

    def forward(self, keep: int) -> list[tf.Tensor]:
        """The first `keep` parts of the states."""
        time, batch, _ = self.directions[0].inputs.shape
        n, hidden = len(self.directions), self.directions[0].kernel.shape[0]
        dtype, kernel, bias = self.dtype, self.kernel, self.bias

        def body(i: tf.Tensor, state: Any, kept: Any) -> Any:
            t = i * self.unrolled
            inputs = self._read([it.inputs for it in self.directions], t)
            mask = self._read([it.mask for it in self.directions], t)
            steps: list[State] = []
            for x, m in zip(inputs, mask, strict=True):
                r = tf.cast(tf.matmul(tf.cast(state[0], dtype), kernel), tf.float32) + bias
                new = self.cell.step(tf.cast(x, tf.float32), r, state)
                state = _masked(m, new, state)
                steps.append(tuple(tf.cast(part, dtype) for part in state[:keep]))
            blocks = [tf.stack(parts) for parts in zip(*steps, strict=True)]
            written = [_write(k, b, t + 1) for k, b in zip(kept, blocks, strict=True)]
            return i + 1, state, written

        empty = [tf.zeros([1 + time, n, batch, hidden], dtype) for _ in range(keep)]
        loop = (tf.constant(0), self.zeros, empty)
        return list(self._loop(body, loop)[2])

    def backward(
        self, states: Sequence[tf.Tensor], d_outputs: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, ...]:
        """The gradients of the inputs, kernels and biases, in this order, of each direction."""
        time, batch, width = self.directions[0].inputs.shape
        dtype, bias = self.dtype, self.bias
        previous = tf.unstack(states[0][:-1], axis=1)
        recurrent = [
            tf.tensordot(outputs, tf.cast(it.kernel, dtype), 1)
            for it, outputs in zip(self.directions, previous, strict=True)
        ]
        # Once, before the loop.
        transposed = tf.transpose(self.kernel, [0, 2, 1])

        def body(i: tf.Tensor, d_state: Any, written: Any) -> Any:
            t = time - (i + 1) * self.unrolled
            xs = self._read([it.inputs for it in self.directions], t)
            masks = self._read([it.mask for it in self.directions], t)
            d_out = self._read(d_outputs, t)
            rs = _select(*(_block(array, t, self.unrolled) for array in recurrent))
            parts = zip(*(_block(part, t, self.unrolled) for part in states), strict=True)
            found: list[list[tf.Tensor]] = []
            for x, r, state, m, d in reversed([*zip(xs, rs, parts, masks, d_out, strict=True)]):
                d_new = (d_state[0] + tf.cast(d, tf.float32), *d_state[1:])
                r = tf.cast(r, tf.float32) + bias
                d_read, d_state = self._step_gradient(x, r, state, m, d_new)
                d_read = [tf.cast(value, dtype) for value in d_read]
                product = tf.cast(tf.matmul(d_read[-1], transposed), tf.float32)
                d_state = (d_state[0] + product, *d_state[1:])
                found.insert(0, d_read)
            # The gradients of the inputs in the order of time, those of the recurrent projections
            # in that of reading.
            for number, steps in enumerate(zip(*found, strict=True)):
                arrays = written[number]
                for d, direction in enumerate(self.directions):
                    block = tf.stack([step[d] for step in steps])
                    if direction.backward and number == 0:
                        block, place = tf.reverse(block, [0]), time - self.unrolled - t
                    else:
                        place = t
                    arrays[d] = _write(arrays[d], block, place)
            return i + 1, d_state, written

        count = 1 if self.cell.sums else 2
        empty = [tf.zeros([time, batch, width], dtype)] * len(self.directions)
        loop = (tf.constant(0), self.zeros, [list(empty) for _ in range(count)])
        written = self._loop(body, loop)[2]
        d_kernels, d_biases = [], []
        for direction, outputs, d_r in zip(self.directions, previous, written[-1], strict=True):
            if direction.backward and count == 1:
                outputs = tf.reverse(outputs, [0])
            d_kernels.append(kernel_gradient(outputs, d_r))
            d_biases.append(tf.reduce_sum(tf.cast(d_r, tf.float32), [0, 1]))
        return (*written[0], *d_kernels, *d_biases)

    def _loop(self, body: Callable[..., Any], first: Any) -> Any:
        """Runs all iterations; XLA sees how many of a counter that goes from 0 up by 1."""
        iterations = self.directions[0].inputs.shape[0] // self.unrolled
        return tf.while_loop(lambda i, *_: i < iterations, body, first)

    def _step_gradient(
        self, x: tf.Tensor, r: tf.Tensor, state: State, mask: tf.Tensor, d_new: State
    ) -> tuple[list[tf.Tensor], State]:
        """The gradients of what a step reads, and of the state before it but through the kernel."""
        x, r, state = tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), (x, r, state))
        # Of a cell that reads nothing but the sum one gradient does.
        read = [x + r] if self.cell.sums else [x, r]
        with tf.GradientTape() as tape:
            tape.watch((read, state))
            x, r = (read[0], tf.zeros_like(read[0])) if self.cell.sums else read
            new = _masked(mask, self.cell.step(x, r, state), state)
        return tape.gradient(
            new,
            (read, state),
            output_gradients=d_new,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def _read(self, arrays: Sequence[tf.Tensor], t: tf.Tensor) -> list[tf.Tensor]:
        """What all directions read in each of the steps from `t` on, `[directions, batch, ...]`.

        Args:
            arrays: of each direction, `[time, batch, ...]`, in the order of time.
            t: the number of the first step.
        """
        blocks = []
        for direction, array in zip(self.directions, arrays, strict=True):
            place = array.shape[0] - self.unrolled - t if direction.backward else t
            block = _block(array, place, self.unrolled)
            blocks.append(block[::-1] if direction.backward else block)
        return _select(*blocks)


def _select(*blocks: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Stacks what each direction reads, step by step.

    XLA makes an operation of its own of a `tf.stack`, but fuses this with what reads it.
    """
    if len(blocks) == 1:
        return [values[tf.newaxis] for values in blocks[0]]
    is_first = tf.constant([True, False])[:, tf.newaxis, tf.newaxis]
    return [tf.where(is_first, a[tf.newaxis], b[tf.newaxis]) for a, b in zip(*blocks, strict=True)]


def _block(array: tf.Tensor, t: tf.Tensor, steps: int) -> list[tf.Tensor]:
    """So many steps of an array, from `t` on."""
    begin = tf.stack([t, *[0] * (array.shape.rank - 1)])
    return tf.unstack(tf.slice(array, begin, [steps, *array.shape[1:]]))


def _write(array: tf.Tensor, block: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """The array with a block of steps written at `t`."""
    return xla_dynamic_update_slice(array, block, tf.stack([t, *[0] * (array.shape.rank - 1)]))


def _masked(mask: tf.Tensor, new: State, old: State) -> State:
    return tuple(tf.where(mask, a, b) for a, b in zip(new, old, strict=True))
