"""The task preprocess beside a load on all cores, and by itself: seconds, memory, bytes.

    python tests/benchmarks/preprocessing_under_load.py [--source SOURCE] [--pairs N] [--json FILE]

The load is a process for each core and one more, each in an endless loop.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.shared.artifacts import directory_sha256
from tests.benchmarks.harness import Figures, Row, alternate, column, parser, report
from tests.benchmarks.preprocessing import MAX_BYTES, preprocess, task

MIN_RATIO = 0.8
"""Of the peak memory without the load to that with it: what threads do at once depends on it."""


def main() -> int:
    """Runs the comparison; 0 where the load changes neither the memory nor a byte."""
    options = parser(__doc__, pairs=2).parse_args()
    with tempfile.TemporaryDirectory(prefix="preprocessing-") as name:
        folder = Path(name)
        reviews = folder / "reviews"
        task("ingest", "--source", options.source, "--reviews", reviews)
        sides = {
            "by itself": lambda: _preprocess(folder, reviews),
            "beside a load": lambda: _preprocess_under_load(folder, reviews),
        }
        idle, busy = alternate(sides, options.pairs).values()
    comparisons = (("seconds", "wall_s", 1.0, None), ("peak memory", "peak_bytes", 1e6, MIN_RATIO))
    rows = [
        Row(
            what=f"preprocess beside a load, {what}",
            unit="s" if target is None else "MB",
            peer="by itself",
            ours=[value / scale for value in column(busy, name)],
            theirs=[value / scale for value in column(idle, name)],
            target=target,
        )
        for what, name, scale, target in comparisons
    ]
    reached = report("Preprocessing under load", rows, options.json, runs=[*idle, *busy])
    same_bytes = all(figures["sha256"] == idle[0]["sha256"] for figures in (*idle, *busy))
    print(f"\nthe bytes are {'the same' if same_bytes else 'NOT the same'} in all runs")
    return 0 if reached and same_bytes and max(column(busy, "peak_bytes")) < MAX_BYTES else 1


def _preprocess(folder: Path, reviews: Path) -> Figures:
    figures = preprocess(folder, reviews)
    return {**figures, "sha256": directory_sha256(folder / "made")}


def _preprocess_under_load(folder: Path, reviews: Path) -> Figures:
    with _load((os.cpu_count() or 1) + 1):
        return _preprocess(folder, reviews)


@contextlib.contextmanager
def _load(processes: int) -> Iterator[None]:
    """Keeps so many cores busy."""
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        yield


if __name__ == "__main__":
    sys.exit(main())
