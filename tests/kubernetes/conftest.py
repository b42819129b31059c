"""Pods of a real Kubernetes, that of KUBECONFIG; without it the tests here are skipped.

    KUBECONFIG              the cluster
    KUBERNETES_TEST_IMAGE   the image of the tasks, on its nodes; the default image unless given

The tests make a namespace of their own and delete it.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.shared.image import DEFAULT_IMAGE

IMAGE = os.environ.get("KUBERNETES_TEST_IMAGE", DEFAULT_IMAGE)
_WAIT_SECONDS = 1800


class Namespace:
    """A namespace of the cluster, through kubectl."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *arguments: str, objects: Any = None, check: bool = True) -> str:
        """Runs kubectl in the namespace; returns what it prints.

        Args:
            arguments: of kubectl.
            objects: goes to its standard input as JSON.
            check: whether it must succeed.
        """
        done = subprocess.run(
            ["kubectl", "--namespace", self.name, *arguments],
            input=None if objects is None else json.dumps(objects),
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Creates objects."""
        self.kubectl("apply", "-f", "-", objects={"apiVersion": "v1", "kind": "List",
                                                  "items": list(objects)})  # fmt: skip

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as it is now."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "pod", name, "--output", "json"))
        return found

    def wait(self, name: str, condition: str) -> None:
        """Waits until a pod has a field, or a field a value: PATH or PATH=VALUE."""
        wanted = f"--for=jsonpath={condition}"
        self.kubectl("wait", f"pod/{name}", wanted, f"--timeout={_WAIT_SECONDS}s")

    def ended(self, name: str) -> tuple[int, str]:
        """The exit status of a pod that is waited for, and its log."""
        self.wait(name, "{.status.containerStatuses[0].state.terminated.reason}")
        status = self.pod(name)["status"]["containerStatuses"][0]["state"]["terminated"]
        return status["exitCode"], self.kubectl("logs", name)


def claim(name: str, **specification: Any) -> dict[str, Any]:
    """A persistent volume claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **specification,
        },
    }


def pod(
    name: str,
    script: str,
    volume: str,
    *,
    user: str | None = None,
    memory: str = "4Gi",
    root: bool = False,
) -> dict[str, Any]:
    """A pod that runs a shell script in a claimed volume at /data, its root file system read-only.

    Args:
        name: the pod's.
        script: for `sh -c`.
        volume: the name of the claim.
        user: USER:GROUP; None for the image's.
        memory: what it may take.
        root: whether it may run as root; it has no capabilities in any case.
    """
    ids = (
        dict(zip(("runAsUser", "runAsGroup"), map(int, user.split(":")), strict=True))
        if user
        else {}
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "main",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["entrypoint", "sh", "-c", script],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "64Mi"},
                        "limits": {"memory": memory},
                    },
                    "securityContext": {
                        **ids,
                        "runAsNonRoot": not root,
                        "readOnlyRootFilesystem": True,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        {"name": "tmp", "mountPath": "/tmp"},
                    ],
                }
            ],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": volume}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }


@pytest.fixture(scope="session")
def cluster() -> None:
    """A Kubernetes that answers and has the image."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("set KUBECONFIG to a Kubernetes whose nodes have the image of the tasks")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl isn't installed")
    nodes = json.loads(subprocess.check_output(["kubectl", "get", "nodes", "--output", "json"]))
    names = {
        name
        for node in nodes["items"]
        for image in node["status"].get("images", [])
        for name in image["names"] or ()
    }
    wanted = IMAGE if "/" in IMAGE else f"docker.io/library/{IMAGE}"
    if wanted not in names:
        pytest.skip(
            f"no node has the image {wanted}; set KUBERNETES_TEST_IMAGE to one that is there"
        )


@pytest.fixture(scope="module")
def namespace(cluster: None) -> Iterator[Namespace]:
    """An empty namespace that allows no privileges: the standard `baseline`, as KFP's has."""
    made = Namespace(f"imdb-pipeline-test-{uuid.uuid4().hex[:8]}")
    made.kubectl("create", "namespace", made.name)
    made.kubectl("label", "namespace", made.name, "pod-security.kubernetes.io/enforce=baseline")
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture
def kustomization(tmp_path: Path) -> Path:
    """The manifests of docker/kubernetes, with a secret filled in."""
    source = Path(__file__).parents[2] / "docker" / "kubernetes"
    folder = tmp_path / "kubernetes"
    shutil.copytree(source, folder)
    (folder / "secret.env").write_text(
        "AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=secret\nNOTIFY_WEBHOOK_URL=\n"
    )
    return folder
