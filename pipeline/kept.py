"""What a run has finished already: noted task by task, and not done again when it is resumed.

<run_dir>/tasks/<task>/.finished    the SHA-256 of what the task was asked to do, and what it made
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.shared import events
from pipeline.loops import iteration

TASKS = "tasks"
"""The folder of a run with the outputs of its tasks."""

FINISHED = ".finished"
"""Marks the folder of a finished task."""


def keep_finished_tasks(tasks_lock: int) -> None:
    """Changes KFP's local runner: finished tasks aren't run again, and every task holds a lock.

    Args:
        tasks_lock: the descriptor that the processes of the tasks inherit.
    """
    from kfp.local import docker_task_handler, executor_input_utils, subprocess_task_handler

    def run_process(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        return _run_process(full_command, env_vars or {}, tasks_lock)

    # KFP would name it after the time, and find nothing there the next time.
    executor_input_utils.get_local_pipeline_resource_name = lambda name: TASKS
    subprocess_task_handler.run_local_subprocess = run_process
    for module, name in (
        (subprocess_task_handler, "SubprocessTaskHandler"),
        (docker_task_handler, "DockerTaskHandler"),
    ):
        setattr(module, name, _keeping(getattr(module, name)))


def _run_process(command: Sequence[str], variables: dict[str, str], tasks_lock: int) -> int:
    """Does what KFP's `run_local_subprocess` does, the lock being inherited."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        env={**os.environ, **variables},
        pass_fds=(tasks_lock,),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
        # Ends a line that the task hasn't.
        print()
    return process.returncode


def _keeping(handler: type) -> type:
    """KFP's handler of a task, but for one that is finished already, which isn't run again."""
    ran: set[str | None] = set()

    class Keeping(handler):
        def run(self) -> Any:
            from kfp.local.status import Status

            request, digest = _request(self.full_command)
            folder = Path(request["outputs"]["outputFile"]).parent
            here = iteration()
            # What comes after a task that has run once more has other inputs; the iterations of a
            # loop don't come after one another.
            before = ran & {None, here} if here else ran
            if not before and _is_finished(folder, digest):
                events.figure("kept from before")
                return Status.SUCCESS
            ran.add(here)
            shutil.rmtree(folder, ignore_errors=True)
            status = super().run()
            # The exit task tells how each attempt has ended.
            if status == Status.SUCCESS and not _is_exit_task(request):
                _mark(folder, digest)
            return status

    return Keeping


def _request(command: Sequence[str]) -> tuple[dict[str, Any], str]:
    """KFP's executor input, and the SHA-256 of the command with it."""
    place = command.index("--executor_input") + 1
    request = json.loads(command[place])
    # In KFP's own text the keys come in any order.
    words = [*command[:place], json.dumps(request, sort_keys=True), *command[place + 1 :]]
    return request, hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _is_finished(folder: Path, digest: str) -> bool:
    """Whether a task has done what it is asked to do, and all that it made is still there."""
    finished = folder / FINISHED
    asked, *made = (finished.read_text() if finished.is_file() else "").split("\n")
    return asked == digest and all((folder / name).exists() for name in made)


def _is_exit_task(request: dict[str, Any]) -> bool:
    values = request.get("inputs", {}).get("parameterValues", {}).values()
    return any(isinstance(value, dict) and "pipeline_task_name" in value for value in values)


def _mark(folder: Path, digest: str) -> None:
    made = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    finished = folder / FINISHED
    staging = finished.with_name(f"{finished.name}.partial")
    staging.write_text("\n".join([digest, *made]))
    staging.replace(finished)
