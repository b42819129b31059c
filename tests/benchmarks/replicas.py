"""Training over 1, 2, 4 and 8 replicas: how it scales, and what the replicas do to accuracy.

    python tests/benchmarks/replicas.py [--preset default] [--batch-size N] [--steps 120]
                                        [--counts 1 2 4] [--pairs 5] [--source bundled]
                                        [--accuracy] [--json FILE]

The replicas are GPUs, as many of 1, 2, 4 and 8 as there are; on a machine without one they are
logical devices of the CPU. Each count runs in a process of its own, through the train task's own
strategy, model and trainer, once with the global batch fixed at `--batch-size` (strong scaling; the
preset's, by default), once with so many reviews a replica (weak scaling). Each shape of a batch is
seen before anything is timed, and the losses of these steps must be those of one replica, up to
rounding. Efficiency is the speed in tokens a second over that of one replica, for each replica.

The overhead of N replicas is the time of a step over that of one replica with the same global
batch, less 1. On a CPU it is all that there is to see: replicas bring no cores, and one replica's
matrix products may use them all already.

With `--accuracy` each count trains the preset to its end instead, once with the global batch fixed,
once with the preset's batch for each replica, and the table has the accuracy on validation.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.shared.config import TrainConfig
from components.shared.features import Examples
from components.shared.tokenizer import PAD_ID
from components.train.batches import Batch, bucket_lengths, epoch_plan, pad
from pipeline.config import PRESETS, preset
from tests.benchmarks.harness import Figures, alternate, column, machine, measure, parser

COUNTS = (1, 2, 4, 8)
MAX_OVERHEAD = 0.15
"""Of two replicas."""
TOLERANCE = 1e-4
"""Of the losses of the first steps: float32 sums in another order move apart from step to step."""

Side = tuple[int, int]
"""Replicas and the global batch."""


def main() -> int:
    """Measures all counts, or one where `--replicas` says so; the exit status."""
    arguments = parser(__doc__, pairs=5)
    arguments.add_argument("--preset", choices=PRESETS, default="default")
    arguments.add_argument("--batch-size", type=int, help="reviews; a multiple of all counts")
    arguments.add_argument("--steps", type=int, default=120, help="timed steps of each run")
    arguments.add_argument(
        "--counts", type=int, nargs="*", choices=COUNTS, default=(1, 2, 4), help="beside one"
    )
    arguments.add_argument("--accuracy", action="store_true", help="trains to the end")
    # How the benchmark starts itself for one side.
    arguments.add_argument("--replicas", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--examples", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    config = preset(options.preset)
    options.batch_size = options.batch_size or config.train.batch_size
    options.counts = sorted({1, *options.counts})
    if options.batch_size % max(options.counts):
        sys.exit(f"--batch-size={options.batch_size}: not a multiple of {max(options.counts)}")
    if options.replicas:
        use_replicas(options.replicas)
        side = train_to_the_end if options.accuracy else run
        print(json.dumps(side(options, config.train)))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        options.examples = encode(options.source, options.preset, Path(directory))
        return compare(options)


def encode(source: str, name: str, root: Path) -> Path:
    """Ingests and preprocesses the source as a preset has it; the folder of the examples."""
    from components.ingest.ingest import ingest
    from components.preprocess.preprocess import preprocess

    config = preset(name)
    ingest(source, config.ingest, root / "reviews")
    outputs = [root / part for part in ("examples", "vocabulary", "statistics")]
    preprocess(root / "reviews", config.preprocess, outputs[0], outputs[1], outputs[2])
    return outputs[0]


def compare(options: argparse.Namespace) -> int:
    """Runs every count with both batches in turns, and prints; the exit status."""
    gpus = count_gpus()
    counts = [count for count in options.counts if count <= (gpus or max(COUNTS))]
    sides: dict[Side, list[str | Path]] = {
        (count, batch): [
            *(sys.executable, __file__, "--preset", options.preset, "--counts", "1"),
            *("--examples", options.examples, "--steps", str(options.steps)),
            *("--replicas", str(count), "--batch-size", str(batch)),
            *(["--accuracy"] if options.accuracy else []),
        ]
        for count in counts
        for batch in sorted({options.batch_size, options.batch_size * count})
    }
    names = {f"{count} replicas, batch {batch}": (count, batch) for count, batch in sides}
    figures = alternate(
        {name: partial(measure, sides[side]) for name, side in names.items()},
        1 if options.accuracy else options.pairs,
    )
    rows = {names[name]: runs for name, runs in figures.items()}
    kind = "GPUs" if gpus else "logical devices of the CPU"
    print(f"\nreplicas ({kind}), preset {options.preset}, on {machine()['processor']}\n")
    if options.accuracy:
        return report_accuracy(options, rows, kind)
    for count in counts[1:]:
        check_same_losses(rows[1, options.batch_size], rows[count, options.batch_size])
    return report(options, rows, kind)


def check_same_losses(one: list[Figures], several: list[Figures]) -> None:
    """Ends the benchmark unless the replicas have learned what one learned."""
    first, second = one[0]["losses"], several[0]["losses"]
    apart = max(abs(a - b) for a, b in zip(first, second, strict=True))
    if not apart <= TOLERANCE:
        sys.exit(f"replicas: the losses of the first steps lie up to {apart:.2g} apart")


def report(options: argparse.Namespace, rows: dict[Side, list[Figures]], kind: str) -> int:
    """Prints the table and writes the JSON; whether the overhead is within its limit, as status."""
    print(
        f"{'scaling':>8} {'replicas':>8} {'batch':>6} {'steps/s':>8} {'reviews/s':>10} "
        f"{'tokens/s':>11} {'efficiency':>10} {'time of a step':>15}"
    )
    table: list[Figures] = []
    one = rows[1, options.batch_size]
    base, speed = column(one, "step_ms"), column(one, "tokens_per_second")
    for (count, batch), runs in rows.items():
        step, tokens = column(runs, "step_ms"), column(runs, "tokens_per_second")
        relative = statistics.median(b / a for a, b in zip(base, step, strict=True))
        efficiency = statistics.median(b / a for a, b in zip(speed, tokens, strict=True)) / count
        scaling = "strong" if batch == options.batch_size else "weak"
        middle = statistics.median(step)
        print(
            f"{scaling:>8} {count:>8} {batch:>6} {1000 / middle:>8.1f} "
            f"{batch * 1000 / middle:>10,.0f} {statistics.median(tokens):>11,.0f} "
            f"{efficiency:>10.2f} {relative:>14.2f}x"
        )
        table.append(
            {"scaling": scaling, "replicas": count, "batch": batch, "step_ms": step,
             "tokens_per_second": tokens, "efficiency": efficiency, "relative": relative}
        )  # fmt: skip
    write_json(options, kind, table)
    strong = {row["replicas"]: row["relative"] - 1 for row in table if row["scaling"] == "strong"}
    overhead = strong.get(2, 0.0)
    if 2 in strong:
        print(f"\noverhead of 2 replicas: {overhead:+.1%}, to be under {MAX_OVERHEAD:.0%}")
    return 0 if overhead <= MAX_OVERHEAD else 1


def report_accuracy(options: argparse.Namespace, rows: dict[Side, list[Figures]], kind: str) -> int:
    """Prints the table and writes the JSON."""
    print(f"{'replicas':>8} {'batch':>6} {'validation accuracy':>20} {'loss':>8} {'train, s':>9}")
    table = [
        {"replicas": count, "batch": batch, **runs[0]} for (count, batch), runs in rows.items()
    ]
    for row in table:
        print(
            f"{row['replicas']:>8} {row['batch']:>6} {row['accuracy']:>20.4f} {row['loss']:>8.4f} "
            f"{row['seconds']:>9.0f}"
        )
    write_json(options, kind, table)
    return 0


def write_json(options: argparse.Namespace, kind: str, table: list[Figures]) -> None:
    """Writes the rows, where a file for them is given."""
    if options.json:
        answer = {"benchmark": "replicas", "preset": options.preset, "devices": kind}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**answer, "machine": machine(), "rows": table}, indent=2)
        options.json.write_text(text + "\n")


def count_gpus() -> int:
    """The GPUs that TensorFlow sees."""
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def use_replicas(count: int) -> None:
    """Shows TensorFlow so many GPUs, or on a machine without one so many logical CPUs."""
    import tensorflow as tf

    if gpus := tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices(gpus[:count], "GPU")
    else:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)


def train_to_the_end(options: argparse.Namespace, config: TrainConfig) -> Figures:
    """Trains as the train task does; `accuracy` and `loss` on validation, and `seconds`."""
    from components.train.train import train

    config = replace(config, batch_size=options.batch_size)
    vocabulary = options.examples.with_name("vocabulary")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        model, model_run = Path(directory) / "model", Path(directory) / "model_run"
        history = train(options.examples, vocabulary, config, model, model_run, None)
    best = history["epochs"][history["best_epoch"] - 1]
    return {
        "accuracy": best["validation_accuracy"],
        "loss": best["validation_loss"],
        "seconds": time.monotonic() - started,
    }


def run(options: argparse.Namespace, config: TrainConfig) -> Figures:
    """Trains for some steps; `step_ms`, `tokens_per_second`, the `losses` of the first steps."""
    import tensorflow as tf

    from components.shared.features import Features, read_examples
    from components.train.devices import make_strategy
    from components.train.ngrams import commonest_ngrams
    from components.train.train import build_model
    from components.train.trainer import Trainer

    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(config.seed)
    features, examples = Features.load(options.examples), read_examples(options.examples, "train")
    words = features.vocabulary_size
    keys = commonest_ngrams(examples, words, (2,), config.bigram_vocabulary_size)
    strategy = make_strategy()
    with strategy.scope():
        model = build_model(config, words, keys)
    trainer = Trainer(model, config, strategy)
    shapes, timed = make_batches(examples, features.max_length, config, options)
    results = [trainer.train_batch(batch, config.learning_rate) for batch in shapes]
    losses = [float(result[0]) for result in results]
    tokens = sum(int(np.sum(batch.token_ids != PAD_ID)) for batch in timed)
    started = time.perf_counter()
    for batch in timed:
        last = trainer.train_batch(batch, config.learning_rate)
    last.numpy()
    seconds = time.perf_counter() - started
    return {
        "step_ms": seconds * 1000 / len(timed),
        "tokens_per_second": tokens / seconds,
        "losses": losses,
    }


def make_batches(
    examples: Examples, max_length: int, config: TrainConfig, options: argparse.Namespace
) -> tuple[list[Batch], list[Batch]]:
    """A batch of each shape, twice, and those to time: the first of an epoch's."""
    left = config.padding == "left"
    buckets = [max_length] if left else bucket_lengths(examples.lengths, max_length)
    plan = epoch_plan(examples.lengths, buckets, options.batch_size, config.seed, epoch=1)
    firsts = {length: rows for length, rows in plan[::-1]}
    shapes = [pad(examples, rows, length, left) for length, rows in firsts.items()]
    timed = islice(cycle(plan), options.steps)
    return shapes * 2, [pad(examples, rows, length, left) for length, rows in timed]


if __name__ == "__main__":
    sys.exit(main())
