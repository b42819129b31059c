"""Why pods of a run don't start, from Kubernetes: KFP's API shows their tasks as running.

Kubernetes is reached as kubectl reaches it, by KUBECONFIG or ~/.kube/config, or as a pod does. What
can't be reached, or may not be read, gives no reasons.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

RUN_LABEL = "pipeline/runid"
"""KFP's label of a run's pods: an id that is found is of the right cluster."""

_TIMEOUT = (3, 10)
"""Seconds: to connect, and between two bytes of an answer."""

_WAITING = {
    *("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"),
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    *("CrashLoopBackOff", "ImageInspectError", "RegistryUnavailable"),
}
"""Reasons of a container that waits for more than its turn."""

_NAMESPACE = "kubeflow"
"""Where a single-user KFP runs its pods."""

Reasons = Callable[[str], list[str]]


def pod_reasons(namespace: str | None) -> Reasons:
    """A function that gives the reasons why pods of a run, by its id, don't start.

    Args:
        namespace: where the pods run; None for a single-user KFP's.
    """
    core = functools.cache(_core)

    def reasons(run_id: str) -> list[str]:
        found = _pods(core(), namespace or _NAMESPACE, run_id) if core() else []
        return sorted({reason for pod in found for reason in blocking(pod)})

    return reasons


def blocking(pod: Any) -> Iterator[str]:
    """Sentences on why a `V1Pod` doesn't start; none for one that does."""
    status = pod.status
    for condition in status.conditions or []:
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            yield f"no node takes the pod: {_line(condition.message)}"
    containers: Iterable[Any] = [
        *(status.init_container_statuses or []),
        *(status.container_statuses or []),
    ]
    for container in containers:
        waiting = container.state and container.state.waiting
        if waiting and waiting.reason in _WAITING:
            why = f": {_line(waiting.message)}" if waiting.message else ""
            yield f"{waiting.reason} of {container.image}{why}"


def _line(text: str | None) -> str:
    return " ".join((text or "").split())[:300]


def _core() -> Any:
    """The API of pods, None where no cluster is configured."""
    # It takes seconds to import.
    from kubernetes import client, config

    try:
        if os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser().exists():
            config.load_kube_config()
        else:
            config.load_incluster_config()
    except (config.ConfigException, OSError, ValueError):
        return None
    return client.CoreV1Api()


def _pods(core: Any, namespace: str, run_id: str) -> list[Any]:
    import urllib3
    from kubernetes.client import ApiException

    try:
        selector = f"{RUN_LABEL}={run_id}"
        answer = core.list_namespaced_pod(
            namespace, label_selector=selector, _request_timeout=_TIMEOUT
        )
    except (ApiException, urllib3.exceptions.HTTPError, OSError):
        return []
    return list(answer.items)
