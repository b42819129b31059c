"""Serving: reviews a second and latency, from raw text to probabilities, beside two peers.

    python tests/benchmarks/serving.py [--pairs 5] [--source bundled] [--json FILE]

The peers are Keras's `predict` behind the published script's preprocessing, against the signature
of the `seed` preset's SavedModel, which is the same model; and the signature that TFX's IMDB
example exports, in the TensorFlow of TFX's own environment, against that of a SavedModel with a
BiLSTM, embeddings, vocabulary and length of its sizes. The `default` preset's signature stands by
itself. All are asked for the same 2,048 reviews of the test split in the same order, in requests of
1, 32 and 256, one request after the other, in processes of their own (see `peers/serve.py`).

Speed doesn't depend on the weights: the pipeline's models aren't trained, and TFX's is for a few
steps. Before anything is timed, Keras's model gets the weights of the pipeline's and must give the
same probabilities, and TFX's must have variables of the shapes of the pipeline's.
"""

import json
import shutil
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import tensorflow as tf

from components.export.export import export
from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.shared.features import VOCABULARY_FILE, Features, read_examples
from components.shared.model_files import save_model
from components.shared.reviews import TEST, parse_review, split_shards
from components.train.linear import fit_linear
from components.train.ngrams import commonest_ngrams
from components.train.train import build_model
from pipeline.config import PipelineConfig, preset
from tests.benchmarks.harness import Figures, Row, alternate, measure, parser, report
from tests.benchmarks.peers.labelled import labelled_reviews, write_csv
from tests.benchmarks.peers.tfx_environment import tfx_command

SERVE = Path(__file__).resolve().parent / "peers" / "serve.py"
REVIEWS = 2048
SIZES = ("1", "32", "256")
TFX_REVIEWS = 5_000
"""As many fill its vocabulary of 8,000 words."""
TOLERANCE = 1e-5

AS_TFX = {
    "vocabulary_size": 8_002,
    "max_length": 400,
    "truncating": "post",
    "cell": "lstm",
    "bidirectional": True,
    "embedding_size": 64,
    "hidden_size": 64,
    "pooling": "last",
    "bigram_vocabulary_size": 0,
    "linear_ngrams": 0,
    "skip_connection": False,
}
"""The sizes of TFX's example, which reads the first 400 tokens and takes the final states."""


def main() -> int:
    """Makes the models, checks them, measures and prints; the exit status."""
    options = parser(__doc__, pairs=5).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        commands = make_sides(options.source, root)
        checked = {name: measure([*command, "--check"]) for name, command in commands.items()}
        check_same_answers(checked["seed"], checked["Keras predict"])
        check_same_sizes(checked["as TFX"], checked["TFX"])
        sides = {name: partial(measure, command) for name, command in commands.items()}
        rows: list[Row] = []
        for ours, theirs in (("seed", "Keras predict"), ("as TFX", "TFX")):
            figures = alternate({name: sides[name] for name in (ours, theirs)}, options.pairs)
            rows += compare(ours, theirs, figures)
        alone = alternate({"default": sides["default"]}, options.pairs)["default"]
    own = {what: statistics.median(figure(run) for run in alone) for what, _, figure in FIGURES}
    reached = report("serving", rows, options.json, default=own)
    print("\nthe preset `default` by itself")
    for what, unit, _ in FIGURES:
        print(f"{what:<32} {own[what]:>12,.4g}  ({unit})")
    return 0 if reached else 1


def make_sides(source: str, root: Path) -> dict[str, list[str | Path]]:
    """The command of each side, by its name; the models are made below `root`."""
    reviews = root / "reviews"
    ingest(source, preset("default").ingest, reviews)
    asked = root / "asked.json"
    asked.write_text(json.dumps(some_reviews(reviews)))
    default = preset("default")
    configs = {"seed": preset("seed"), "as TFX": default.override(AS_TFX), "default": default}
    python: list[str | Path] = [sys.executable, SERVE]
    commands: dict[str, list[str | Path]] = {}
    for name, config in configs.items():
        model = make_model(reviews, config, root / name)
        commands[name] = [*python, "pipeline", root / name / "saved_model", asked]
        if name == "seed":
            make_keras_model(model, root / name / "vocabulary", root / "keras")
    commands["Keras predict"] = [*python, "keras", root / "keras", asked]
    tfx_python, tfx_model = make_tfx_model(source, root / "tfx")
    commands["TFX"] = [tfx_python, SERVE, "tfx", tfx_model, asked]
    return commands


