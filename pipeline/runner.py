"""Runs a compiled pipeline with KFP's local runner, as a process of its own.

`python -m pipeline.runner` reads what to run from standard input, one line of JSON (see
`Request`), and lives until the tasks have ended or standard input is closed: so nothing of a run
outlives whoever started it, however that ended. The process must lead a process group.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TypedDict


class Containers(TypedDict):
    """How the containers of a run are made, as JSON values."""

    url: str
    """Where the engine listens."""

    run_id: str
    """Labels the containers."""

    image: str
    """The image of every task."""

    settings: dict[str, Any]
    """Keyword arguments of docker-py's `containers.create`."""

    volumes: dict[str, dict[str, str]]
    """What is mounted beside KFP's own folders: by path, docker-py's `bind` and `mode`."""


class Request(TypedDict):
    """What to run."""

    package: str
    """The compiled pipeline, a `.yaml` file; made of `pipeline.definition` where there is none."""

    arguments: dict[str, Any]
    """The pipeline's parameters."""

    run_dir: str
    """Gets the outputs of the tasks."""

    tasks_lock: int
    """A descriptor that the processes of the tasks inherit."""

    containers: Containers | None
    """How the tasks' containers are made; None where they run as processes."""


def main() -> int:
    """Runs one pipeline; everything that KFP and the tasks print goes to standard output.

    Returns:
        The exit status: 0 after success, 1 where a task failed.
    """
    request: Request = json.loads(sys.stdin.readline())
    containers = request["containers"]
    _end_with_standard_input(containers)
    _name_the_interpreter()
    # Only now: this takes seconds.
    from kfp import components, dsl, local

    from pipeline.compile import compile_for_this_machine
    from pipeline.kept import keep_finished_tasks
    from pipeline.loops import side_by_side

    package = Path(request["package"])
    if not package.exists():
        compile_for_this_machine(package, containers["image"] if containers else None)
    keep_finished_tasks(request["tasks_lock"])
    local.init(
        runner=_docker_runner(containers) if containers else local.SubprocessRunner(use_venv=False),
        pipeline_root=request["run_dir"],
        raise_on_error=True,
    )
    text = package.read_text(encoding="utf-8")
    # KFP would draw a number for the one, and take the name of a folder for the other.
    for placeholder in (dsl.PIPELINE_JOB_ID_PLACEHOLDER, dsl.PIPELINE_JOB_NAME_PLACEHOLDER):
        text = text.replace(placeholder, Path(request["run_dir"]).name)
    pipeline = components.load_component_from_text(text)
    try:
        with side_by_side():
            pipeline(**request["arguments"])
    except RuntimeError as error:
        print(error)
        return 1
    return 0


def _docker_runner(containers: Containers) -> Any:
    """KFP's `DockerRunner`, with what runs a container in it replaced."""
    from kfp import local
    from kfp.local import docker_task_handler

    from pipeline.container import run_container

    def run(*, volumes: dict[str, Any], **arguments: Any) -> int:
        return run_container(volumes={**containers["volumes"], **volumes}, **arguments)

    docker_task_handler.run_docker_container = run
    # KFP asks Docker where this says.
    os.environ["DOCKER_HOST"] = containers["url"]
    return local.DockerRunner(**containers["settings"])


def _end_with_standard_input(containers: Containers | None) -> None:
    """Kills this process group, the tasks in it, as soon as standard input is closed."""
    lifeline = os.dup(0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def wait() -> None:
        while os.read(lifeline, 1):
            pass
        if containers:
            from pipeline.engine import remove_containers

            remove_containers(containers["url"], containers["run_id"])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _name_the_interpreter() -> None:
    """Has KFP call the interpreter "python3", to be found on the search path.

    KFP puts the interpreter's path into the text of a shell command, and for every "python3" in a
    task's arguments: a path with a space, or a folder named after Python, would break the command.
    """
    if (Path(sys.executable).parent / "python3").exists():
        search_path = os.environ.get("PATH", os.defpath)
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{search_path}"
        sys.executable = "python3"


if __name__ == "__main__":
    sys.exit(main())
