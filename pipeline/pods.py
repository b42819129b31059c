"""Writes into the compiled pipeline what a cluster gives the tasks."""

from typing import Any

from kfp import dsl, kubernetes

from components.shared.accelerators import PROMISED_VARIABLE
from components.shared.retries import SECONDS_VARIABLE
from pipeline.kubernetes import WEBHOOK_VARIABLE, KubernetesOptions, Resources

# A pod can be evicted or lose its node in any of these, and a source, a Beam cluster or a store may
# be out of reach for a while. A push that fails has most often lost to another one, and notify
# tries again by itself.
_RETRIED = ("prepare", "ingest", "preprocess", "train", "trial", "export", "evaluate", "compare")
_RETRIES = 3
_DISPLAY_NAMES = {
    "prepare": "Prepare the volume",
    "ingest": "Ingest the reviews",
    "preprocess": "Preprocess with Beam",
    "train": "Train the RNN",
    "export": "Export the SavedModel",
    "evaluate": "Evaluate against the champion",
    "push": "Push to the registry",
    "notify": "Notify",
    "trial": "Train a trial",
    "compare": "Compare the trials",
}
_LIKE = {"trial": "train", "compare": "evaluate"}
"""A sweep's own tasks: each is given what its like in a run is."""
_PATIENCE = 1800
"""Seconds for which a task itself waits for a store or a server that doesn't answer: KFP 2.17
retries a pod that vanished, and none that failed."""
_FIRST_WAIT = "60s"
# Counted from the start of the first attempt: after the default, an hour, a longer training that is
# preempted would not be tried again.
_RETRY_WINDOW = "604800s"


def workspace_config(options: KubernetesOptions, at_once: bool = False) -> dsl.PipelineConfig:
    """The volume that the tasks of a run share; KFP makes one for each run.

    Args:
        options: its size and storage class.
        at_once: whether several tasks use it at the same time, which may be on several nodes.
    """
    patch: dict[str, Any] = {"accessModes": ["ReadWriteMany" if at_once else "ReadWriteOnce"]}
    if options.workspace_storage_class:
        patch["storageClassName"] = options.workspace_storage_class
    return dsl.PipelineConfig(
        workspace=dsl.WorkspaceConfig(
            size=options.workspace_size,
            kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch=patch),
        ),
        ttl_seconds_after_failure=options.ttl_after_failure,
    )


def configure(task: dsl.PipelineTask, options: KubernetesOptions) -> None:
    """Gives a task what its pod needs."""
    like = _LIKE.get(task.name, task.name)
    task.set_display_name(_DISPLAY_NAMES[task.name])
    _set_resources(task, options.resources_of(like))
    if task.name in _RETRIED:
        task.set_retry(
            _RETRIES,
            backoff_duration=_FIRST_WAIT,
            backoff_factor=2.0,
            backoff_max_duration=_RETRY_WINDOW,
        )
    for key, value in options.labels_of(like).items():
        kubernetes.add_node_selector(task, key, value)
    for taint in options.tolerations_of(like):
        operator = "Exists" if taint.value is None else "Equal"
        kubernetes.add_toleration(task, operator=operator, **taint._asdict())
    if options.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(options.image_pull_secrets))
    variables = {SECONDS_VARIABLE: str(_PATIENCE), **dict(options.variables())}
    for name, text in variables.items():
        task.set_env_variable(name, text)
    for name, secret, key in options.secret_variables():
        kubernetes.use_secret_as_env(task, secret, {key: name})
    for claim, path in options.mounts():
        kubernetes.mount_pvc(task, claim, path)
    if like == "train":
        _prepare_training(task, options)
    if task.name == "prepare":
        # The owner of a volume's root, which KFP leaves without capabilities.
        kubernetes.set_security_context(task, run_as_user=0)
    webhook = options.webhook()
    if webhook and task.name == "notify":
        secret, key = webhook
        # A secret that is missing must not make a run fail that went well.
        kubernetes.use_secret_as_env(task, secret, {key: WEBHOOK_VARIABLE}, optional=True)


def _set_resources(task: dsl.PipelineTask, given: Resources) -> None:
    task.set_cpu_request(given.cpu).set_cpu_limit(_twice(given.cpu))
    task.set_memory_request(given.memory).set_memory_limit(given.memory)


def _prepare_training(task: dsl.PipelineTask, options: KubernetesOptions) -> None:
    if options.accelerator_count:
        task.set_accelerator_type(options.accelerator_type)
        task.set_accelerator_limit(options.accelerator_count)
        task.set_env_variable(PROMISED_VARIABLE, str(options.accelerator_count))
    # A pod has 64 MB, too little for the exchange of gradients between GPUs.
    kubernetes.empty_dir_mount(
        task,
        volume_name="shared-memory",
        mount_path="/dev/shm",
        medium="Memory",
        size_limit=options.shared_memory_size,
    )


def _twice(cpu: str) -> str:
    if cpu.endswith("m"):
        return f"{2 * int(cpu[:-1])}m"
    return f"{2 * float(cpu):g}"
