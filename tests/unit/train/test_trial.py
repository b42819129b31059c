"""One trial of a sweep, however it ends; that it trains is seen in integration/test_sweep.py."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from components.shared.config import TrainConfig
from components.shared.errors import Failure
from components.train import train, trial
from components.train.devices import MissingAccelerators


def try_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> dict[str, Any]:
    """A trial whose process is a script instead; its second argument names the answer."""
    process = tmp_path / "process"
    process.write_text(f"#!/bin/sh\n{script}\n")
    process.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(process))
    places = (tmp_path / name for name in ("model_run", "checkpoints"))
    return trial.try_out("examples", "vocabulary", TrainConfig().to_mapping(), *places)


def test_a_training_that_is_killed_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = try_out(tmp_path, monkeypatch, "kill -KILL $$")
    assert found == {"error": "killed by signal 9; out of memory, most likely"}
    # An output that KFP finds.
    assert (tmp_path / "model_run").is_dir()
    assert "status 3" in try_out(tmp_path, monkeypatch, "exit 3")["error"]


def test_a_full_disk_is_not_the_configurations_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model")

    monkeypatch.setattr(train, "train", full)
    answer = trial._train({"config": {}})
    assert answer == {
        "failure": "cannot write model: the disk is full: free some space and run again"
    }
    with pytest.raises(Failure, match="the disk is full"):
        try_out(tmp_path, monkeypatch, """echo '{"failure": "the disk is full"}' > "$3" """)


def test_missing_accelerators_are_not_the_configurations_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(**arguments: Any) -> None:
        raise MissingAccelerators("accelerators: 1 promised")

    monkeypatch.setattr(train, "train", missing)
    assert trial._train({"config": {}}) == {"failure": "accelerators: 1 promised"}
