"""Makes the next inputs of training in a thread, while the device computes a step."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 2
"""Inputs that are made ahead."""

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made, None, None]:
    """What `make` gives for each item, in their order, `AHEAD` of the one in use.

    One thread makes them, one after the other. It has ended when the iterator is closed or used
    up. An error of `make` is raised in the place of what it would have given.
    """
    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        try:
            for item in items:
                pending.append(thread.submit(make, item))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
