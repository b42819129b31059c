"""Runs one task in a container; stands in for the function of KFP's `DockerRunner` that does.

KFP's own has the engine remove a container as soon as it ends, and takes one that it then can't
find for one that succeeded; its log may be lost, too. Here a container is removed after its log and
its state have been read, and what its task has declared to write must be there.
"""

import json
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

from components.shared import events
from pipeline.engine import reason

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
    try:
        container = client.containers.create(
            image, list(command[1:]), entrypoint=[command[0]], volumes=dict(volumes), **settings
        )
        container.start()
        _print_log(container)
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


def _print_log(container: Any) -> None:
    """Prints what a container prints, line by line, until it has ended."""
    printed, rest = 0, b""
    for chunk in container.logs(stream=True, follow=True):
        printed += len(chunk)
        rest = _print_lines(rest + chunk)
    container.wait()
    # Engines have been seen to close the stream before its last lines.
    rest = _print_lines(rest + container.logs()[printed:])
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
    if attributes["State"].get("OOMKilled"):
        limit = attributes["HostConfig"].get("Memory")
        allowed = f"the {limit / 2**20:,.0f} MiB that it was allowed" if limit else "what there is"
        return f"out of memory: the container needed more than {allowed}, and was killed"
    if status == _SIGNALLED + signal.SIGKILL:
        return (
            "the container was killed (SIGKILL); this machine, or Docker's virtual machine, may be "
            "out of memory"
        )
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
