"""The weights of a recurrence, initialised as Keras does."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from components.shared.recurrence import CELLS, Cell


def recurrent_weights(
    layer: keras.layers.Layer,
    name: str,
    cell: Cell,
    inputs: int,
    hidden: int,
    seeds: Iterator[int],
) -> tuple[keras.Variable, keras.Variable, keras.Variable]:
    """Adds the weights of one direction to a layer.

    Args:
        layer: whose weights they are.
        name: of the direction.
        cell: the cell.
        inputs: width of what it reads.
        hidden: its units.
        seeds: a seed for each weight that is random.

    Returns:
        The kernel, `[inputs, gates * hidden]`, the recurrent kernel, `[hidden, gates * hidden]`,
        and the biases, `[1 or 2, gates * hidden]`.
    """
    width = cell.gates * hidden
    kernel = layer.add_weight(
        name=f"{name}_kernel",
        shape=(inputs, width),
        initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
    )
    recurrent_kernel = layer.add_weight(
        name=f"{name}_recurrent_kernel",
        shape=(hidden, width),
        initializer=keras.initializers.Orthogonal(seed=next(seeds)),
    )
    # A GRU has a bias within the product with the reset gate too.
    biases = np.zeros((2 if cell is CELLS["gru"] else 1, width), np.float32)
    if cell is CELLS["lstm"]:
        # A forget gate that is open at first lets gradients through.
        biases[0, hidden : 2 * hidden] = 1.0
    bias = layer.add_weight(
        name=f"{name}_bias",
        shape=biases.shape,
        initializer=lambda shape, dtype=None: tf.constant(biases, dtype, shape),
    )
    return kernel, recurrent_kernel, bias
