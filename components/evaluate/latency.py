"""How long one review takes, asked for alone, as a server's clients do."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from components.evaluate.served import ServedModel

_REQUESTS = 100

# The first requests also pay for what TensorFlow makes ready once.
_WARM_UP = 10


def measure_latency(model: ServedModel, texts: Sequence[bytes]) -> dict[str, Any]:
    """Times requests of one review each, one after the other.

    The reviews are spread evenly over the lengths, so that short and long ones count as often as
    they occur. The median tells of the model where the slowest tell of the machine: another
    process may take its processors away for a while.

    Args:
        model: what to ask.
        texts: raw reviews, in UTF-8; at least one.

    Returns:
        `requests`, how many were timed, and `median_ms`, `p95_ms` and `max_ms`, in milliseconds.
    """
    by_length = sorted(texts, key=lambda text: (len(text), text))
    chosen = np.linspace(0, len(by_length) - 1, _REQUESTS).round().astype(int)
    for row in chosen[:: _REQUESTS // _WARM_UP]:
        model.ask([by_length[row]])
    times = [_milliseconds(model, by_length[row]) for row in chosen]
    median, p95 = np.percentile(times, (50, 95))
    figures = {"median_ms": median, "p95_ms": p95, "max_ms": max(times)}
    return {"requests": len(times), **{name: round(float(v), 3) for name, v in figures.items()}}


def _milliseconds(model: ServedModel, text: bytes) -> float:
    started = time.perf_counter()
    model.ask([text])
    return (time.perf_counter() - started) * 1000
