"""Training beside Keras's `fit`: the published script's model, and LSTM and GRU layers.

    python tests/benchmarks/training.py [--source SOURCE] [--pairs N] [--json FILE]

On the same encoded reviews, each side in a process of its own:

- a step of the script's model with its batch of 32, compiled and fed as each side does it;
- the same model in batches as large as those of the `default` preset, reviews a second;
- an LSTM and a GRU of the `default` preset's sizes, reviews a second: Keras's layers on reviews
  padded to the preset's length, as `fit` takes them, and the trainer on batches by length;
- the whole train task of the `default` preset, for one epoch, beside the script's ten epochs: the
  wall time of the processes, which must reach the script's best validation accuracy.

Before anything is timed both sides' models must have as many weights of the same shapes, and both
must learn: the loss of the last timed steps lies below that of the first ones.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.shared.config import PreprocessConfig, TrainConfig
from components.shared.features import Examples, Features, read_examples
from components.train.batches import Batch, bucket_lengths, epoch_plan, pad
from pipeline.config import PipelineConfig, preset
from tests.benchmarks.harness import Figures, Row, alternate, column, measure, parser, report

LONG_PAIRS = 3
"""Alternating runs of whole trainings, of which one takes minutes."""
SETTLING = 0.2
"""The share of the steps that is run once before, untimed."""


def own_batch() -> PipelineConfig:
    """The script's model, in batches of the `default` preset's size."""
    seed, size = preset("seed"), preset("default").train.batch_size
    return replace(seed, train=replace(seed.train, batch_size=size))


def layer(cell: str) -> PipelineConfig:
    """A recurrence of the `default` preset's sizes between a token table and pooling."""
    return preset("default").override(
        {
            "cell": cell,
            "bigram_vocabulary_size": 0,
            "linear_ngrams": 0,
            "skip_connection": False,
            "dropout_rate": 0.0,
            "word_dropout_rate": 0.0,
            "pooling": "mean",
        }
    )


CONFIGS: dict[str, Callable[[], PipelineConfig]] = {
    "seed": lambda: preset("seed"),
    "own_batch": own_batch,
    "lstm": partial(layer, "lstm"),
    "gru": partial(layer, "gru"),
}
STEPS = {"seed": 300, "own_batch": 150, "lstm": 60, "gru": 60}
"""Steps that are timed, of both sides."""


def main() -> int:
    """Measures both sides, or one where `--side` says so; 0 where every target was reached."""
    arguments = parser(__doc__, pairs=5)
    # How the benchmark starts itself for one side.
    arguments.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments.add_argument("--config", choices=CONFIGS, help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.folder, options.config)))
        return 0
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        return compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> int:
    """Runs both sides in turns."""
    encode(folder, options.source)
    rows = []
    for name in CONFIGS:
        # The script's own batch is what a step, and any other batch, is held against.
        peer = "seed" if name == "own_batch" else name
        sides = {"fit": _side(folder, "fit", peer), "trainer": _side(folder, "trainer", name)}
        figures = alternate(sides, options.pairs)
        check_same_work(figures["trainer"][0], figures["fit"][0])
        rows.append(_row(name, figures["trainer"], figures["fit"]))
    tasks = alternate(
        {"script": _side(folder, "script"), "task": _side(folder, "task")},
        min(options.pairs, LONG_PAIRS),
    )
    best = max(max(run["validation_accuracy"]) for run in tasks["script"])
    reached = min(max(run["validation_accuracy"]) for run in tasks["task"])
    print(f"validation accuracy: the script's best {best:.4f}, the task's {reached:.4f}")
    rows.append(
        Row(
            what="whole train task, to the script's best validation accuracy",
            unit="s",
            peer="the script's ten epochs",
            ours=column(tasks["task"], "wall_s"),
            theirs=column(tasks["script"], "wall_s"),
            target=5.0,
        )
    )
    done = report("Training", rows, options.json, tasks=tasks)
    return 0 if done and reached >= best else 1


def _side(folder: Path, side: str, config: str = "seed") -> Any:
    words: list[str | Path] = ["--side", side, "--config", config, "--folder", folder]
    return partial(measure, [sys.executable, __file__, *words])


def _row(name: str, ours: list[Figures], theirs: list[Figures]) -> Row:
    if name == "seed":
        return Row(
            what="a step of the script's model, batch 32",
            unit="ms",
            peer="the script's fit",
            ours=column(ours, "step_ms"),
            theirs=column(theirs, "step_ms"),
            target=2.0,
        )
    batch = CONFIGS[name]().train.batch_size
    what = "the script's model" if name == "own_batch" else f"bidirectional {name.upper()}"
    return Row(
        what=f"{what}, batch {batch}",
        unit="reviews/s",
        peer="the script's fit" if name == "own_batch" else "Keras's layers in fit",
        ours=column(ours, "per_second"),
        theirs=column(theirs, "per_second"),
        more_is_better=True,
        target=4.0 if name == "own_batch" else 2.5,
    )


def check_same_work(ours: Figures, theirs: Figures) -> None:
    """Ends the benchmark unless both models have the same weights, and both learn."""
    if ours["parameters"] != theirs["parameters"]:
        sys.exit(f"training: {ours['parameters']:,} weights beside {theirs['parameters']:,}")
    for side in (ours, theirs):
        if not side["losses"][1] < side["losses"][0]:
            sys.exit(f"training: a side doesn't learn: its losses go {side['losses']}")


