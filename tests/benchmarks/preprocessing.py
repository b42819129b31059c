"""Raw reviews to TFRecords, vocabulary and statistics: the pipeline beside TFX's own IMDB example.

    python tests/benchmarks/preprocessing.py [--source SOURCE] [--pairs N] [--json FILE]

Of the source's labelled reviews 50,000 are taken, salted copies among them where it has fewer. The
tasks ingest and preprocess run on them as processes, start-up included; TFX's ExampleGen,
StatisticsGen, SchemaGen and Transform in its two modes, of which the faster counts. Then the
pipeline runs on up to 400,000 reviews, with one and with two Beam workers.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.shared.artifacts import read_json
from components.shared.features import Features, read_records, read_vocabulary
from tests.benchmarks.harness import (
    ROOT,
    Figures,
    Row,
    alternate,
    column,
    measure,
    parser,
    report,
)
from tests.benchmarks.peers.labelled import (
    labelled_reviews,
    salted,
    write_archive,
    write_csv,
)
from tests.benchmarks.peers.tfx_environment import tfx_command

REVIEWS = 50_000
SIZES = (50_000, 100_000, 200_000, 400_000)
TFX_MODES = {"in_memory": "1", "multi_processing": "2"}
MAX_BYTES = 2_000_000_000
"""Of memory, for all processes of a task together, whatever the number of reviews."""
MAX_GROWTH = 1.15
"""How many times as much a review may cost among 400,000 as among the first ones."""

_WORKERS = "--direct_running_mode=multi_processing --direct_num_workers={}"
_SAMPLE_SECONDS = 0.1
# A task that takes ever more memory fails before it takes the machine down.
_MOST_BYTES = 8_000_000_000


def main() -> int:
    """Runs the comparisons; 0 where every target was reached."""
    options = parser(__doc__, pairs=3)
    options.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options.add_argument("--modes", nargs="*", choices=TFX_MODES, default=list(TFX_MODES))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="preprocessing-") as folder:
        return bench(Path(folder), chosen)


def bench(folder: Path, options: argparse.Namespace) -> int:
    """All comparisons, in a scratch folder."""
    sizes, pairs = options.sizes, options.pairs
    tfx = tfx_command()
    reviews = labelled_reviews(options.source)
    (folder / "csv").mkdir()
    write_csv(salted(reviews, REVIEWS), folder / "csv" / "imdb.csv")
    for size in {REVIEWS, *sizes}:
        write_archive(salted(reviews, size), folder / f"{size}.tar.gz")
    peers = {
        mode: lambda mode=mode, workers=workers: _tfx(tfx, folder, mode, workers)
        for mode, workers in TFX_MODES.items()
        if mode in options.modes
    }
    # Once each beforehand: Python compiles what it hasn't yet, and this is what is compared.
    ours = pipeline(folder, REVIEWS)
    theirs = _tfx(tfx, folder, "in_memory", "1", count=True)
    work = {"ours": ours["work"], "theirs": theirs["work"]}
    _require_same_work(ours["work"], theirs["work"])
    sides = {"pipeline": lambda: pipeline(folder, REVIEWS), **peers}
    figures = alternate(sides, pairs)
    best = min(peers, key=lambda mode: statistics.median(column(figures[mode], "wall_s")))
    rows = [
        Row(
            what=f"{REVIEWS:,} reviews, raw to TFRecords, vocabulary, statistics",
            unit="s",
            peer=f"TFX, {best}",
            ours=column(figures["pipeline"], "wall_s"),
            theirs=column(figures[best], "wall_s"),
            target=4,
        )
    ]
    by_size = {size: pipeline(folder, size) for size in sizes}
    rows += [_several_workers(folder, size, pairs) for size in sorted({min(sizes), max(sizes)})]
    reached = report("Preprocessing", rows, options.json, work=work, tfx=figures, sizes=by_size)
    return 0 if _show_sizes(by_size) and reached else 1


def pipeline(folder: Path, size: int) -> Figures:
    """Runs ingest and preprocess as processes; their seconds, peak memory and what they made."""
    reviews = _empty(folder / "ours") / "reviews"
    ingested = task("ingest", "--source", folder / f"{size}.tar.gz", "--reviews", reviews)
    made = preprocess(folder, reviews)
    return {
        "wall_s": ingested["wall_s"] + made["wall_s"],
        "ingest_s": ingested["wall_s"],
        "preprocess_s": made["wall_s"],
        "peak_bytes": max(ingested["peak_bytes"], made["peak_bytes"]),
        "work": _made(folder, reviews),
    }


def preprocess(folder: Path, reviews: Path, *options: str) -> Figures:
    """Runs preprocess as a process."""
    out = _empty(folder / "made")
    names = ("examples", "vocabulary", "statistics")
    places = (word for name in names for word in (f"--{name}", out / name))
    return task("preprocess", "--reviews", reviews, *places, *options)


def _several_workers(folder: Path, size: int, pairs: int) -> Row:
    """Two Beam workers beside one, both in processes of their own, on the same reviews."""
    reviews = _empty(folder / "ours") / "reviews"
    task("ingest", "--source", folder / f"{size}.tar.gz", "--reviews", reviews)
    sides = {
        f"{size:,} reviews, workers: {n}": lambda n=n: preprocess(
            folder, reviews, "--beam-args", _WORKERS.format(n)
        )
        for n in (1, 2)
    }
    one, two = alternate(sides, pairs).values()
    return Row(
        what=f"{size:,} reviews, the task preprocess with two Beam workers",
        unit="s",
        peer="with one",
        ours=column(two, "wall_s"),
        theirs=column(one, "wall_s"),
        # Of 50,000 most of the time is that of starting, which no worker shortens.
        target=1.6 if size == max(SIZES) else None,
    )


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _made(folder: Path, reviews: Path) -> dict[str, int]:
    out, summary = folder / "made", read_json(reviews / "summary.json")
    rows = Features.load(out / "examples").rows
    files = (out / "examples").rglob("*.tfrecord")
    counted = read_json(out / "statistics" / "statistics.json")["splits"]
    return {
        "reviews": sum(summary["splits"].values()) + summary["dropped_because_in_test"],
        "rows": sum(rows.values()),
        "records": sum(len(batch) for file in files for batch in read_records(file, 1024)),
        "vocabulary": len(read_vocabulary(out / "vocabulary")),
        "statistics": sum(split["rows"] for split in counted.values()),
    }


def task(name: str, *words: Any) -> Figures:
    """Runs a task as a process; its seconds, and the most memory that it and its workers took."""
    limit = ["prlimit", f"--data={_MOST_BYTES}"]
    command = [*limit, sys.executable, "-m", "pipeline", "task", name, *map(str, words)]
    peak = 0
    started = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        errors: list[bytes] = []
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()))
        reader.start()
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(_SAMPLE_SECONDS)
        wall = time.monotonic() - started
        reader.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{b''.join(errors)[-4000:].decode()}")
    return {"wall_s": wall, "peak_bytes": peak}


def _memory(pid: int) -> int:
    """The memory of a process and all below it, in bytes; what they share counts for each."""
    total = 0
    # One may just have ended: the next sample is a tenth of a second away.
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    return total


def _environment() -> dict[str, str]:
    # Both sides start from compiled modules, as everywhere but where this is forbidden.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "TF_CPP_MIN_LOG_LEVEL": "3"}


def _tfx(
    command: Sequence[str], folder: Path, mode: str, workers: str, *, count: bool = False
) -> Figures:
    """Runs TFX up to Transform."""
    work = folder / "tfx"
    shutil.rmtree(work, ignore_errors=True)
    # TFX's example looks for its data below HOME unless it is told otherwise.
    environment = {"HOME": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    figures = measure(
        [*command, "run", "--data", folder / "csv", "--work", work, "--until", "Transform",
         "--mode", mode, "--workers", workers],
        **environment,
    )  # fmt: skip
    if count:
        figures["work"] = measure([*command, "count", "--work", work], **environment)
    return figures


def _require_same_work(ours: dict[str, int], theirs: dict[str, int]) -> None:
    """Both took all the reviews in, and have a record for each, a vocabulary and statistics.

    Ours drops the train reviews whose text stands in test.
    """
    same = (
        ours["reviews"] == theirs["reviews"] == theirs["records"] == theirs["statistics"] == REVIEWS
        and ours["rows"] == ours["records"] == ours["statistics"] >= 0.99 * REVIEWS
        and min(ours["vocabulary"], theirs["vocabulary"]) >= 8_000
    )
    if not same:
        sys.exit(f"the two sides don't do the same work:\n{json.dumps([ours, theirs], indent=2)}")


def _show_sizes(by_size: dict[int, Figures]) -> bool:
    """Prints seconds and memory by number of reviews; whether both grow as they may."""
    print(f"\n{'reviews':>10} {'seconds':>9} {'ingest':>9} {'preprocess':>11} {'peak, MB':>9}")
    for size, figure in by_size.items():
        print(
            f"{size:>10,} {figure['wall_s']:>9.1f} {figure['ingest_s']:>9.1f} "
            f"{figure['preprocess_s']:>11.1f} {figure['peak_bytes'] / 1e6:>9.0f}"
        )
    pairs = list(zip(list(by_size.items()), list(by_size.items())[1:], strict=False))
    slopes = [(b["wall_s"] - a["wall_s"]) / (n - m) for (m, a), (n, b) in pairs]
    peak = max(figure["peak_bytes"] for figure in by_size.values())
    linear = not slopes or slopes[-1] <= MAX_GROWTH * slopes[0]
    print("milliseconds a review more:", ", ".join(f"{1000 * slope:.3f}" for slope in slopes))
    return linear and peak < MAX_BYTES


if __name__ == "__main__":
    sys.exit(main())
