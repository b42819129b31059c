"""What the benchmarks share: alternating runs in processes of their own, medians, a table, JSON.

A side of a comparison is a command that prints JSON on its last line. The sides take turns, the
first of each pair changing, so that a machine's slow spell falls on all of them.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One comparison: the pipeline's figure beside its peer's."""

    what: str
    """What is measured."""
    unit: str
    """Of both figures."""
    peer: str
    """Who the peer is."""
    ours: Sequence[float]
    """The pipeline's figure in each pair."""
    theirs: Sequence[float]
    """The peer's in each pair."""
    more_is_better: bool = False
    """Whether the greater figure is the better one, as with reviews a second."""
    target: float | None = None
    """How many times as good as the peer's the pipeline's is to be."""

    @property
    def ratio(self) -> float:
        """How many times as good the pipeline is: the median of the pairs' ratios."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return statistics.median(a / b if self.more_is_better else b / a for a, b in pairs)


def parser(description: str | None, pairs: int) -> argparse.ArgumentParser:
    """A command line with `--pairs`, `--source` and `--json`."""
    result = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    result.add_argument("--pairs", type=int, default=pairs, help="alternating runs of each side")
    result.add_argument("--source", default="bundled", help="reviews, as for `imdb-pipeline run`")
    result.add_argument("--json", type=Path, help="a file for the figures")
    return result


def alternate(sides: Mapping[str, Callable[[], Figures]], pairs: int) -> dict[str, list[Figures]]:
    """Runs the sides in turns; gives the figures of each, pair by pair."""
    figures: dict[str, list[Figures]] = {name: [] for name in sides}
    for pair in range(pairs):
        names = list(sides) if pair % 2 == 0 else list(sides)[::-1]
        for name in names:
            started = time.monotonic()
            figures[name].append(sides[name]())
            took = time.monotonic() - started
            print(f"pair {pair + 1} of {pairs}: {name}, {took:.1f} s", file=sys.stderr, flush=True)
    return figures


def measure(command: Sequence[str | Path], **environment: str) -> Figures:
    """Runs a command from the repository's root; what its last line says, and its `wall_s`.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    words = [str(word) for word in command]
    # Each run compiles what it runs: a cache would favour all but the first.
    with tempfile.TemporaryDirectory() as cache:
        given = {"TF_CPP_MIN_LOG_LEVEL": "3", "XDG_CACHE_HOME": cache, **environment}
        started = time.monotonic()
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True
        )
        wall = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return {"wall_s": wall, **json.loads(done.stdout.splitlines()[-1])}


def column(figures: Sequence[Figures], name: str) -> list[float]:
    """One figure of each run."""
    return [float(figure[name]) for figure in figures]


def report(benchmark: str, rows: Sequence[Row], path: Path | None, **more: Any) -> bool:
    """Prints a table, and writes it as JSON; whether every target was reached."""
    print(f"\n{benchmark}, on {machine()['processor']}\n")
    width = max(len(row.what) for row in rows)
    print(f"{'':<{width}} {'pipeline':>12} {'peer':>12} {'ratio':>7} {'target':>7}  peer")
    for row in rows:
        ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
        target = f"{row.target:.2f}" if row.target is not None else ""
        print(
            f"{row.what:<{width}} {_number(ours):>12} {_number(theirs):>12} {row.ratio:>7.2f} "
            f"{target:>7}  {row.peer} ({row.unit})"
        )
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = [{**asdict(row), "ratio": row.ratio} for row in rows]
        answer = {"benchmark": benchmark, "machine": machine(), "rows": values, **more}
        path.write_text(json.dumps(answer, indent=2) + "\n")
    return all(row.target is None or row.ratio >= row.target for row in rows)


def machine() -> dict[str, Any]:
    """Where the figures were taken."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": f"{cores} cores of {name}", "system": platform.platform()}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