def encode(folder: Path, source: str) -> None:
    """Ingests the source and encodes it for both of the presets."""
    from components.ingest.ingest import ingest
    from components.preprocess.preprocess import preprocess

    ingest(source, preset("default").ingest, folder / "reviews")
    for name in ("default", "seed"):
        out = folder / name
        config: PreprocessConfig = preset(name).preprocess
        preprocess(
            folder / "reviews", config, out / "examples", out / "vocabulary", out / "statistics"
        )


def fit(folder: Path, name: str) -> Figures:
    """Keras's `fit` on arrays, all of one length."""
    config = CONFIGS[name]()
    examples, length = _examples(folder, config)
    words = Features.load(_encoded(folder, config) / "examples").vocabulary_size
    model = keras_model(config, words)
    size, steps = config.train.batch_size, STEPS[name]
    rows = np.resize(np.arange(len(examples)), size * steps)
    arrays = pad(examples, rows, length, config.train.padding == "left")
    few = round(steps * SETTLING) * size
    first = model.fit(arrays.token_ids[:few], arrays.labels[:few], batch_size=size, verbose=0)
    started = time.perf_counter()
    history = model.fit(arrays.token_ids, arrays.labels, batch_size=size, verbose=0)
    seconds = time.perf_counter() - started
    losses = [run.history["loss"][-1] for run in (first, history)]
    return _figures(seconds, steps, size, losses, int(model.count_params()))


def keras_model(config: PipelineConfig, words: int) -> Any:
    """The model of a configuration in Keras's own layers, compiled as the script does it."""
    import keras

    keras.utils.set_random_seed(config.train.seed)
    train = config.train
    masked = train.padding == "right"
    cells = {
        "simple_rnn": keras.layers.SimpleRNN,
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
    }
    recurrence = cells[train.cell](train.hidden_size, return_sequences=masked)
    layers = [keras.layers.Embedding(words, train.embedding_size, mask_zero=masked), recurrence]
    if train.bidirectional:
        layers[-1] = keras.layers.Bidirectional(recurrence)
    if masked:
        layers.append(keras.layers.GlobalAveragePooling1D())
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def trainer(folder: Path, name: str) -> Figures:
    """The trainer on the batches that the train task gives it."""
    import tensorflow as tf

    from components.train.devices import make_strategy
    from components.train.train import build_model
    from components.train.trainer import Trainer

    config = CONFIGS[name]()
    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(config.train.seed)
    examples, _ = _examples(folder, config)
    strategy = make_strategy()
    with strategy.scope():
        features = Features.load(_encoded(folder, config) / "examples")
        model = build_model(config.train, features.vocabulary_size, np.zeros(0, np.int64))
    machine = Trainer(model, config.train, strategy)
    size, steps = config.train.batch_size, STEPS[name]
    plan = list(_batches(examples, config.train, steps))
    shapes = {batch.token_ids.shape: batch for batch in plan}
    for batch in shapes.values():
        machine.train_batch(batch, config.train.learning_rate)
    few = plan[: round(steps * SETTLING)]
    first = [machine.train_batch(batch, config.train.learning_rate) for batch in few]
    started = time.perf_counter()
    # Made and padded within what is timed, as the train task does it.
    results = [
        machine.train_batch(batch, config.train.learning_rate)
        for batch in _batches(examples, config.train, steps)
    ]
    losses = [float(np.mean([r[0] for r in part])) for part in (first, results)]
    seconds = time.perf_counter() - started
    return _figures(seconds, steps, size, losses, int(model.count_params()))


def _batches(examples: Examples, config: TrainConfig, steps: int) -> Iterator[Batch]:
    left = config.padding == "left"
    longest = int(examples.lengths.max())
    buckets = [longest] if left else bucket_lengths(examples.lengths, longest)
    size = config.batch_size
    plan = epoch_plan(examples.lengths, buckets, size, config.seed, epoch=1)
    return (pad(examples, rows, length, left) for length, rows in islice(cycle(plan), steps))


def script(folder: Path, name: str) -> Figures:
    """The published script, all of it."""
    from tests.benchmarks.seed_script import keras_script

    encoded = _encoded(folder, CONFIGS[name]())
    return keras_script(encoded / "examples", preset(name).preprocess.vocabulary_size)


def task(folder: Path, name: str) -> Figures:
    """The train task of the `default` preset with one epoch."""
    from components.train.train import train

    config = replace(preset("default").train, num_epochs=1)
    encoded = folder / "default"
    with tempfile.TemporaryDirectory() as out:
        history = train(
            encoded / "examples",
            encoded / "vocabulary",
            config,
            Path(out) / "model",
            Path(out) / "run",
            Path(out) / "checkpoints",
        )
    return {"validation_accuracy": [e["validation_accuracy"] for e in history["epochs"]]}


def _encoded(folder: Path, config: PipelineConfig) -> Path:
    return folder / ("seed" if config.preprocess == preset("seed").preprocess else "default")


def _examples(folder: Path, config: PipelineConfig) -> tuple[Examples, int]:
    """The train split, and the length that `fit` pads it to."""
    encoded = _encoded(folder, config)
    return read_examples(encoded / "examples", "train"), config.preprocess.max_length


def _figures(
    seconds: float, steps: int, size: int, losses: list[float], parameters: int
) -> Figures:
    return {
        "step_ms": seconds * 1000 / steps,
        "per_second": size * steps / seconds,
        "losses": losses,
        "parameters": parameters,
    }


SIDES = {"fit": fit, "trainer": trainer, "script": script, "task": task}

if __name__ == "__main__":
    sys.exit(main())
