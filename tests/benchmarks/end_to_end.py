"""The whole run, from raw reviews to a pushed model: the pipeline beside TFX's own IMDB example.

    python tests/benchmarks/end_to_end.py [--source SOURCE] [--pairs N] [--json FILE]

Both take 50,000 labelled reviews, train a BiLSTM of 64 over embeddings of 64 (8,000 words, 400
tokens) on the same number of samples in batches of 64, judge it by a tenth of the reviews, as the
example does, and push it; TFX in its two modes, of which the faster counts. A run of the pipeline
is then shown task by task: what of it is work, and what is overhead, which is all else, the imports
within the work and those of its processes too.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.ingest.spool import RawReview
from components.shared.features import Features
from components.shared.reviews import TEST, TRAIN
from tests.benchmarks.harness import Figures, Row, alternate, column, measure, parser, report
from tests.benchmarks.peers.labelled import labelled_reviews, salted, write_archive, write_csv
from tests.benchmarks.peers.tfx_environment import tfx_command

REVIEWS = 50_000
BATCH = 64
TFX_MODES = {"in_memory": "1", "multi_processing": "2"}
MAX_OVERHEAD = 0.2
"""The share of the pipeline's wall time that may be overhead."""

# The example's model; and what it asks of a model before it pushes it, which is next to nothing.
SETTINGS = {
    "vocabulary_size": 8000,
    "max_length": 400,
    "truncating": "post",
    "cell": "lstm",
    "bidirectional": "true",
    "embedding_size": 64,
    "hidden_size": 64,
    "pooling": "last",
    "bigram_vocabulary_size": 0,
    "linear_ngrams": 0,
    "skip_connection": "false",
    "dropout_rate": 0,
    "word_dropout_rate": 0,
    "batch_size": BATCH,
    "num_epochs": 1,
    "min_accuracy": 0.01,
    "min_slice_accuracy": "none",
    "max_calibration_error": "none",
    "max_latency_ms": "none",
}
_CLOCK = Path(__file__).with_name("clock")


def main() -> int:
    """Runs the comparison; 0 where every target was reached."""
    arguments = parser(__doc__, pairs=3)
    arguments.add_argument("--modes", nargs="*", choices=TFX_MODES, default=list(TFX_MODES))
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="end-to-end-") as folder:
        return bench(Path(folder), options)


