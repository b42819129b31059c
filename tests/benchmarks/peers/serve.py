"""Asks a model for the probabilities of reviews, and times it: one side of `serving.py`.

    python serve.py {pipeline,keras,tfx} MODEL REVIEWS [--check] [--singles 500]

Runs by itself in the environment that is to serve the model. MODEL is a SavedModel, for `keras` a
folder of `model.keras` and `vocabulary.txt`; REVIEWS a JSON list of texts. Each request goes from
raw text to probabilities in memory. Prints JSON on its last line: `per_second` (reviews) by size of
the request, `median_ms` and `p99_ms` of the requests of one review, `probabilities` of all reviews,
`variables`, the shapes of the model's, and `tensorflow`, its version.
"""

import argparse
import json
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

Ask = Callable[[list[str]], np.ndarray]
"""Reviews to their probabilities, float32 `[reviews]`."""

SIZES = (1, 32, 256)

WARM_UP = 0.1
"""The share of the requests that is asked once before, untimed; at least two of each size."""


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("model", type=Path)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--check", action="store_true", help="answers instead of times")
    parser.add_argument("--singles", type=int, default=500, help="timed requests of one review")
    options = parser.parse_args()
    reviews: list[str] = json.loads(options.reviews.read_text())
    ask, variables = KINDS[options.kind](options.model)
    if options.check:
        answers = [ask(request) for request in requests(reviews, max(SIZES))]
        figures = {"probabilities": np.concatenate(answers).tolist(), "variables": variables}
    else:
        figures = times(ask, reviews, options.singles)
    print(json.dumps(figures))


def times(ask: Ask, reviews: list[str], singles: int) -> dict[str, Any]:
    """Times requests of every size, those of one review `singles` times."""
    figures: dict[str, Any] = {"tensorflow": tf.__version__, "per_second": {}}
    for size in SIZES:
        asked = requests(reviews[:singles] if size == 1 else reviews, size)
        seconds = measure(ask, asked)
        figures["per_second"][size] = sum(map(len, asked)) / seconds.sum()
        if size == 1:
            figures["median_ms"], figures["p99_ms"] = np.percentile(seconds * 1000, (50, 99))
    return figures


def requests(reviews: list[str], size: int) -> list[list[str]]:
    """The reviews in requests of one size, in their order."""
    return [reviews[start : start + size] for start in range(0, len(reviews), size)]


def measure(ask: Ask, asked: list[list[str]]) -> np.ndarray:
    """The seconds that each request takes, one after the other, float64 `[requests]`."""
    for request in asked[: max(2, round(len(asked) * WARM_UP))]:
        ask(request)
    seconds = []
    for request in asked:
        started = time.perf_counter()
        ask(request)
        seconds.append(time.perf_counter() - started)
    return np.array(seconds)


def pipeline(model: Path) -> tuple[Ask, list[list[int]]]:
    """The pipeline's signature: raw text."""
    loaded = tf.saved_model.load(str(model))
    signature = loaded.signatures["serving_default"]

    def ask(reviews: list[str], loaded: Any = loaded) -> np.ndarray:  # it keeps the variables
        return signature(text=tf.constant(reviews))["probability"].numpy()

    return ask, saved_shapes(model)


def tfx(model: Path) -> tuple[Ask, list[list[int]]]:
    """The signature of TFX's example: serialized tf.Examples of raw text, and logits."""
    loaded = tf.saved_model.load(str(model))
    signature = loaded.signatures["serving_default"]

    def ask(reviews: list[str], loaded: Any = loaded) -> np.ndarray:
        examples = [tf_example(review) for review in reviews]
        (logits,) = signature(examples=tf.constant(examples)).values()
        return tf.sigmoid(logits[:, 0]).numpy()

    return ask, saved_shapes(model)


def tf_example(review: str) -> bytes:
    """A serialized tf.Example of a review."""
    example = tf.train.Example()
    example.features.feature["text"].bytes_list.value.append(review.encode())
    return example.SerializeToString()


def keras(model: Path) -> tuple[Ask, list[list[int]]]:
    """Keras's `predict` behind tokenization in Python and `pad_sequences`, as with the script."""
    from tensorflow import keras

    network = keras.models.load_model(model / "model.keras")
    tokens = (model / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    ids = {token: place for place, token in enumerate(tokens)}

    def ask(reviews: list[str]) -> np.ndarray:
        rows = [[ids.get(token, 1) for token in tokenize(review)] or [1] for review in reviews]
        padded = keras.utils.pad_sequences(rows, 200)
        # In one batch, also where the default of 32 would make several.
        return network.predict(padded, batch_size=len(reviews), verbose=0)[:, 0]

    return ask, [list(weight.shape) for weight in network.weights]


def tokenize(review: str) -> list[str]:
    """The tokens of `components.shared.tokenizer` in plain Python, but for combining marks."""
    tokens = _ASCII_TOKEN if review.isascii() else _TOKEN
    return tokens.findall(_TAG.sub(" ", review.lower()).translate(_APOSTROPHES))


_SYMBOLS = "".join(
    c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) == "So"
)
_TAG = re.compile("<[^<>]{0,200}>")
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc", "'''")
# A range is searched faster than what is no letter in any script.
_ASCII_TOKEN = re.compile("[a-z0-9]+(?:'+[a-z0-9]+)*|[!?]")
_TOKEN = re.compile(rf"[^\W_]+(?:'+[^\W_]+)*|[!?{_SYMBOLS}]")


def saved_shapes(model: Path) -> list[list[int]]:
    """The shapes of the variables in a SavedModel."""
    return [shape for _, shape in tf.train.list_variables(str(model / "variables" / "variables"))]


KINDS: dict[str, Callable[[Path], tuple[Ask, list[list[int]]]]] = {
    "pipeline": pipeline,
    "keras": keras,
    "tfx": tfx,
}

if __name__ == "__main__":
    main()
