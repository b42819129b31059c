"""Promotions, rollbacks, prunes and recoveries in any order, by rivals, and killed at any step."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from obstore.store import MemoryStore

from components.shared.artifacts import directory_sha256
from components.shared.errors import InputError
from components.shared.registry import object_storage
from components.shared.registry.entries import difference
from components.shared.registry.object_storage import ObjectStorage
from components.shared.registry.registry import Registry, RegistryChanged
from components.shared.registry.repair import Inspection
from components.shared.registry.storage import LocalStorage, Storage
from components.shared.registry.upkeep import prune, rollback
from tests.unit.shared.registry.registries import (
    die,
    in_children,
    make_saved_model,
    promote,
    record,
)

Change = Callable[[Registry], object]

CHANGES = st.one_of(
    st.tuples(st.just("promote")),
    st.tuples(st.just("rollback"), st.none() | st.integers(1, 6)),
    st.tuples(st.just("prune"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("recover")),
)


class Sequences(RuleBasedStateMachine):
    """What holds of a registry whatever happens to it; where it is, a subclass says."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.storage = self.make_storage()
        self.registry = Registry(self.storage)
        self.log: list[bytes] = []
        self.runs = itertools.count(1)

    def make_storage(self) -> Storage:
        raise NotImplementedError

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def change(self, kind: str, *arguments: Any) -> Change:
        if kind == "promote":
            run_id = f"run-{next(self.runs)}"
            model = make_saved_model(self.root / run_id, run_id)
            return lambda registry: promote(registry, model, run_id)
        if kind == "rollback":
            return partial(rollback, to=arguments[0])
        if kind == "prune":
            return partial(prune, keep=arguments[0], force=arguments[1])
        return Registry.recover

    def appended(self) -> int:
        """How many entries the log has grown by since it was last looked at."""
        now = [self.storage.read(f"log/{n:08d}.json") for n in self.registry.log.numbers()]
        grown = len(now) - len(self.log)
        assert now[: len(self.log)] == self.log, "the log lost an entry"
        self.log = now
        return grown

    @rule(drawn=CHANGES)
    def changes(self, drawn: tuple[Any, ...]) -> None:
        try:
            self.change(*drawn)(self.registry)
        except InputError:  # nothing to go back to
            assert drawn[0] == "rollback"
        assert self.appended() <= 1

    @rule(expected=st.none() | st.integers(1, 9))
    def is_judged_against_another_champion(self, expected: int | None) -> None:
        champion = self.registry.champion()
        if expected == (champion.version if champion else None):
            return
        model = make_saved_model(self.root / f"run-{next(self.runs)}")
        try:
            self.registry.promote(model, expected_champion=expected, record=record("refused"))
        except RegistryChanged:
            assert self.appended() == 0
        else:
            raise AssertionError("promoted without having been compared with the champion")

    @rule()
    def recovers(self) -> None:
        self.registry.recover()
        lineage = self.registry.lineage()
        versions = {entry.version for entry in lineage.entries}
        assert self.registry.there() == versions - lineage.pruned.keys()
        assert self.registry.served() == self.registry.champion()

    @rule()
    def is_repaired(self) -> None:
        obstacles = [left for _, left in Inspection(self.registry, in_flight=0).repair() if left]
        assert obstacles == []
        every = range(1, 99)
        assert Inspection(self.registry, thorough=every, in_flight=0).findings == []
        assert set(self.storage.folders()) <= {"log", *map(str, self.registry.there())}

    @invariant()
    def each_took_the_place_of_the_champion_before(self) -> None:
        entries = self.registry.entries()
        before = [None, *(entry.version for entry in entries)]
        assert [entry.compared_with for entry in entries] == before[:-1]
        assert self.registry.champion() == (entries[-1] if entries else None)

    @invariant()
    def what_looks_whole_is_whole(self) -> None:
        lineage = self.registry.lineage()
        for entry in lineage.entries:
            if self.storage.published(entry.version):
                into = Path(tempfile.mkdtemp(dir=self.root))
                path = self.storage.fetch(entry.version, entry.manifest, into)
                assert not difference(entry.manifest, directory_sha256(path))
                assert not self.registry.difference_by_name(entry)

    @invariant()
    def the_champion_is_there_or_can_be_published(self) -> None:
        champion = self.registry.champion()
        if champion is not None:
            assert champion.version not in self.registry.lineage().pruned
            staged = champion.staging in self.storage.staged()
            assert staged or self.storage.published(champion.version)