def bench(folder: Path, options: argparse.Namespace) -> int:
    """The comparison, in a scratch folder."""
    tfx = tfx_command()
    reviews = _split_in_ten(salted(labelled_reviews(options.source), REVIEWS))
    (folder / "csv").mkdir()
    write_csv(reviews, folder / "csv" / "imdb.csv")
    write_archive(reviews, folder / "reviews.tar.gz")
    # Once beforehand: Python compiles what it hasn't yet, and TFX is to train on as many samples.
    rows = pipeline(folder)["rows"]
    steps, eval_steps = (-(-rows[split] // BATCH) for split in ("train", "validation"))
    peers = {
        mode: lambda mode=mode, workers=workers: _tfx(tfx, folder, mode, workers, steps, eval_steps)
        for mode, workers in TFX_MODES.items()
        if mode in options.modes
    }
    figures = alternate({"pipeline": lambda: pipeline(folder), **peers}, options.pairs)
    best = min(peers, key=lambda mode: statistics.median(column(figures[mode], "wall_s")))
    overheads = [run["overhead_s"] / run["wall_s"] for run in figures["pipeline"]]
    row = Row(
        what=f"{REVIEWS:,} reviews, {rows['train']:,} samples trained on, raw to pushed",
        unit="s",
        peer=f"TFX, {best}",
        ours=column(figures["pipeline"], "wall_s"),
        theirs=column(figures[best], "wall_s"),
        target=2,
    )
    reached = report("End to end", [row], options.json, figures=figures, overhead=overheads)
    _show(figures["pipeline"][-1])
    return 0 if reached and statistics.median(overheads) <= MAX_OVERHEAD else 1


def _split_in_ten(reviews: list[RawReview]) -> list[RawReview]:
    """The reviews with every tenth in test, which is what the example keeps to judge by."""
    return [it._replace(split=TRAIN if i % 10 else TEST) for i, it in enumerate(reviews)]


def pipeline(folder: Path) -> Figures:
    """Runs the pipeline; its seconds, those of each task, and what of them is work."""
    root, clock = folder / "ours", folder / "clock"
    for path in (root, clock):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    found = [_CLOCK, *filter(None, [os.environ.get("PYTHONPATH")])]
    run = measure(
        [sys.executable, "-m", "pipeline", "run", "--source", folder / "reviews.tar.gz",
         "--serving-dir", root / "serving", "--pipeline-root", root / "runs", "--json", *settings],
        BENCHMARK_CLOCK=str(clock),
        PYTHONPATH=os.pathsep.join(map(str, found)),
        PYTHONDONTWRITEBYTECODE="",
    )  # fmt: skip
    if not (root / "serving" / "1").is_dir():
        sys.exit(f"the pipeline pushed no model: {json.dumps(run)}")
    (examples,) = root.glob("runs/*/tasks/preprocess/examples")
    run["seconds"].pop("total")
    tasks = _tasks(clock, run["seconds"])
    work = sum(task["work_s"] for task in tasks.values())
    return {
        "wall_s": run["wall_s"],
        "rows": Features.load(examples).rows,
        "tasks": tasks,
        "overhead_s": run["wall_s"] - work,
    }


def _tasks(clock: Path, seconds: dict[str, float]) -> dict[str, Figures]:
    """What each task took, and what of it was work, by the notes that the processes left."""
    notes = [json.loads(path.read_text()) for path in clock.iterdir()]
    worked = sorted((note for note in notes if "work_s" in note), key=lambda it: it["started"])
    others = [note for note in notes if "work_s" not in note]
    result = {}
    for name, note in zip(seconds, worked, strict=True):
        within = [
            other["imports_s"]
            for other in others
            if note["work_started"] <= other["started"] and other["ended"] <= note["work_ended"]
        ]
        work = note["work_s"] - sum(within)
        result[name] = {"wall_s": seconds[name], "work_s": work, "imports_s": note["imports_s"]}
    return result


def _show(run: Figures) -> None:
    """Prints the work and the overhead of a run's tasks."""
    print(f"\n{'task':<12} {'seconds':>8} {'work':>8} {'imports':>8} {'other':>8}")
    for name, task in run["tasks"].items():
        other = task["wall_s"] - task["work_s"] - task["imports_s"]
        print(
            f"{name:<12} {task['wall_s']:>8.2f} {task['work_s']:>8.2f} "
            f"{task['imports_s']:>8.2f} {other:>8.2f}"
        )
    between = run["wall_s"] - sum(task["wall_s"] for task in run["tasks"].values())
    print(f"{'around them':<12} {between:>8.2f}")
    print(f"overhead: {run['overhead_s'] / run['wall_s']:.1%} of {run['wall_s']:.1f} s")


def _tfx(
    command: Sequence[str], folder: Path, mode: str, workers: str, steps: int, eval_steps: int
) -> Figures:
    """Runs TFX's example to its end."""
    work = folder / "tfx"
    shutil.rmtree(work, ignore_errors=True)
    figures = measure(
        [*command, "run", "--data", folder / "csv", "--work", work,
         "--mode", mode, "--workers", workers,
         "--train-steps", str(steps), "--train-batch", str(BATCH),
         "--eval-steps", str(eval_steps), "--eval-batch", str(BATCH)],
        HOME=str(folder),
        PYTHONDONTWRITEBYTECODE="",
    )  # fmt: skip
    if not any((work / "serving").glob("**/saved_model.pb")):
        sys.exit(f"TFX pushed no model: {json.dumps(figures)}")
    return figures


if __name__ == "__main__":
    sys.exit(main())
