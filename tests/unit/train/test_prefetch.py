"""Inputs that are made ahead: the same ones in the same order, and no thread left."""

import threading
from contextlib import closing

import pytest

from components.train.prefetch import AHEAD, prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "prefetch" in thread.name]


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1, 50])
def test_all_come_in_their_order(count: int) -> None:
    assert list(prefetch(str, range(count))) == [str(i) for i in range(count)]
    assert threads() == []


def test_the_next_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(AHEAD + 3)]

    def make(item: int) -> int:
        made[item].set()
        return item

    with closing(prefetch(make, range(AHEAD + 3))) as inputs:
        assert next(inputs) == 0
        assert all(event.wait(600) for event in made[: AHEAD + 1])
        # And no further one: inputs take memory.
        assert not made[AHEAD + 1].is_set()


def test_one_is_made_after_the_other() -> None:
    makers: set[int] = set()
    order: list[int] = []

    def make(item: int) -> None:
        makers.add(threading.get_ident())
        order.append(item)

    list(prefetch(make, range(100)))
    assert order == list(range(100)) and len(makers) == 1
    assert threading.get_ident() not in makers


def test_an_error_comes_in_its_place() -> None:
    def make(item: int) -> int:
        if item == 5:
            raise ValueError("no such row")
        return item

    seen = []
    with pytest.raises(ValueError, match="no such row"):
        for item in prefetch(make, range(20)):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]
    assert threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_ends_the_training_ends_the_thread(error: type[BaseException]) -> None:
    made: list[int] = []
    with pytest.raises(error), closing(prefetch(made.append, range(1000))) as inputs:
        for _ in inputs:
            raise error
    assert threads() == []
    assert len(made) <= AHEAD + 1
