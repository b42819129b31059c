"""The soak benchmark: that it sees what it is there to see, and what it asks."""

import importlib.util
import itertools
import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
Answer = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", ROOT / "tests" / "benchmarks" / "soak.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_length(texts: Sequence[bytes]) -> Answer:
    """A model that tells reviews apart by their length."""
    probability = np.array([len(text) % 101 / 100 for text in texts], np.float32)
    return probability, (probability >= 0.5).astype(np.int64)


def constant() -> float:
    return 100.0


def run(benchmark: ModuleType, ask: Callable[[Sequence[bytes]], Answer], count: int = 300):
    return benchmark.soak(ask, count, 3, memory=constant)


def test_a_model_that_answers_passes(benchmark) -> None:
    result = run(benchmark, by_length)
    figures = benchmark.summarize(result, 0.05)
    assert figures["passed"] and result.failures == {}
    assert result.requests == 300 == sum(r["requests"] for r in figures["milliseconds"].values())
    assert [done for done, _ in result.memory] == list(range(1, 301))
    assert benchmark.table(figures)


def test_it_asks_for_all_kinds_and_sizes(benchmark) -> None:
    requests = benchmark.make_requests(400)
    assert requests == benchmark.make_requests(400)
    sizes = [len(request) for request in requests]
    assert (min(sizes), max(sizes)) == (1, 256)
    assert 0.4 < np.mean(np.array(sizes) <= 4) < 0.6
    assert set(benchmark.ODD.values()) <= {text for request in requests for text in request}
    assert sum(len(text) == 1_000_000 for text in benchmark.ODD.values()) == 3
    with pytest.raises(UnicodeDecodeError):
        benchmark.ODD["no UTF-8"].decode()


def test_it_asks_from_every_thread_at_once(benchmark) -> None:
    """Nobody is answered until all three wait."""
    barrier, main = threading.Barrier(3, timeout=600), threading.current_thread()

    def ask(texts: Sequence[bytes]) -> Answer:
        if threading.current_thread() is not main:
            barrier.wait()
        return by_length(texts)

    assert run(benchmark, ask).failures == {}


def fails_on_empty(texts: Sequence[bytes]) -> Answer:
    if b"" in texts:
        raise ValueError("an empty review")
    return by_length(texts)


def gives_nan(texts: Sequence[bytes]) -> Answer:
    probability, label = by_length(texts)
    return np.where(probability == 0, np.float32("nan"), probability), label


def wrong_label(texts: Sequence[bytes]) -> Answer:
    probability, label = by_length(texts)
    return probability, 1 - label


def too_few(texts: Sequence[bytes]) -> Answer:
    probability, label = by_length(texts)
    return probability[:1], label[:1]


def heeds_its_neighbours(texts: Sequence[bytes]) -> Answer:
    probability = np.full(len(texts), len(texts) / 1000, np.float32)
    return probability, np.zeros(len(texts), np.int64)


@pytest.mark.parametrize(
    ("ask", "failure"),
    [
        (fails_on_empty, "ValueError: an empty review"),
        (gives_nan, "a probability isn't from 0 to 1"),
        (wrong_label, "a label isn't that of its probability"),
        (too_few, "not one answer for each review"),
        (heeds_its_neighbours, "a review is given something else in company"),
    ],
)
def test_a_failure_is_counted_and_named(benchmark, ask, failure) -> None:
    result = run(benchmark, ask)
    assert result.failures[failure] > 0
    assert result.requests == 300, "it goes on"
    figures = benchmark.summarize(result, 0.05)
    assert not figures["passed"]
    assert any(failure in line for line in benchmark.table(figures))


def test_an_answer_that_changes_is_seen(benchmark) -> None:
    calls = itertools.count()

    def ask(texts: Sequence[bytes]) -> Answer:
        probability, label = by_length(texts)
        return probability * np.float32(1 - 1e-6 * (next(calls) > 1000)), label

    assert set(run(benchmark, ask, 900).failures) == {"the same request is given another answer"}


def test_growing_memory_fails(benchmark) -> None:
    """A megabyte a request on top of 1,000 MB; then the same with a jump in the warm-up alone."""
    leak = itertools.count(1000)
    result = benchmark.soak(by_length, 400, 2, memory=lambda: float(next(leak)))
    assert result.growth() == pytest.approx(0.23, abs=0.01)
    assert result.slope() == pytest.approx(10_000, rel=0.01)
    assert not benchmark.summarize(result, 0.05)["passed"]
    jump = itertools.count()
    result = benchmark.soak(by_length, 400, 2, memory=lambda: 500.0 + 500 * (next(jump) > 40))
    assert benchmark.summarize(result, 0.05)["passed"]
    assert result.slope() == pytest.approx(0, abs=1e-6)


def test_it_writes_what_it_found(benchmark, models, tmp_path, monkeypatch, capsys) -> None:
    arguments = ["--saved-model", str(models["able"]), "--requests", "40", "--threads", "2"]
    # Forty requests are all warm-up.
    arguments += ["--max-growth", "10"]
    monkeypatch.setattr(sys, "argv", ["soak.py", str(tmp_path / "out"), *arguments])
    assert benchmark.main() == 0
    figures = json.loads((tmp_path / "out" / "soak.json").read_text())
    assert figures["passed"] is True and figures["failures"] == {}
    assert (figures["requests"], figures["threads"]) == (40, 2)
    assert figures["memory"][-1][1] > 50
    assert (tmp_path / "out" / "soak.png").stat().st_size > 0
    assert "40 requests of " in capsys.readouterr().out
