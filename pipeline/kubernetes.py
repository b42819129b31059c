"""What a cluster gives the tasks: an image, resources, nodes, variables, secrets, a volume."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from components.shared.errors import InputError
from components.shared.image import DEFAULT_IMAGE

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL}"
_OBJECT = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_SIZE = r"[1-9][0-9]*(?:Mi|Gi|Ti|M|G|T)"
_CPU = r"(?:[1-9][0-9]*m|[1-9][0-9]*(?:\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a task is given of a node."""

    cpu: str
    """Processors that it asks for, such as 2 or 500m; it may use twice as many while a node has
    them idle."""

    memory: str
    """What it asks for, and may not exceed."""


DEFAULT_RESOURCES = {
    "prepare": Resources(cpu="100m", memory="512Mi"),
    "ingest": Resources(cpu="1", memory="1Gi"),
    "preprocess": Resources(cpu="2", memory="4Gi"),
    "train": Resources(cpu="4", memory="8Gi"),
    "export": Resources(cpu="1", memory="4Gi"),
    "evaluate": Resources(cpu="2", memory="4Gi"),
    "push": Resources(cpu="500m", memory="1Gi"),
    "notify": Resources(cpu="100m", memory="512Mi"),
}
"""By task. With 25,000 reviews, ingest was seen to take 0.1 GiB, preprocess 0.9, train 1.5, export
1.5 and evaluate 1.2; there are 100,000 in the whole of IMDB."""


KFP_VERSIONS = ("2.15", "2.16", "2.17")
"""Of the backend. An older one refuses a pipeline that has a newer one's settings."""


class Toleration(NamedTuple):
    """A taint that a pod puts up with."""

    key: str

    value: str | None
    """None for any value."""

    effect: str


