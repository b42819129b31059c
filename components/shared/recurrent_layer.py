"""A layer of recurrences, one or two directions, in the form of the device that it runs on.

The function is the same everywhere; how it is computed is a matter of what an operation costs:

- "cpu": XLA on a CPU, a loop of single steps, both directions in one loop;
- "gpu": XLA on a GPU, directions stacked, several steps an iteration, or a scan of chunks;
- "server": TensorFlow without XLA, with operations that any server's TensorFlow has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
import tensorflow as tf

from components.shared.block_lstm import block_lstm
from components.shared.linear_recurrence import Form
from components.shared.min_gru import min_gru
from components.shared.recurrence import CELLS, CellName, Direction, project, recur
from components.shared.stacked_recurrence import recur_stacked

Target = Literal["cpu", "gpu", "server"]

_FORMS: dict[Target, Form] = {"cpu": "steps", "gpu": "chunks", "server": "loop_of_chunks"}


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one direction of a cell with so many `gates`."""

    kernel: keras.Variable
    """float32 `[inputs, gates * hidden]`."""
    recurrent_kernel: keras.Variable | None
    """float32 `[hidden, gates * hidden]`; None for a cell whose gates don't read its state."""
    bias: keras.Variable
    """float32 `[1 or 2, gates * hidden]`: that of the inputs, and a GRU's of the state."""


@dataclass(frozen=True, slots=True)
class RecurrentLayer:
    """Recurrences over the same inputs."""

    cell: CellName
    directions: Mapping[str, Weights]
    """By name: "forward", "backward"."""

    @property
    def weights(self) -> list[keras.Variable]:
        """The weights of all directions."""
        return [
            weight
            for it in self.directions.values()
            for weight in (it.kernel, it.recurrent_kernel, it.bias)
            if weight is not None
        ]

    def project(self, inputs: tf.Tensor, training: bool = True) -> dict[str, tf.Tensor]:
        """What each direction reads of inputs `[..., width]`: its projections, with their bias.

        Args:
            inputs: what the layer reads.
            training: whether gradients will be taken.

        Returns:
            `[..., gates * hidden]`, by the name of the direction.
        """
        result: dict[str, tf.Tensor] = {}
        for name, weights in self.directions.items():
            kernel, bias = tf.convert_to_tensor(weights.kernel), weights.bias[0]
            if training and inputs.shape.rank == 3:
                result[name] = project(inputs, kernel, bias)
            else:
                result[name] = tf.tensordot(inputs, kernel, 1) + bias
        return result

    def __call__(
        self, inputs: tf.Tensor, mask: tf.Tensor, training: bool, target: Target
    ) -> dict[str, tf.Tensor]:
        """Runs all directions.

        Args:
            inputs: float32 or bfloat16 `[time, batch, width]`.
            mask: bool `[time, batch, 1]`: where false, the state stays as it is.
            training: whether gradients will be taken; the shapes must be static then, as they must
                be on a GPU.
            target: what it runs on.

        Returns:
            The outputs of each direction, `[time, batch, hidden]`, by its name.
        """
        if target == "server" and self.cell == "lstm":
            return self._blocks(inputs, mask)
        return self.read(self.project(inputs, training), mask, training, target)

    def read(
        self, projected: Mapping[str, tf.Tensor], mask: tf.Tensor, training: bool, target: Target
    ) -> dict[str, tf.Tensor]:
        """As `__call__`, of what `project` gave."""
        if self.cell == "min_gru":
            turned = [_turn(projected[name], name) for name in self.directions]
            masks = [_turn(mask, name) for name in self.directions]
            outputs = min_gru(tf.stack(turned, 1), tf.stack(masks, 1), _FORMS[target])
            named = zip(self.directions, tf.unstack(outputs, axis=1), strict=True)
            return {name: _turn(output, name) for name, output in named}
        directions = [
            Direction(
                inputs=projected[name],
                mask=mask,
                kernel=tf.convert_to_tensor(weights.recurrent_kernel),
                bias=_recurrent_bias(weights),
                backward=name == "backward",
            )
            for name, weights in self.directions.items()
        ]
        run = recur_stacked if target == "gpu" else recur
        outputs = run(CELLS[self.cell], directions, training)
        return dict(zip(self.directions, outputs, strict=True))

    def _blocks(self, inputs: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        """One operation a direction, for which padding must be on the right."""
        lengths = tf.reduce_sum(tf.cast(mask[..., 0], tf.int32), axis=0)
        result: dict[str, tf.Tensor] = {}
        for name, w in self.directions.items():
            tensors = [tf.convert_to_tensor(v) for v in (w.kernel, w.recurrent_kernel, w.bias[0])]
            result[name] = block_lstm(inputs, lengths, *tensors, backward=name == "backward")
        return result


def _recurrent_bias(weights: Weights) -> tf.Tensor:
    bias = weights.bias
    # Not tf.zeros_like, a constant: XLA would name it otherwise in each process that compiles.
    return bias[1] if bias.shape[0] == 2 else tf.raw_ops.ZerosLike(x=bias[0])


def _turn(values: tf.Tensor, direction: str) -> tf.Tensor:
    """In the direction's order of reading, of values in the order of time, and the reverse."""
    return tf.reverse(values, [0]) if direction == "backward" else values
