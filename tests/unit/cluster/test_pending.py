"""Why a pod doesn't start, out of the objects of Kubernetes's client."""

from typing import Any

import pytest
from kubernetes import client

from pipeline.cluster.pending import blocking, pod_reasons


def container(reason: str | None, message: str | None = None) -> Any:
    waiting = client.V1ContainerStateWaiting(reason=reason, message=message) if reason else None
    return client.V1ContainerStatus(
        name="main",
        image="registry.example/x:1",
        image_id="",
        ready=False,
        restart_count=0,
        state=client.V1ContainerState(waiting=waiting),
    )


def pod(**status: Any) -> Any:
    return client.V1Pod(status=client.V1PodStatus(**status))


@pytest.mark.parametrize("reason", [None, "PodInitializing", "ContainerCreating"])
def test_a_pod_that_is_about_to_start_has_no_reason(reason: str | None) -> None:
    assert not list(blocking(pod(container_statuses=[container(reason)])))
    assert not list(blocking(pod()))


def test_an_image_that_is_not_there_is_named() -> None:
    found = pod(init_container_statuses=[container("ImagePullBackOff", "Back-off\n pulling")])
    assert list(blocking(found)) == ["ImagePullBackOff of registry.example/x:1: Back-off pulling"]
    found = pod(container_statuses=[container("ErrImageNeverPull")])
    assert list(blocking(found)) == ["ErrImageNeverPull of registry.example/x:1"]


def test_a_pod_that_no_node_takes_says_why() -> None:
    condition = client.V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="1 Insufficient cpu."
    )
    assert list(blocking(pod(conditions=[condition]))) == [
        "no node takes the pod: 1 Insufficient cpu."
    ]


@pytest.mark.parametrize("content", [None, "", "clusters: 3", "[", "{}"])
def test_without_a_cluster_there_are_no_reasons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, content: str | None
) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert pod_reasons(None)("a run") == []


def test_a_cluster_that_does_not_answer_gives_no_reasons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "config"
    file.write_text(
        "{current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}],"
        " users: [{name: x, user: {}}],"
        " clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert pod_reasons("team-a")("a run") == []