class SecretVariable(NamedTuple):
    """An environment variable out of a Kubernetes secret."""

    name: str

    secret: str

    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KubernetesOptions:
    """What the tasks get on a cluster.

    Raises:
        InputError: an option isn't what it should be; the message names it.
    """

    image: str = DEFAULT_IMAGE
    """The image of every task, best by its digest."""

    accelerator_type: str = "nvidia.com/gpu"
    """The resource that train's accelerators are."""

    accelerator_count: int = 0
    """How many of them train gets."""

    resources: tuple[str, ...] = ()
    """`TASK.cpu=NUMBER` and `TASK.memory=SIZE`, in place of `DEFAULT_RESOURCES`."""

    node_selector: tuple[str, ...] = ()
    """`KEY=VALUE`, labels of the nodes; `TASK:KEY=VALUE` for one task alone."""

    tolerations: tuple[str, ...] = ()
    """`KEY=VALUE:EFFECT`, or `KEY:EFFECT` for any value; `TASK:...` for one task alone."""

    image_pull_secrets: tuple[str, ...] = ()
    """Names of secrets that the image is pulled with."""

    env: tuple[str, ...] = ()
    """`NAME=VALUE`, for all tasks. The compiled pipeline shows them: not for secrets."""

    secret_env: tuple[str, ...] = ()
    """`NAME=SECRET:KEY`, for all tasks, out of Kubernetes secrets."""

    webhook_secret: str = ""
    """`SECRET:KEY` of the URL that notify posts to; empty for none."""

    volumes: tuple[str, ...] = ()
    """`CLAIM:PATH`, persistent volume claims that all tasks see, at an absolute path."""

    workspace_size: str = "10Gi"
    """The size of the volume that the tasks of a run share."""

    workspace_storage_class: str = ""
    """Its storage class; empty for the cluster's default."""

    shared_memory_size: str = "2Gi"
    """What train's /dev/shm may hold; part of train's memory."""

    prepare_workspace: bool = True
    """Whether a first task makes the run's volume writable for the image's user, as root without
    capabilities; KFP before 2.16 has no such setting."""

    failed_run_ttl: int = 86_400
    """Seconds that a failed run's workflow, and so its volume, is kept; 0 for KFP's own time, which
    is the only one before KFP 2.17."""

    kfp_version: str = "2.17"
    """The oldest KFP that the compiled pipeline is for, one of `KFP_VERSIONS`."""

    def __post_init__(self) -> None:
        _match("image", self.image, r"([\w.:/-]+(?:@sha256:[0-9a-f]{64})?)", "an image's name")
        kind = "the name of a resource, such as nvidia.com/gpu"
        _match("accelerator-type", self.accelerator_type, rf"({_KEY})", kind)
        if self.accelerator_count < 0:
            raise _wrong("accelerator-count", self.accelerator_count, "0 or more")
        _match("workspace-size", self.workspace_size, rf"({_SIZE})", "a size such as 10Gi")
        _match("shared-memory-size", self.shared_memory_size, rf"({_SIZE})", "a size such as 2Gi")
        if name := self.workspace_storage_class:
            _match("workspace-storage-class", name, rf"({_OBJECT})", "a storage class's name")
        if self.kfp_version not in KFP_VERSIONS:
            raise _wrong("kfp-version", self.kfp_version, f"one of {', '.join(KFP_VERSIONS)}")
        if not 0 <= self.failed_run_ttl < 2**31:
            raise _wrong("failed-run-ttl", self.failed_run_ttl, "seconds, 0 or more")
        for secret in self.image_pull_secrets:
            _match("image-pull-secret", secret, rf"({_OBJECT})", "a secret's name")
        for task in DEFAULT_RESOURCES:
            self.resources_of(task)
        self.labels_of("")
        self.tolerations_of("")
        self.webhook()
        self.mounts()
        _require_unique(name for name, *_ in [*self.variables(), *self.secret_variables()])

    @property
    def image_warning(self) -> str | None:
        """A warning where nodes may not get the image, or get another than is meant, else None."""
        advice = "give --image REGISTRY/NAME@sha256:..."
        name, _, digest = self.image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2] or "latest"
        if not digest and tag == "latest":
            return (
                f"image {self.image}: Kubernetes pulls the tag latest for every pod, even where "
                f"the node has it, and it may change during a run; {advice}"
            )
        if "/" not in self.image:
            return (
                f"image {self.image}: names no registry, so the nodes must have it; if they don't, "
                f"{advice}"
            )
        return None

    @property
    def prepares_workspace(self) -> bool:
        """Whether the pipeline has the task `prepare`."""
        return self.prepare_workspace and self.kfp_version != "2.15"

    @property
    def ttl_after_failure(self) -> int | None:
        """Seconds after which a failed run's workflow is deleted; None for KFP's own time."""
        return self.failed_run_ttl or None if self.kfp_version == "2.17" else None

    def resources_of(self, task: str) -> Resources:
        """What a task is given."""
        given = DEFAULT_RESOURCES[task]
        pattern = rf"({_TASK})\.(?:(cpu)=({_CPU})|(memory)=({_SIZE}))"
        for text in self.resources:
            owner, _, cpu, _, memory = _match("resource", text, pattern, _RESOURCE_FORM)
            if owner == task:
                given = replace(given, cpu=cpu) if cpu else replace(given, memory=memory)
        return given

    def labels_of(self, task: str) -> dict[str, str]:
        """The labels of a task's nodes."""
        pattern = rf"(?:({_TASK}):)?({_KEY})=((?:{_LABEL})?)"
        form = "KEY=VALUE, or TASK:KEY=VALUE for one task alone"
        parts = [_match("node-selector", text, pattern, form) for text in self.node_selector]
        return {key: value for owner, key, value in parts if owner in (None, task)}

    def tolerations_of(self, task: str) -> list[Toleration]:
        """The taints that a task's pod puts up with."""
        pattern = rf"(?:({_TASK}):)?({_KEY})(?:=((?:{_LABEL})?))?:({'|'.join(_EFFECTS)})"
        form = f"KEY=VALUE:EFFECT or KEY:EFFECT, the effect one of {', '.join(_EFFECTS)}"
        parts = [_match("toleration", text, pattern, form) for text in self.tolerations]
        return [Toleration(*rest) for owner, *rest in parts if owner in (None, task)]

    def mounts(self) -> list[tuple[str, str]]:
        """The persistent volume claims, and where they are mounted."""
        form = "CLAIM:PATH, a persistent volume claim and an absolute path"
        pattern = rf"({_OBJECT}):(/[^:]*[^:/])"
        parts = [_match("volume", text, pattern, form) for text in self.volumes]
        # Kubernetes or KFP would refuse the pods, or one of two volumes would silently win.
        taken: set[str] = set()
        for text, (_, path) in zip(self.volumes, parts, strict=True):
            if path in taken or f"{path}/".startswith(tuple(f"{own}/" for own in _TAKEN_PATHS)):
                raise _wrong("volume", text, f"at a path of its own, and not at or below {_TAKEN}")
            taken.add(path)
        return [(claim, path) for claim, path in parts]

    def variables(self) -> list[tuple[str, str]]:
        """The environment variables that aren't secret: names and values."""
        pattern = rf"({_VARIABLE})=(.*)"
        parts = [_match("env", text, pattern, "NAME=VALUE", secret=True) for text in self.env]
        return [(name, value) for name, value in parts]

    def secret_variables(self) -> list[SecretVariable]:
        """The environment variables out of secrets."""
        form = "NAME=SECRET:KEY, the secret's name and its key and not what they hold"
        pattern = rf"({_VARIABLE})=({_OBJECT}):([A-Za-z0-9._-]+)"
        return [
            SecretVariable(*_match("secret-env", text, pattern, form, secret=True))
            for text in self.secret_env
        ]

    def webhook(self) -> tuple[str, str] | None:
        """The secret with the webhook's URL, and its key."""
        if not self.webhook_secret:
            return None
        form = "SECRET:KEY, the secret's name and its key and not the URL"
        pattern = rf"({_OBJECT}):([A-Za-z0-9._-]+)"
        secret, key = _match("webhook-secret", self.webhook_secret, pattern, form, secret=True)
        return secret, key


