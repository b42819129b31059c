"""Accelerators: how many are promised, and which tasks see none."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from components.evaluate.component import evaluate
from components.export.component import export
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.shared.accelerators import (
    PROMISED_VARIABLE,
    devices_text,
    hidden_by_environment,
    promised_accelerators,
    without_accelerators,
)
from components.shared.errors import InputError


@pytest.mark.parametrize("before", [None, "0,1"])
def test_accelerators_are_hidden_for_as_long_as_the_block_lasts(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    with without_accelerators():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


class Seen(Exception):
    """Carries what a task saw."""


@pytest.mark.parametrize("component", [ingest, preprocess, export, evaluate])
def test_tasks_that_need_no_accelerator_see_none(
    component: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    def look(*arguments: Any, **options: Any) -> None:
        raise Seen(os.environ["CUDA_VISIBLE_DEVICES"])

    # The first that each of them calls.
    monkeypatch.setattr("components.shared.outcome.note", look)
    names = component.python_func.__code__.co_varnames
    given = dict.fromkeys(names[: component.python_func.__code__.co_argcount], SimpleNamespace())
    with pytest.raises(Seen, match="-1"):
        component.python_func(**{**given, "workspace": str(tmp_path)})


@pytest.mark.parametrize(
    ("configured", "variable", "promised"),
    [(0, None, 0), (2, None, 2), (0, "4", 4), (2, "4", 4), (3, "1", 3), (0, "", 0)],
)
def test_the_greater_promise_counts(configured: int, variable: str | None, promised: int) -> None:
    environment = {} if variable is None else {PROMISED_VARIABLE: variable}
    assert promised_accelerators(configured, environment) == promised


def test_a_promise_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match=f"{PROMISED_VARIABLE}=all: not a number"):
        promised_accelerators(0, {PROMISED_VARIABLE: "all"})


@pytest.mark.parametrize(
    ("visible", "promised", "hides"),
    [
        (None, 1, False),
        ("", 1, True),
        ("-1", 1, True),
        ("0", 1, False),
        ("0", 2, True),
        ("0,-1,1", 2, True),
        ("GPU-8932f937,GPU-a1b2", 2, False),
    ],
)
def test_what_the_environment_hides(visible: str | None, promised: int, hides: bool) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    expected = f"CUDA_VISIBLE_DEVICES={visible}" if hides else None
    assert hidden_by_environment(promised, environment) == expected


def test_devices_are_described() -> None:
    assert devices_text({"kind": "GPU", "count": 2, "name": "NVIDIA H200"}) == "2 GPUs: NVIDIA H200"
    assert devices_text({"kind": "CPU", "count": 1, "name": "Xeon"}) == "1 CPU: Xeon"
