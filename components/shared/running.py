"""The frame in which a component's task runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.shared.accelerators import accelerators_of
from components.shared.errors import task_boundary
from components.shared.outcome import noting_failure


@contextmanager
def running(workspace: str, task: str) -> Iterator[None]:
    """Hides GPUs from a task that doesn't train, and reports and records how it fails.

    Args:
        workspace: the folder that the tasks of the run share.
        task: the task's name.

    Raises:
        SystemExit: see `task_boundary`.
    """
    with accelerators_of(task), task_boundary(), noting_failure(workspace, task):
        yield