_TAKEN_PATHS = (
    "/kfp-workspace", "/kfp-launcher", "/dev/shm",
    "/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config",
)  # fmt: skip
"""Where the pods have volumes of KFP's, and train its shared memory."""
_TAKEN = ", ".join(_TAKEN_PATHS)
_TASK = "|".join(DEFAULT_RESOURCES)
_RESOURCE_FORM = (
    f"TASK.cpu=NUMBER or TASK.memory=SIZE, such as train.memory=16Gi; the tasks are "
    f"{', '.join(DEFAULT_RESOURCES)}"
)


def _match(option: str, text: str, pattern: str, form: str, *, secret: bool = False) -> list[str]:
    """The groups of `pattern`, which `text` must match.

    Args:
        option: the option's name.
        text: its value.
        pattern: a regular expression.
        form: what it should be, in words.
        secret: whether the value may be a secret put in the wrong place.
    """
    found = re.fullmatch(pattern, text, re.ASCII | re.DOTALL)
    if found is None:
        raise _wrong(option, "..." if secret else text, form)
    return list(found.groups())


def _wrong(option: str, value: object, form: str) -> InputError:
    return InputError(f"--{option} {value!r}: must be {form}")


def _require_unique(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen or name == WEBHOOK_VARIABLE:
            why = "use --webhook-secret" if name == WEBHOOK_VARIABLE else "give it once"
            raise InputError(f"--env, --secret-env: {name}: {why}")
        seen.add(name)


WEBHOOK_VARIABLE = "NOTIFY_WEBHOOK_URL"
"""The environment variable in which notify finds the webhook's URL."""