def some_reviews(reviews: Path) -> list[str]:
    """`REVIEWS` of the test split, drawn in an order of chance."""
    texts: list[str] = []
    for shard in split_shards(reviews, TEST):
        for records in tf.data.TFRecordDataset(str(shard)).batch(1024):
            found = parse_review(records)["text"].numpy()
            texts += [text.decode("utf-8", "replace") for text in found]
    if len(texts) < REVIEWS:
        sys.exit(f"serving: the source has {len(texts):,} test reviews, fewer than {REVIEWS:,}")
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:REVIEWS]]


def make_model(reviews: Path, config: PipelineConfig, folder: Path) -> keras.Model:
    """Makes the SavedModel of a configuration, untrained, in `folder`; the model in it."""
    folder.mkdir()
    examples, vocabulary = folder / "examples", folder / "vocabulary"
    preprocess(reviews, config.preprocess, examples, vocabulary, folder / "statistics")
    features = Features.load(examples)
    train, words = read_examples(examples, "train"), features.vocabulary_size
    keys = commonest_ngrams(train, words, (2,), config.train.bigram_vocabulary_size)
    order = config.train.linear_ngrams
    linear = fit_linear(train, words, order) if order else None
    model = build_model(config.train, words, keys, linear)
    (folder / "model").mkdir()
    save_model(model, features, config.train.to_mapping(), folder / "model")
    export(folder / "model", vocabulary, folder / "saved_model")
    return model


def make_keras_model(model: keras.Model, vocabulary: Path, folder: Path) -> None:
    """Writes the published script's model with the weights of the `seed` preset's."""
    folder.mkdir()
    table, *rest = [np.asarray(weight.value) for weight in model.weights]
    script = keras.Sequential(
        [
            keras.layers.Embedding(*table.shape),
            keras.layers.SimpleRNN(64),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    script.build((None, 200))
    values = zip([table, *rest], script.weights, strict=True)
    script.set_weights([value.reshape(weight.shape) for value, weight in values])
    script.save(folder / "model.keras")
    shutil.copy(vocabulary / VOCABULARY_FILE, folder)


def make_tfx_model(source: str, work: Path) -> tuple[str, Path]:
    """Drives TFX's example to its exported model; the Python of its environment, and the model."""
    command = tfx_command()
    data = work.with_name("tfx-data")
    data.mkdir()
    reviews = labelled_reviews(source)
    write_csv(reviews[:: max(1, len(reviews) // TFX_REVIEWS)], data / "imdb.csv")
    few_steps = ("--train-steps", "5", "--eval-steps", "1")
    measure([*command, "run", "--data", data, "--work", work, "--until", "Trainer", *few_steps])
    (model,) = work.glob("root/Trainer/model/*/Format-Serving")
    return command[0], model


def check_same_answers(ours: Figures, theirs: Figures) -> None:
    """Ends the benchmark unless both sides give the same probabilities."""
    first, second = (np.array(side["probabilities"]) for side in (ours, theirs))
    difference, spread = np.abs(first - second).max(), first.std()
    if not difference <= TOLERANCE < spread / 100:
        sys.exit(
            f"serving: the probabilities differ by up to {difference:.2g}, among reviews that "
            f"differ by {spread:.2g}; they may by {TOLERANCE:g}"
        )


def check_same_sizes(ours: Figures, theirs: Figures) -> None:
    """Ends the benchmark unless TFX's model has embeddings and recurrences of the same shapes."""
    # Without biases, shaped otherwise, and the logit's kernel: TFX's has a layer of 64 before it.
    kernels = [shape for shape in ours["variables"] if len(shape) == 2 and min(shape) > 1]
    missing = [shape for shape in kernels if shape not in theirs["variables"]]
    answers = [len(side["probabilities"]) for side in (ours, theirs)]
    if len(kernels) != 5 or missing or answers != [REVIEWS, REVIEWS]:
        sys.exit(
            f"serving: of the shapes {kernels} TFX's model lacks {missing}; "
            f"{answers[0]} and {answers[1]} of {REVIEWS} reviews were answered"
        )


FIGURES = [
    *(
        (f"requests of {size}", "reviews/s", lambda run, size=size: run["per_second"][size])
        for size in SIZES
    ),
    ("one review, median", "ms", lambda run: run["median_ms"]),
    ("one review, 99th percentile", "ms", lambda run: run["p99_ms"]),
]
"""What is measured, its unit, and the figure of a run."""


def compare(ours: str, theirs: str, figures: dict[str, list[Figures]]) -> list[Row]:
    """The rows of a pair of sides."""
    return [
        Row(
            what=f"{ours}: {what}",
            unit=unit,
            peer=theirs,
            ours=[figure(run) for run in figures[ours]],
            theirs=[figure(run) for run in figures[theirs]],
            more_is_better=unit == "reviews/s",
            target=1.0,
        )
        for what, unit, figure in FIGURES
    ]


if __name__ == "__main__":
    sys.exit(main())