class LocalSequences(Sequences):
    """In a directory: each change in a process of its own, killed at any of its file operations."""

    def make_storage(self) -> Storage:
        return LocalStorage(self.root / "serving")

    @rule(drawn=CHANGES, occurrence=st.integers(1, 120))
    def is_killed(self, drawn: tuple[Any, ...], occurrence: int) -> None:
        change = partial(self.tolerant, self.change(*drawn))
        [status] = in_children(partial(die, change, occurrence=occurrence))
        assert status in (0, 7, -9)
        assert self.appended() <= 1

    @rule(first=CHANGES, second=CHANGES, occurrence=st.integers(1, 200))
    def two_at_once_and_one_is_killed(
        self, first: tuple[Any, ...], second: tuple[Any, ...], occurrence: int
    ) -> None:
        one, other = (partial(self.tolerant, self.change(*drawn)) for drawn in (first, second))
        statuses = in_children(
            partial(die, one, occurrence=10_000), partial(die, other, occurrence=occurrence)
        )
        assert statuses[0] in (0, 7) and statuses[1] in (0, 7, -9)
        assert self.appended() <= 2

    def tolerant(self, change: Change) -> None:
        try:
            change(self.registry)
        except InputError:  # nothing to go back to, or it was pruned meanwhile
            return


class Killed(BaseException):
    """The process is no more."""


class Calls:
    """Stands for the module obstore, and does something at one of the calls to it."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.left, self.action = at, action

    def __getattr__(self, name: str) -> Any:
        function = getattr(obstore, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.action()
            return function(*args, **kwargs)

        return call

    def delete(self, store: Any, paths: list[str]) -> None:
        for path in paths:  # one at a time, as a kill may come between any two
            self.__getattr__("delete")(store, [path])


@contextmanager
def interfering(at: int, action: Callable[[], None]) -> Iterator[None]:
    module = vars(object_storage)
    module["obstore"] = Calls(at, action)
    try:
        yield
    finally:
        module["obstore"] = obstore


@contextmanager
def killed_at(at: int) -> Iterator[None]:
    """Ends what calls a bucket for the `at`th time; what would clean up dies, too."""

    def die_for_good() -> None:
        vars(object_storage)["obstore"].left = 1
        raise Killed

    with suppress(Killed), interfering(at, die_for_good):
        yield


@contextmanager
def overtaken_at(at: int, storage: Storage, other: Change) -> Iterator[list[bool]]:
    """Has another process make a change before the `at`th call; tells whether it came to that."""
    happened: list[bool] = []

    def overtake() -> None:
        happened.append(True)
        with suppress(InputError):
            other(Registry(storage))

    with interfering(at, overtake):
        yield happened


class BucketSequences(Sequences):
    """In obstore's in-memory bucket: killed, or overtaken by another change, at any call to it."""

    def make_storage(self) -> Storage:
        return ObjectStorage(MemoryStore(), "s3://models")

    @rule(drawn=CHANGES, at=st.integers(1, 60))
    def is_killed(self, drawn: tuple[Any, ...], at: int) -> None:
        with killed_at(at), suppress(InputError):
            self.change(*drawn)(self.registry)
        assert self.appended() <= 1

    @rule(first=CHANGES, second=CHANGES, at=st.integers(1, 60))
    def is_overtaken(self, first: tuple[Any, ...], second: tuple[Any, ...], at: int) -> None:
        one, other = self.change(*first), self.change(*second)

        with overtaken_at(at, self.storage, other), suppress(RegistryChanged, InputError):
            one(self.registry)
        assert self.appended() <= 2


@pytest.mark.parametrize("drawn", [("promote",), ("rollback", None), ("prune", 1, True)])
def test_killed_at_any_call_to_a_bucket_it_is_whole_and_can_be_repaired(
    drawn: tuple[Any, ...],
) -> None:
    """Each call in turn; that it isn't reached any more shows that the change was made before."""
    for at in itertools.count(1):
        machine = BucketSequences()
        for _ in range(3):
            machine.change("promote")(machine.registry)
        machine.appended()
        survived = False
        with killed_at(at):
            machine.change(*drawn)(machine.registry)
            survived = True
        committed = machine.appended()
        machine.each_took_the_place_of_the_champion_before()
        machine.what_looks_whole_is_whole()
        machine.the_champion_is_there_or_can_be_published()
        machine.recovers()
        machine.is_repaired()
        machine.teardown()
        if survived:
            break
    assert committed == 1
    assert at > 20


@pytest.mark.parametrize("drawn", [("promote",), ("rollback", 1), ("prune", 1, True)])
def test_overtaken_at_any_call_to_a_bucket_it_is_refused_or_had_won(drawn: tuple[Any, ...]) -> None:
    """By a promotion, before each call in turn: of the two, one was judged against the other."""
    outcomes = set()
    for at in itertools.count(1):
        machine = BucketSequences()
        for _ in range(2):
            machine.change("promote")(machine.registry)
        one, other = machine.change(*drawn), machine.change("promote")
        refused = False
        with overtaken_at(at, machine.storage, other) as happened:
            try:
                one(machine.registry)
            except RegistryChanged:
                refused = True
        assert machine.appended() == 2 + len(happened) + (not refused)
        machine.each_took_the_place_of_the_champion_before()
        machine.what_looks_whole_is_whole()
        machine.recovers()
        machine.teardown()
        if not happened:
            break
        outcomes.add(refused)
    assert outcomes == {True, False}


TestLocal = LocalSequences.TestCase
TestLocal.settings = settings(max_examples=10, stateful_step_count=10)

TestBucket = BucketSequences.TestCase
TestBucket.settings = settings(max_examples=20, stateful_step_count=12)
