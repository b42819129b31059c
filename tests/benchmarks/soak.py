"""A soak of the exported signature: many requests from several threads, and what became of them.

    python tests/benchmarks/soak.py OUTPUT_DIR (--saved-model DIR | --serving-dir DIR)
                                    [--requests 100000] [--threads 4]

Makes OUTPUT_DIR with `soak.json` and `soak.png`, prints a table, and exits with 1 unless every
request was answered as it should be and memory stayed. The requests are of 1 to 256 reviews:
ordinary ones, empty ones, ones of a megabyte, odd Unicode, and bytes that are no UTF-8 at all. Each
is asked many times, in every thread, and must be given bit for bit what it was given at first; and
each review in it what it is given alone, up to rounding.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from components.shared.artifacts import atomic_directory, write_json
from components.shared.registry.registry import Registry

MEGABYTE = 1_000_000
LARGEST_REQUEST = 256
CATALOGUE = 400
WARM_UP = 0.2
"""The share of the requests before memory is held to what it was."""

ROUNDING = 1e-5
"""How far a review's probability may differ in another batch, whose sums are rounded otherwise."""

_SAMPLES = 400

Ask = Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]]
"""Reviews to their probabilities, float32 `[reviews]`, and labels, int64 `[reviews]`."""

ODD = {
    "empty": b"",
    "white space": b" \t\r\n\x0b\x0c ",
    "NUL": b"a \x00 good\x00 film",
    "no UTF-8": b"\xff\xfe a \xc3 film \xed\xa0\x80 of \x80\x80",
    "cut off UTF-8": "très bon".encode()[:3] + b"\xf0\x9f",
    "right to left": "פיל אדיר! فيلم رائع \u202e a film \u202c".encode(),
    "emoji": "👍🏽👨‍👩‍👧‍👦🏳️‍🌈 a film 💔".encode() * 20,
    "combining": ("a" + "\u0301\u0327\u0335" * 200 + " film").encode(),
    "Chinese": "这部电影非常好看，我很喜欢。".encode() * 30,
    "controls": bytes(range(1, 32)) + b"\x7f\xc2\x85\xe2\x80\xa8\xef\xbb\xbf",
    "beyond the BMP": "𝕒 𝖋𝖎𝖑𝖒 𐍈 \U0010ffff".encode(),
    "markup": b"<br /><br/><BR><script>a film</script>&amp;&#0;" * 10,
    "one letter": b"a",
    "one long word": b"film" * 5_000,
    "a megabyte of words": (b"a good film " * (MEGABYTE // 12 + 1))[:MEGABYTE],
    "a megabyte of one word": b"a" * MEGABYTE,
    "a megabyte of noise": bytes(np.random.default_rng(0).integers(0, 256, MEGABYTE, np.uint8)),
}
_PROSE = (
    "the a of and film plot actor scene was is not very good bad superb dull moving tedious "
    "delightful shallow I it this that 10 out it's don't café <br /><br />"
)
_WORDS = _PROSE.encode().split()


def make_requests(count: int, seed: int = 0) -> list[list[bytes]]:
    """Draws requests; half of them are of up to four reviews, and the largest of 256.

    A megabyte stands in every fiftieth, and every other oddity in many.
    """
    draw = np.random.default_rng(seed)
    sizes = np.rint(LARGEST_REQUEST ** (draw.random(count) ** 2)).astype(int)
    sizes[: min(2, count)] = (1, LARGEST_REQUEST)[:count]
    small = [text for text in ODD.values() if len(text) < MEGABYTE]
    large = [text for text in ODD.values() if len(text) == MEGABYTE]
    requests = [[_review(draw, small) for _ in range(size)] for size in sizes]
    for number, row in enumerate(range(0, count, 50)):
        requests[row][0] = large[number % len(large)]
    for number, text in enumerate(small):
        requests[(number + 1) % count].append(text)
    return [request[-LARGEST_REQUEST:] for request in requests]


def _review(draw: np.random.Generator, odd: Sequence[bytes]) -> bytes:
    if draw.random() < 0.1:
        return odd[int(draw.integers(len(odd)))]
    words = draw.integers(len(_WORDS), size=int(draw.lognormal(4.5, 0.8)) + 1)
    return b" ".join(_WORDS[word] for word in words)


@dataclass
class Soak:
    """What became of the requests."""

    requests: int = 0
    """How many were answered, rightly or not."""

    reviews: int = 0

    failures: dict[str, int] = field(default_factory=dict)
    """What went wrong, and how often."""

    memory: list[tuple[int, float]] = field(default_factory=list)
    """Resident memory in megabytes, by the requests done."""

    # All there from the start: lists that grow would look like a leak.
    sizes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """int64 `[requests]`: the reviews of each request."""

    milliseconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """float64 `[requests]`: the time of each request."""

    seconds: float = 0.0

    def growth(self) -> float:
        """How much memory has grown since the warm-up, as a share of what it was then.

        The medians of the first and the last fifth of the samples are compared.
        """
        samples = [megabytes for _, megabytes in self.settled()]
        fifth = max(1, len(samples) // 5)
        before, after = np.median(samples[:fifth]), np.median(samples[-fifth:])
        return float(after / before - 1)

    def slope(self) -> float:
        """Megabytes by which memory grows in 10,000 requests, by least squares."""
        done, megabytes = np.array(self.settled(), float).T
        return float(np.polyfit(done, megabytes, 1)[0] * 10_000) if len(done) > 1 else 0.0

    def settled(self) -> list[tuple[int, float]]:
        """The samples after the warm-up, in order."""
        samples = sorted(self.memory)
        return [s for s in samples if s[0] >= WARM_UP * samples[-1][0]]


class _Failed(Exception):
    """An answer that isn't what it should be."""


def soak(
    ask: Ask, count: int, threads: int, *, memory: Callable[[], float] | None = None, seed: int = 0
) -> Soak:
    """Sends `count` requests from so many threads, and checks each answer.

    Args:
        ask: sends one request; it is called in all threads at once.
        count: how many requests.
        threads: how many send them.
        memory: the resident memory in megabytes; by default this process's, as Linux tells it.
        seed: draws the requests and their order.
    """
    memory = memory or resident_megabytes
    catalogue = make_requests(min(CATALOGUE, count), seed)
    order = np.random.default_rng(seed).integers(len(catalogue), size=count)
    lock = threading.Lock()
    sizes = np.array([len(catalogue[row]) for row in order], np.int64)
    result = Soak(sizes=sizes, milliseconds=np.full(count, np.nan))
    expected = [_first_answer(ask, request, result) for request in catalogue]
    _check_alone(ask, catalogue, expected, result)
    every = max(1, count // _SAMPLES)
    started = time.monotonic()

    def work(thread: int) -> None:
        for number in range(thread, count, threads):
            request, wanted = catalogue[order[number]], expected[order[number]]
            begun = time.perf_counter()
            failure = _failure(lambda: _require_same(ask(request), wanted))  # noqa: B023
            taken = (time.perf_counter() - begun) * 1000
            with lock:
                _count(result, failure)
                result.requests += 1
                result.reviews += len(request)
                result.milliseconds[number] = taken
                if result.requests % every == 0:
                    result.memory.append((result.requests, memory()))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    result.seconds = time.monotonic() - started
    return result


Answer = tuple[np.ndarray, np.ndarray]


def _first_answer(ask: Ask, request: Sequence[bytes], result: Soak) -> Answer | None:
    """What a request is given at first; None where it fails, which is counted."""
    answers: list[Answer] = []

    def first() -> None:
        probability, label = ask(request)
        if not probability.shape == label.shape == (len(request),):
            raise _Failed("not one answer for each review")
        if not np.all((probability >= 0) & (probability <= 1)):
            raise _Failed("a probability isn't from 0 to 1")
        if not np.array_equal(label, probability >= 0.5):
            raise _Failed("a label isn't that of its probability")
        answers.append((probability, label))

    _count(result, _failure(first))
    return answers[0] if answers else None


def _check_alone(
    ask: Ask, catalogue: Sequence[Sequence[bytes]], expected: Sequence[Answer | None], result: Soak
) -> None:
    """Asks for every oddity, and a review of every request, alone."""
    alone = {text: _first_answer(ask, [text], result) for text in ODD.values()}
    for request, answer in zip(catalogue, expected, strict=True):
        text = request[len(request) // 2]
        alone.setdefault(text, _first_answer(ask, [text], result))
        for text, given in zip(request, answer[0], strict=True) if answer else ():
            single = alone.get(text)
            if single is not None and abs(float(single[0][0]) - float(given)) > ROUNDING:
                _count(result, "a review is given something else in company")


def _require_same(answer: Answer, wanted: Answer | None) -> None:
    if wanted is None:
        raise _Failed("a request that failed at first")
    if not all(np.array_equal(ours, its) for ours, its in zip(answer, wanted, strict=True)):
        raise _Failed("the same request is given another answer")


def _failure(call: Callable[[], None]) -> str | None:
    """What went wrong in a call, in a line."""
    try:
        call()
    except _Failed as error:
        return str(error)
    except Exception as error:  # whatever the runtime raises is a failed request
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def _count(result: Soak, failure: str | None) -> None:
    if failure is not None:
        result.failures[failure] = result.failures.get(failure, 0) + 1


def resident_megabytes() -> float:
    """The resident memory of this process, as Linux tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise OSError("/proc/self/status tells no VmRSS")


def summarize(result: Soak, max_growth: float) -> dict[str, Any]:
    """The figures, and whether all went well."""
    sizes, times = result.sizes, result.milliseconds
    buckets = ((1, 1), (2, 16), (17, 64), (65, LARGEST_REQUEST))
    by_size = {f"{low} to {high}": times[(low <= sizes) & (sizes <= high)] for low, high in buckets}
    values = {
        name: getattr(result, name)
        for name in ("requests", "reviews", "failures", "memory", "seconds")
    }
    return {
        **values,
        "passed": not result.failures and result.growth() <= max_growth,
        "memory_growth": round(result.growth(), 4),
        "memory_slope": round(result.slope(), 3),
        "max_growth": max_growth,
        "milliseconds": {
            name: {
                "requests": len(taken),
                "median": round(float(np.median(taken)), 2),
                "p99": round(float(np.percentile(taken, 99)), 2),
            }
            for name, taken in by_size.items()
            if len(taken)
        },
    }


def table(figures: dict[str, Any]) -> Iterator[str]:
    """The figures for a reader."""
    yield (
        f"{figures['requests']:,} requests of {figures['reviews']:,} reviews in "
        f"{figures['seconds']:.0f} s"
    )
    yield f"{'reviews a request':<20} {'requests':>9} {'median ms':>10} {'99 % ms':>9}"
    for name, row in figures["milliseconds"].items():
        yield f"{name:<20} {row['requests']:>9,} {row['median']:>10.1f} {row['p99']:>9.1f}"
    first, last = figures["memory"][0][1], figures["memory"][-1][1]
    yield (
        f"memory {first:.0f} MB at first, {last:.0f} MB at last; after the warm-up "
        f"{figures['memory_growth']:+.1%}, {figures['memory_slope']:+.2f} MB in 10,000 requests"
    )
    for failure, count in figures["failures"].items():
        yield f"failed {count:,} times: {failure}"
    yield "passed" if figures["passed"] else "FAILED"


def draw(result: Soak, path: Path) -> None:
    """Draws memory over the requests."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    done, megabytes = zip(*sorted(result.memory), strict=True)
    axes.plot(done, megabytes)
    axes.axvspan(0, WARM_UP * done[-1], alpha=0.12, label="warm-up")
    axes.set(xlabel="requests", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Loads the model, soaks it, writes and prints; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output_dir", type=Path)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--saved-model", type=Path, help="the folder of a SavedModel")
    which.add_argument("--serving-dir", help="a registry, whose served version is taken")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--max-growth", type=float, default=0.05, help="of memory, as a share")
    options = parser.parse_args()
    # TensorFlow takes seconds to import, which a mistake in the arguments should not wait for.
    from components.evaluate.served import ServedModel

    with tempfile.TemporaryDirectory() as scratch:
        model = ServedModel(options.saved_model or _served(options.serving_dir, Path(scratch)))
        result = soak(model.ask, options.requests, options.threads)
    figures = {"threads": options.threads, **summarize(result, options.max_growth)}
    with atomic_directory(options.output_dir) as folder:
        write_json(folder / "soak.json", figures)
        draw(result, folder / "soak.png")
    print("\n".join(table(figures)))
    print(json.dumps({"output_dir": str(options.output_dir), "passed": figures["passed"]}))
    return 0 if figures["passed"] else 1


def _served(serving_dir: str, scratch: Path) -> Path:
    registry = Registry.open(serving_dir)
    entry = registry.served()
    if entry is None:
        sys.exit(f"{serving_dir}: holds no model yet")
    return registry.fetch(entry.version, scratch)


if __name__ == "__main__":
    sys.exit(main())
