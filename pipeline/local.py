"""Runs the pipeline on this machine: KFP's local runner, one process or container a task."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.shared.registry.serving_dir import remove_probes
from components.shared.uris import local_path, redacted
from pipeline.lock import claimed, note_group
from pipeline.plan import RunSpec
from pipeline.process import lines, process_group
from pipeline.runner import Containers, Request
from pipeline.stream import RUNNER, Observer, State, Task, TaskStream

_TICK = 1.0


@dataclass(kw_only=True, eq=False)
class RunFailed(Exception):
    """A task, or the runner itself, has failed."""

    task: str | None
    """Which task; None for the runner."""

    message: str | None
    """Why, where it is known."""

    input_error: bool = False
    """Whether what the user gave is the cause."""

    log: Path

    tail: list[str] = field(default_factory=list)
    """The last lines of the log."""

    seconds: dict[str, float] = field(default_factory=dict)
    """How long each task took."""


def execute(
    run_dir: Path,
    arguments: Mapping[str, Any],
    observer: Observer,
    *,
    package: Path | None = None,
    hidden: Mapping[str, str] | None = None,
    containers: Containers | None = None,
) -> list[Task]:
    """Runs a compiled pipeline to its end; tasks that an earlier attempt finished are kept.

    Args:
        run_dir: the folder, made if need be, for the compiled pipeline (`pipeline.yaml`), the
            outputs of the tasks (`tasks/<task>/`) and their logs (`logs/<task>.log`).
        arguments: the pipeline's parameters.
        observer: is told how it goes.
        package: the compiled pipeline, None for that of `pipeline.definition`.
        hidden: texts that no log may hold, and what stands in their place.
        containers: how the tasks' containers are made; None for a process a task.

    Returns:
        The tasks that ran, in their order.

    Raises:
        RunFailed: a task or the runner failed.
        InputError: another process runs it.
        OSError: the logs can't be written.
    """
    with ExitStack() as stack:
        tasks_lock = stack.enter_context(claimed(run_dir))
        request = Request(
            package=str(package or run_dir / "pipeline.yaml"),
            arguments=dict(arguments),
            run_dir=str(run_dir),
            tasks_lock=tasks_lock,
            containers=containers,
        )
        _remove_partial(run_dir)
        stream = TaskStream(run_dir / "logs", observer, hidden=hidden or {})
        stack.callback(stream.close)
        try:
            with process_group(
                ["-m", "pipeline.runner"],
                json.dumps(request),
                scratch=run_dir / ".scratch",
                inherited=tasks_lock,
            ) as process:
                note_group(tasks_lock, process.pid)
                for line in lines(process, _TICK):
                    if line is None:
                        observer.tick()
                    else:
                        stream.feed(line)
        finally:
            if containers:
                _remove_containers(containers)
            _remove_partial(run_dir)
    _raise_for_failure(stream, process.returncode)
    return list(stream.tasks.values())


def run(spec: RunSpec, observer: Observer, containers: Containers | None = None) -> list[Task]:
    """Runs the pipeline; see `execute`.

    Raises:
        RunFailed: a task or the runner failed.
        InputError: another process runs it.
        OSError: the logs can't be written.
    """
    # KFP prints the arguments of a task as JSON.
    spellings = (spec.source, json.dumps(spec.source)[1:-1])
    hidden = dict.fromkeys(spellings, redacted(spec.source))
    with ExitStack() as stack:
        if containers and (serving_dir := local_path(spec.serving_dir)):
            stack.enter_context(_present(serving_dir))
        return execute(
            spec.run_dir, spec.arguments(), observer, hidden=hidden, containers=containers
        )


def seconds_by_task(tasks: Iterable[Task]) -> dict[str, float]:
    """How long each task took, in seconds."""
    return {task.name: round(task.seconds, 3) for task in tasks}


@contextmanager
def _present(folder: Path) -> Iterator[None]:
    """Makes a folder that is to be mounted, else Docker makes it, as root; removes it if unused."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made:
            remove_probes(folder)  # of a task that was ended while it looked
        for path in made:
            with suppress(OSError):
                path.rmdir()


def _remove_containers(containers: Containers) -> None:
    # docker takes a while to import, which a run without containers needn't wait for.
    from pipeline.engine import remove_containers

    remove_containers(containers["url"], containers["run_id"])


def _remove_partial(run_dir: Path) -> None:
    """Removes what tasks that were ended had begun to write."""
    for path in list(run_dir.rglob(".*.partial")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _raise_for_failure(stream: TaskStream, status: int) -> None:
    failed = [task for task in stream.tasks.values() if task.state is not State.SUCCEEDED]
    if not failed and status == 0:
        return
    seconds = seconds_by_task(stream.tasks.values())
    if not failed:
        raise RunFailed(
            task=None,
            message=None,
            log=stream.log(RUNNER),
            tail=stream.runner_tail,
            seconds=seconds,
        )
    task = failed[0]
    raise RunFailed(
        task=task.name,
        message=task.error,
        input_error=task.input_error,
        log=task.log,
        tail=list(task.tail),
        seconds=seconds,
    )
