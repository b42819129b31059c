"""Has KFP's local runner do the tasks of a loop side by side, each under a name of its own.

KFP gives all iterations of a loop the same name, and has no more than two at a time. They run in
threads, but what a task prints is indented by replacing `print`, and the log is set up anew for
each task: of two tasks at once, the lines couldn't be told apart, and some would be lost.

Here the tasks of iteration 3 are `<task>-3`, and what they print is marked: see `marked`.
"""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TextIO

INDENTATION = "    "
"""Before what a task prints; nothing of KFP's own has it while the task runs."""

_MARK = "@@"
_ITERATION = "-iteration-"
_thread = threading.local()


def iteration() -> str | None:
    """The number of the loop's iteration that this thread is at, None outside of loops."""
    number: str | None = getattr(_thread, "iteration", None)
    return number


def marked(line: str) -> tuple[str | None, str]:
    """The task in a loop that has printed a line, None for a task outside, and what it printed.

    Args:
        line: without its indentation.
    """
    if not line.startswith(_MARK):
        return None, line
    name, _, rest = line.removeprefix(_MARK).partition(" ")
    return name, rest


@contextmanager
def side_by_side() -> Iterator[None]:
    """Changes KFP's local runner in this process, standard output with it; not back again."""
    from kfp.local import executor_input_utils, logging_utils
    from kfp.local.orchestrator import enhanced_dag_orchestrator, task_spec_utils

    name_of = executor_input_utils.get_local_task_resource_name

    def enter(task_name: str, pipeline_resource_name: str) -> str:
        _, loop, number = task_name.partition(_ITERATION)
        if loop:
            _thread.iteration = number
        return pipeline_resource_name

    def named(component_name: str) -> str:
        name, number = name_of(component_name), iteration()
        _thread.name = name if number is None else f"{name}-{number}"
        return str(_thread.name)

    class Executor(enhanced_dag_orchestrator.ParallelExecutor):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.conservative_max = sys.maxsize

    task_spec_utils.get_nested_pipeline_resource_name = enter
    executor_input_utils.get_local_task_resource_name = named
    enhanced_dag_orchestrator.ParallelExecutor = Executor
    sys.stdout = _Lines(sys.stdout)
    logging_utils.indented_print = _indented
    with logging_utils.local_logger_context():
        logging_utils.local_logger_context = nullcontext
        yield


@contextmanager
def _indented() -> Iterator[None]:
    mark = "" if iteration() is None else f"{_MARK}{_thread.name} "
    _thread.prefix = f"{INDENTATION}{mark}"
    try:
        yield
    finally:
        _thread.prefix = ""


class _Lines(io.TextIOBase):
    """Passes on whole lines, each with the prefix of the thread that prints it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, _thread.rest = (getattr(_thread, "rest", "") + text).split("\n")
        prefix = getattr(_thread, "prefix", "")
        if lines:
            with self._lock:
                self._stream.write("".join(f"{prefix}{line}\n" for line in lines))
                self._stream.flush()
        return len(text)
