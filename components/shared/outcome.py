"""What a run has come to, noted by its tasks for the one that tells of it when they have ended.

KFP gives no output of the other tasks to an exit task, and not every version of it says truly how
they ended: so they note it in a file of the run's workspace.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components.shared.artifacts import read_json, write_json
from components.shared.errors import Failure, InputError, storage_message

OUTCOME_FILE = "outcome.json"


def note(workspace: str | Path, **values: Any) -> None:
    """Adds JSON values to the outcome of a run.

    Args:
        workspace: the folder that all tasks of the run share; made if need be.
        values: take the place of those noted under the same name.

    Raises:
        InputError: the workspace can't be written to.
    """
    path = Path(workspace) / OUTCOME_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**read_outcome(workspace), **values})
    except OSError as error:
        raise InputError(
            f"workspace {workspace}: cannot be written to ({error.strerror}); a volume's mode or "
            "group must let the tasks' user write: compile the pipeline with --prepare-workspace, "
            "or choose another --workspace-storage-class"
        ) from error


def read_outcome(workspace: str | Path) -> dict[str, Any]:
    """What was noted so far.

    Raises:
        InputError: the file holds no JSON.
    """
    path = Path(workspace) / OUTCOME_FILE
    values: dict[str, Any] = read_json(path) if path.exists() else {}
    return values


@contextmanager
def noting_failure(workspace: str | Path, task: str) -> Iterator[None]:
    """Notes why a task fails as `failure`, `task` and `message`; forgets what failed before it.

    Raises:
        InputError: the workspace can't be written to.
    """
    note(workspace, failure=None)
    try:
        yield
    except Exception as error:
        with suppress(InputError):
            note(workspace, failure={"task": task, "message": _message(error)})
        raise


def _message(error: Exception) -> str:
    if isinstance(error, InputError | Failure):
        return str(error)
    # What a library says may hold what is nobody else's business.
    return storage_message(error) or f"{type(error).__name__}; its log says more"
