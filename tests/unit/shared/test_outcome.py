"""The outcome of a run, which its tasks note."""

import errno
from pathlib import Path

import pytest

from components.shared.errors import Failure, InputError
from components.shared.outcome import note, noting_failure, read_outcome


def test_what_the_tasks_note_adds_up(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    assert read_outcome(workspace) == {}
    note(workspace, blessed=False, metrics={"accuracy": 0.5})
    note(workspace, blessed=True)
    assert read_outcome(workspace) == {"blessed": True, "metrics": {"accuracy": 0.5}}
    assert [path.name for path in workspace.iterdir()] == ["outcome.json"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("the reviews: too few"), "the reviews: too few"),
        (Failure("another run promoted"), "another run promoted"),
        (OSError(errno.ENOSPC, "No space left", "model"), "cannot write model: the disk is full"),
        (ValueError("https://user:secret@host"), "ValueError; its log says more"),
    ],
)
def test_a_failure_is_noted_and_goes_on(tmp_path: Path, error: Exception, message: str) -> None:
    with pytest.raises(type(error)) as caught, noting_failure(tmp_path, "train"):
        raise error
    assert caught.value is error
    failure = read_outcome(tmp_path)["failure"]
    assert failure["task"] == "train" and failure["message"].startswith(message)


def test_an_attempt_that_goes_well_forgets_the_failure_before_it(tmp_path: Path) -> None:
    with pytest.raises(InputError), noting_failure(tmp_path, "train"):
        raise InputError("no")
    with noting_failure(tmp_path, "train"):
        note(tmp_path, epochs=3)
    assert read_outcome(tmp_path) == {"failure": None, "epochs": 3}


def test_a_workspace_that_cannot_be_written_to_is_named() -> None:
    with pytest.raises(
        InputError, match=r"workspace /proc/nowhere: cannot be written to .*--prepare-workspace"
    ):
        note("/proc/nowhere", blessed=True)
