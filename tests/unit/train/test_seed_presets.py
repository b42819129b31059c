"""The preset `seed` and its successors, against the Keras models that they stand for."""

import keras
import numpy as np
import pytest

from components.train.train import build_model
from pipeline.config import preset

VOCABULARY, TIME = 50, 12
LAYERS = {
    "seed": lambda: keras.layers.SimpleRNN(64),
    "lstm": lambda: keras.layers.LSTM(64),
    "gru": lambda: keras.layers.GRU(64),
    "bidirectional": lambda: keras.layers.Bidirectional(keras.layers.SimpleRNN(64)),
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_it_is_the_keras_model_with_that_layer(name: str) -> None:
    config = preset(name).train
    ours = build_model(config, VOCABULARY, np.zeros(0, np.int64))
    theirs = keras.Sequential(
        [keras.layers.Embedding(VOCABULARY, 128), LAYERS[name](), keras.layers.Dense(1)]
    )
    theirs.build((None, TIME))
    # Keras's own initial weights, such as the open forget gate; and biases that tell gates apart.
    random = np.random.default_rng(0)
    for weight, mine in zip(theirs.weights, _in_keras_order(ours), strict=True):
        if "bias" in mine.name and mine.name != "output_bias":
            np.testing.assert_array_equal(mine.numpy().reshape(weight.shape), weight.numpy())
            weight.assign(weight + random.normal(size=weight.shape))
        mine.assign(weight.numpy().reshape(mine.shape))
    token_ids = random.integers(2, VOCABULARY, size=(3, TIME)).astype(np.int32)
    # Padded on the left, and unmasked: one direction reads the padding first, the other one last.
    token_ids[1, :5] = token_ids[2, :-1] = 0
    assert config.padding == "left"
    expected = np.asarray(theirs(token_ids))[:, 0]
    np.testing.assert_allclose(ours(token_ids), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["lstm", "gru", "bidirectional"])
def test_a_successor_differs_from_the_seed_in_one_key(name: str) -> None:
    seed, successor = (preset(n).to_mapping() for n in ("seed", name))
    changed = {
        (task, key)
        for task, values in seed.items()
        for key in values
        if values[key] != successor[task][key]
    }
    assert changed == {("train", "bidirectional" if name == "bidirectional" else "cell")}


def _in_keras_order(model: keras.Model) -> list[keras.Variable]:
    """The weights as Keras's layers have them: the table, each direction's, the output's."""
    directions = ["forward", "backward"] if model.config["bidirectional"] else ["forward"]
    parts = [f"{d}_{p}" for d in directions for p in ("kernel", "recurrent_kernel", "bias")]
    by_name = {weight.name: weight for weight in model.weights}
    return [by_name[n] for n in ("token_table", *parts, "output_kernel", "output_bias")]
