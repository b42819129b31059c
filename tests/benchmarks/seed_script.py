"""The `seed` preset beside the plain Keras script that it stands for, on the same examples.

    python tests/benchmarks/seed_script.py [SOURCE]

SOURCE is as for `imdb-pipeline run`. Prints the validation accuracy by epoch and the time of both;
the test split stays untouched. The script is the published one: `Sequential` of `Embedding`,
`SimpleRNN`, `Dense`, compiled with Adam and binary cross-entropy, `fit` on sequences padded and cut
on the left.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.shared.features import read_examples
from components.train.batches import pad
from components.train.train import train
from pipeline.config import preset


def main(source: str) -> None:
    """Runs both and prints a table, and then the same as JSON."""
    config = preset("seed")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        ingest(source, config.ingest, root / "reviews")
        places = [root / name for name in ("examples", "vocabulary", "statistics")]
        preprocess(root / "reviews", config.preprocess, places[0], places[1], places[2])
        script = keras_script(places[0], config.preprocess.vocabulary_size)
        started = time.monotonic()
        history = train(places[0], places[1], config.train, root / "model", root / "run", None)
        mine: dict[str, Any] = {
            "validation_accuracy": [e["validation_accuracy"] for e in history["epochs"]],
            "seconds": time.monotonic() - started,
        }
    print(f"{'epoch':>6} {'script':>8} {'preset':>8}")
    pairs = zip(script["validation_accuracy"], mine["validation_accuracy"], strict=True)
    for epoch, (first, second) in enumerate(pairs, start=1):
        print(f"{epoch:>6} {first:>8.4f} {second:>8.4f}")
    print(f"{'time':>6} {script['seconds']:>6.0f} s {mine['seconds']:>6.0f} s")
    print(json.dumps({"source": source, "script": script, "preset": mine}))


def keras_script(examples: Path, vocabulary_size: int) -> dict[str, Any]:
    """The published script on encoded examples; validation accuracy by epoch, seconds in all."""
    arrays = []
    for split in ("train", "validation"):
        rows = read_examples(examples, split)
        batch = pad(rows, np.arange(len(rows)), 200, pad_left=True)
        arrays.append((batch.token_ids, batch.labels))
    started = time.monotonic()
    keras.utils.set_random_seed(42)
    model = keras.Sequential(
        [
            keras.layers.Embedding(vocabulary_size, 128),
            keras.layers.SimpleRNN(64),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    history = model.fit(*arrays[0], batch_size=32, epochs=10, validation_data=arrays[1], verbose=2)
    return {
        "validation_accuracy": history.history["val_accuracy"],
        "seconds": time.monotonic() - started,
    }


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "bundled")
