"""Accuracy on the test split: the presets, and what the parts of `default` are good for.

    python tests/benchmarks/accuracy.py --source aclImdb_v1.tar.gz [--rows NAME ...]
                                        [--seeds 42 43 ...] [--set KEY=VALUE ...] [--json FILE]

Each row is trained once for each seed, in a process of its own, on the same split; its epoch is
chosen by validation, and the test split is read once for each row and seed. The table gives means
and standard deviations. A row with its words shuffled has each review's words in an order of
chance, in all splits. To choose between configurations, give the archive that
`development_split.py` writes, whose test split isn't the real one.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.shared.config import PreprocessConfig, TrainConfig
from components.shared.features import (
    Examples,
    Features,
    read_examples,
    serialize_example,
    shard_name,
)
from components.shared.model_files import load_model
from components.shared.reviews import TEST
from components.train.batches import bucket_lengths, evaluation_batches
from components.train.train import train
from pipeline.config import PipelineConfig, preset
from tests.benchmarks.harness import Figures, column, machine, measure

BATCH = 256


@dataclass(frozen=True, slots=True)
class Variant:
    """A row of the table."""

    preset: str
    settings: dict[str, Any] = field(default_factory=dict)
    shuffled: bool = False
    """Whether the words of each review are shuffled."""

    def config(self, changes: list[str]) -> PipelineConfig:
        """The preset with the settings, and with changes of a command line, `KEY=VALUE`."""
        more = dict(change.split("=", 1) for change in changes)
        return preset(self.preset).override({**self.settings, **more})


ROWS = {
    "default": Variant("default"),
    "default, identity for the recurrence": Variant("default", {"cell": "identity"}),
    "default, words shuffled": Variant("default", shuffled=True),
    "default, without the linear classifier": Variant("default", {"linear_ngrams": 0}),
    "accurate": Variant("accurate"),
    "semi_supervised": Variant("semi_supervised"),
    "seed": Variant("seed"),
    "lstm": Variant("lstm"),
    "gru": Variant("gru"),
    "bidirectional": Variant("bidirectional"),
}


def main() -> int:
    """Trains and judges all rows, or one where `--folder` says so."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--source", default="bundled", help="reviews, as for `run`")
    arguments.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    arguments.add_argument("--seeds", type=int, nargs="*", default=[42, 43, 44, 45, 46])
    arguments.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="for all rows")
    arguments.add_argument("--json", type=Path, help="a file for the figures")
    # How the benchmark starts itself for one training.
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.folder:
        config = ROWS[options.rows[0]].config(options.set).train
        print(json.dumps(judge(options.folder, replace(config, seed=options.seeds[0]))))
        return 0
    with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
        compare(Path(folder), options)
    return 0


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Trains each row with each seed, and prints the table."""
    reviews = folder / "reviews"
    ingest(options.source, preset("default").ingest, reviews)
    results: dict[str, list[Figures]] = {}
    print(f"\naccuracy, on {machine()['processor']}\n")
    print(f"{'':<40} {'test':>16} {'validation':>16} {'train, s':>9}  seeds")
    for name in options.rows:
        encoded = _encode(folder, ROWS[name].config(options.set).preprocess, ROWS[name].shuffled)
        results[name] = [
            measure([sys.executable, __file__, "--folder", encoded, "--rows", name,
                     "--seeds", str(seed), "--set", *options.set])
            for seed in options.seeds
        ]  # fmt: skip
        spread = partial(_spread, results[name])
        seconds = statistics.median(column(results[name], "seconds"))
        print(
            f"{name:<40} {spread('test'):>16} {spread('validation'):>16} {seconds:>9.0f}  "
            f"{len(options.seeds)}",
            flush=True,
        )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        answer = {"benchmark": "accuracy", "machine": machine(), "rows": results}
        options.json.write_text(json.dumps(answer, indent=2) + "\n")


def judge(folder: Path, config: TrainConfig) -> Figures:
    """Trains, and gives the accuracies on validation and test and the seconds of the training."""
    examples = folder / "examples"
    with tempfile.TemporaryDirectory() as out:
        started = time.monotonic()
        model_dir, run = Path(out) / "model", Path(out) / "run"
        history = train(examples, folder / "vocabulary", config, model_dir, run, None)
        seconds = time.monotonic() - started
        model, features = load_model(model_dir)
    best = history["epochs"][history["best_epoch"] - 1]
    left = config.padding == "left"
    return {
        "seed": config.seed,
        "seconds": seconds,
        "best_epoch": history["best_epoch"],
        "validation": best["validation_accuracy"],
        "test": _accuracy(model, read_examples(examples, TEST), features.max_length, left),
    }


def _accuracy(model: Any, examples: Examples, max_length: int, left: bool) -> float:
    lengths = [max_length] if left else bucket_lengths(examples.lengths, max_length)
    infer = tf.function(model, reduce_retracing=True)
    right = 0.0
    for batch in evaluation_batches(examples, lengths, BATCH, left):
        said = infer(tf.constant(batch.token_ids)).numpy() >= 0
        right += float(batch.weights @ (said == (batch.labels == 1)))
    return right / len(examples)


def _encode(folder: Path, config: PreprocessConfig, shuffled: bool) -> Path:
    """Encodes the reviews, their words shuffled or not; each encoding is made once."""
    out = folder / f"{config.vocabulary_size}-{config.max_length}-{config.truncating}"
    if not out.exists():
        names = ("examples", "vocabulary", "statistics")
        preprocess(folder / "reviews", config, *(out / name for name in names))
    if not shuffled:
        return out
    copy = out.with_name(f"{out.name}-shuffled")
    if not copy.exists():
        _shuffle(out, copy)
    return copy


def _shuffle(encoded: Path, out: Path) -> None:
    """Copies encoded reviews with the tokens of each in an order of chance."""
    random = np.random.default_rng(0)
    features = Features.load(encoded / "examples")
    for split in features.rows:
        examples = read_examples(encoded / "examples", split)
        directory = out / "examples" / split
        directory.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(directory / shard_name(0, 1))) as writer:
            for row, label in enumerate(examples.labels):
                tokens = examples.token_ids[examples.offsets[row] : examples.offsets[row + 1]]
                mixed = random.permutation(tokens).tolist()
                writer.write(serialize_example(str(row).encode(), mixed, int(label)))
    features.save(out / "examples")
    (out / "vocabulary").symlink_to(encoded / "vocabulary")


def _spread(figures: list[Figures], name: str) -> str:
    values = column(figures, name)
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


if __name__ == "__main__":
    sys.exit(main())
