"""The weights of a recurrence, initialised as Keras does."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from components.shared.min_gru import GATES
from components.shared.recurrence import CELLS, CellName
from components.shared.recurrent_layer import RecurrentLayer, Weights


def recurrent_layer(
    layer: keras.layers.Layer,
    number: int,
    cell: CellName,
    directions: Sequence[str],
    inputs: int,
    hidden: int,
    seeds: Iterator[int],
) -> RecurrentLayer:
    """Adds the weights of a layer of recurrences to a Keras layer.

    Args:
        layer: whose weights they are.
        number: of the layer of recurrences, from 1.
        cell: the cell.
        directions: the names of its directions.
        inputs: width of what it reads.
        hidden: its units in each direction.
        seeds: a seed for each weight that is random.

    Returns:
        What runs them.
    """
    suffix = "" if number == 1 else f"_{number}"
    return RecurrentLayer(
        cell,
        {name: _weights(layer, name + suffix, cell, inputs, hidden, seeds) for name in directions},
    )


def _weights(
    layer: keras.layers.Layer,
    name: str,
    cell: CellName,
    inputs: int,
    hidden: int,
    seeds: Iterator[int],
) -> Weights:
    gates = GATES if cell == "min_gru" else CELLS[cell].gates
    width = gates * hidden
    kernel = layer.add_weight(
        name=f"{name}_kernel",
        shape=(inputs, width),
        initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
    )
    recurrent_kernel = None
    if cell != "min_gru":
        recurrent_kernel = layer.add_weight(
            name=f"{name}_recurrent_kernel",
            shape=(hidden, width),
            initializer=keras.initializers.Orthogonal(seed=next(seeds)),
        )
    # A GRU has a bias within the product with the reset gate too.
    biases = np.zeros((2 if cell == "gru" else 1, width), np.float32)
    if cell == "lstm":
        # A forget gate that is open at first lets gradients through.
        biases[0, hidden : 2 * hidden] = 1.0
    bias = layer.add_weight(
        name=f"{name}_bias",
        shape=biases.shape,
        initializer=lambda shape, dtype=None: tf.constant(biases, dtype, shape),
    )
    return Weights(kernel, recurrent_kernel, bias)
