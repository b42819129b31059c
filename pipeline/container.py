"""Runs one task in a container; stands in for the function of KFP's `DockerRunner` that does.

KFP's own has the engine remove a container as soon as it ends, and takes one that it then can't
find for one that succeeded; its log may be lost, too. Here a container is removed after its log and
its state have been read, and what its task has declared to write must be there.
"""

import json
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

from components.shared import events
from components.shared.accelerators import ACCELERATED_TASKS
from pipeline.engine import ANSWER_SECONDS, reason

FAILURE = 1
_SIGNALLED = 128
_WITHOUT_FILES = ("system.Metrics", "system.ClassificationMetrics")


def run_container(
    client: docker.DockerClient,
    image: str,
    command: Sequence[str],
    volumes: Mapping[str, Any],
    **settings: Any,
) -> int:
    """Runs a command of KFP to its end, prints what it prints, and says why it failed.

    Args:
        client: the engine.
        image: the image.
        command: the whole command, which replaces the image's entry point, as on a cluster.
        volumes: docker-py's volumes.
        settings: more keyword arguments of docker-py's `containers.create`.

    Returns:
        The exit status: 0 only if the container ended with 0 and has written its outputs.
    """
    container = None
    # KFP leaves it at the minute of docker-py.
    client.api.timeout = ANSWER_SECONDS
    if not _trains(command):
        settings.pop("device_requests", None)
    try:
        container = client.containers.create(
            image, list(command[1:]), entrypoint=[command[0]], volumes=dict(volumes), **settings
        )
        # Attached before its first line: the log that podman streams of a busy task has gaps.
        output = container.attach(stdout=True, stderr=True, stream=True, demux=True)
        with closing(output):
            container.start()
            _print_output(output, container)
        status = int(container.wait()["StatusCode"])
        container.reload()
        trouble = _trouble(status, container.attrs) or (_missing(command) if status == 0 else None)
    except NotFound as error:
        gone = container is not None
        trouble = "the container vanished before its task had ended" if gone else reason(error)
        status = FAILURE
    except (DockerException, RequestException, OSError) as error:
        status, trouble = FAILURE, f"Docker can't run the container: {reason(error)}"
    finally:
        if container is not None:
            with suppress(DockerException, RequestException, OSError):
                container.remove(force=True, v=True)
    if trouble is None:
        return status
    events.emit("error", message=trouble, input_error=False)
    return status or FAILURE


def _trains(command: Sequence[str]) -> bool:
    """Whether KFP's command runs a task that uses accelerators."""
    return any(("--function_to_execute", task) in pairwise(command) for task in ACCELERATED_TASKS)


def _print_output(output: Iterable[tuple[bytes | None, bytes | None]], container: Any) -> None:
    """Prints what a container writes, line by line, until it has ended."""
    printed, rests = 0, [b"", b""]
    for chunks in output:
        for i, chunk in enumerate(chunks):
            printed += len(chunk or b"")
            rests[i] = _print_lines(rests[i] + (chunk or b""))
    container.wait()
    # What is there if the connection was cut.
    missed = container.logs()[printed:]
    for rest in (rests[0] + missed, rests[1]):
        if rest:
            _print_lines(rest + b"\n")


def _print_lines(text: bytes) -> bytes:
    """Prints all whole lines; gives what is left."""
    *lines, rest = text.split(b"\n")
    for line in lines:
        print(line.decode("utf-8", "replace"))
    return rest


def _trouble(status: int, attributes: Mapping[str, Any]) -> str | None:
    """Why a container was ended by others, None if it ended by itself."""
    limit = attributes["HostConfig"].get("Memory")
    allowed = f"the {limit / 2**20:,.0f} MiB that it was allowed" if limit else "there is"
    if attributes["State"].get("OOMKilled"):
        return f"out of memory: the container took more than {allowed}, and was killed"
    if status == _SIGNALLED + signal.SIGKILL:
        # Not every engine says so.
        return f"the container was killed; out of memory, most likely: more than {allowed}"
    if status > _SIGNALLED and status - _SIGNALLED in list(signal.Signals):
        return f"the container was ended by {signal.Signals(status - _SIGNALLED).name}"
    return None


def _missing(command: Sequence[str]) -> str | None:
    """What a task should have written, and hasn't, None if all is there."""
    if "--executor_input" not in command:
        return None
    outputs = json.loads(command[command.index("--executor_input") + 1])["outputs"]
    paths = [outputs["outputFile"]]
    for declared in outputs.get("artifacts", {}).values():
        for artifact in declared["artifacts"]:
            if artifact["type"]["schemaTitle"] not in _WITHOUT_FILES:
                paths.append(artifact["uri"])
    for path in paths:
        if not Path(path).exists():
            return (
                f"the container has ended well, and yet {path} isn't there; does this Docker run "
                "on another machine, which can't see this one's folders?"
            )
    return None
