"""Registries for the tests: candidates, processes that contend for them and die of it."""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from components.shared.artifacts import directory_sha256
from components.shared.registry.entries import Entry, Record
from components.shared.registry.registry import Registry, RegistryChanged

FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.listdir"}
"""Of sys.audit, what touches files."""

RECORD = Record(
    run_id="run-1",
    source="bundled",
    preset="debug",
    fingerprint="f" * 64,
    config={"train": {"cell": "gru"}},
    metrics={"accuracy": 0.9},
    reasons=[{"name": "min_accuracy", "passed": True}],
)


def record(run_id: str) -> Record:
    return replace(RECORD, run_id=run_id)


def make_saved_model(folder: Path, content: str = "a") -> Path:
    """Files named as a SavedModel's; each repeats `content`, so that a mixture shows."""
    names = ("saved_model.pb", "fingerprint.pb", "variables/variables.index", "assets/words.txt")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of {content}\n" * 3)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "empty").touch()
    return folder


def tree(serving_dir: Path) -> dict[str, str]:
    return directory_sha256(serving_dir) | {
        path.relative_to(serving_dir).as_posix(): "folder"
        for path in serving_dir.rglob("*")
        if path.is_dir()
    }


def in_children(*works: Callable[[], int]) -> list[int]:
    """Runs each function in a process of its own, all let go at once; gives their exit statuses.

    A status is what the function returns, 99 after an exception, or minus the signal's number.
    """
    gate_out, gate_in = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            status = 99
            try:
                os.close(gate_in)
                os.read(gate_out, 1)
                status = work()
            finally:
                os._exit(status)
        children.append(child)
    os.close(gate_in)
    os.close(gate_out)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def promote(registry: Registry, model: Path, run_id: str) -> Entry:
    """Promotes a candidate that was judged against the champion."""
    champion = registry.champion()
    expected = champion.version if champion else None
    return registry.promote(model, expected_champion=expected, record=record(run_id))


def contend(change: Callable[[], object]) -> int:
    """0 for a change that was made, 7 for being refused as another won."""
    try:
        change()
    except RegistryChanged:
        return 7
    return 0


def promotion(
    serving_dir: Path, model: Path, expected: int | None, run_id: str
) -> Callable[[], Entry]:
    """A promotion to be made later, as by another process."""
    return lambda: Registry.open(serving_dir).promote(
        model, expected_champion=expected, record=record(run_id)
    )


def kill_myself_at(event: str, occurrence: int = 1) -> None:
    """SIGKILLs this process just before it does `event` (of sys.audit) on a file once more."""
    count = itertools.count(1)

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if (name == event or (event == "any" and name in FILE_EVENTS)) and (
            next(count) == occurrence
        ):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def die(change: Callable[[], object], event: str = "any", occurrence: int = 1) -> int:
    """Makes a change and is killed at it, or not if it does less than that."""
    kill_myself_at(event, occurrence)
    return contend(change)
