"""The pipeline that is compiled for a cluster. KFP's loader and schemas are the real ones."""

import copy
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from components.shared.errors import InputError
from pipeline.compile import (
    as_yaml,
    compile_for_this_machine,
    compile_pipeline,
    compiled_pipeline,
)
from pipeline.kubernetes import DEFAULT_RESOURCES, KubernetesOptions

ROOT = Path(__file__).parents[3]
TASKS = set(DEFAULT_RESOURCES)
IMAGE = "registry.example/imdb@sha256:" + "0" * 64
OPTIONS = KubernetesOptions(
    image=IMAGE,
    accelerator_type="amd.com/gpu",
    accelerator_count=2,
    resources=("train.cpu=6", "train.memory=24Gi", "push.cpu=250m"),
    node_selector=("pool=training", "train:example.com/gpu=big"),
    tolerations=("dedicated=training:NoSchedule", "train:amd.com/gpu:NoExecute"),
    image_pull_secrets=("registry-login",),
    env=("AWS_ENDPOINT_URL=http://minio:9000", "EMPTY="),
    secret_env=("AWS_SECRET_ACCESS_KEY=store:secret.key",),
    webhook_secret="chat:url",
    volumes=("models:/models",),
    workspace_size="30Gi",
    workspace_storage_class="fast",
    shared_memory_size="4Gi",
)


class Compiled:
    """A compiled pipeline, by its parts."""

    def __init__(self, content: bytes) -> None:
        self.spec, platform = yaml.safe_load_all(content)
        self.platform = platform["platforms"]["kubernetes"]

    @property
    def dags(self) -> list[dict[str, Any]]:
        dags = [part["dag"] for part in self.spec["components"].values() if "dag" in part]
        return [self.spec["root"]["dag"], *dags]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """By name, those that run."""
        tasks = {name: task for dag in self.dags for name, task in dag["tasks"].items()}
        return {name: task for name, task in tasks.items() if name in TASKS}

    def container(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.spec["deploymentSpec"]["executors"][f"exec-{task}"]
        return found["container"]

    def pod(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.platform["deploymentSpec"]["executors"].get(f"exec-{task}", {})
        return found


@pytest.fixture(scope="module")
def plain() -> Compiled:
    return Compiled(compiled_pipeline(KubernetesOptions()))


@pytest.fixture(scope="module")
def full() -> Compiled:
    return Compiled(compiled_pipeline(OPTIONS))


def test_kfp_loads_it_and_its_schemas_know_every_field(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "pipeline.yaml", OPTIONS)
    loaded = components.load_component_from_file(str(tmp_path / "pipeline.yaml"))
    assert set(loaded.component_spec.inputs) == {
        *("source", "preset", "serving_dir", "skip_unchanged", "ui_url", "image", "workspace"),
        *("ingest_config", "preprocess_config", "train_config", "evaluate_config"),
    }
    spec, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_bytes())
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for executor in spec["deploymentSpec"]["executors"].values():
        json_format.ParseDict(executor, pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec())
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for pod in pods.values():
        json_format.ParseDict(pod, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    assert len(pods) == len(TASKS)
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_the_same_options_give_the_same_bytes_in_any_process() -> None:
    code = (
        "import sys\nfrom pipeline.compile import *\n"
        "sys.stdout.buffer.write(compiled_pipeline(KubernetesOptions()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7", "USER": "another", "HOME": "/nowhere"},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    here = compiled_pipeline(KubernetesOptions())
    assert hashlib.sha256(printed).hexdigest() == hashlib.sha256(here).hexdigest()
    assert here != compiled_pipeline(KubernetesOptions(workspace_size="11Gi"))


@pytest.mark.parametrize("name", ["pipeline.txt", "pipeline", "nowhere/pipeline.yaml", "full.yaml"])
def test_a_path_that_cannot_be_written_is_named_and_nothing_stays(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "full.yaml").mkdir()
    with pytest.raises(InputError, match=str(tmp_path / name)):
        compile_pipeline(tmp_path / name, KubernetesOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["full.yaml"]


def test_kfps_local_runner_can_evaluate_every_condition(plain: Compiled) -> None:
    # It finds an output that has no name of its own, and takes one that it can't find for False.
    conditions = re.findall(
        r"inputs\.parameter_values\['([^']+)'\]", yaml.safe_dump(plain.spec, width=1000)
    )
    expected = ["pipelinechannel--evaluate-Output", "pipelinechannel--ingest-Output"]
    assert sorted(conditions) == expected


def test_every_task_has_the_image_and_the_record_too(full: Compiled) -> None:
    assert {full.container(task)["image"] for task in TASKS} == {IMAGE}
    parameters = full.spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["image"]["defaultValue"] == IMAGE


def test_every_task_asks_for_what_it_needs_and_is_limited(plain: Compiled, full: Compiled) -> None:
    for task in TASKS:
        resources = plain.container(task)["resources"]
        given = DEFAULT_RESOURCES[task]
        assert resources["resourceCpuRequest"] == given.cpu
        assert resources["cpuLimit"] == 2 * resources["cpuRequest"]
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"]
        assert resources["resourceMemoryRequest"] == given.memory
    train, push = (full.container(task)["resources"] for task in ("train", "push"))
    assert (train["resourceCpuRequest"], train["resourceCpuLimit"]) == ("6", "12")
    assert train["resourceMemoryLimit"] == "24Gi"
    assert (push["resourceCpuRequest"], push["resourceCpuLimit"]) == ("250m", "500m")
    assert full.container("ingest")["resources"] == plain.container("ingest")["resources"]


def test_train_alone_has_accelerators_and_with_none_nothing_speaks_of_them(
    plain: Compiled, full: Compiled
) -> None:
    accelerator = full.container("train")["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("amd.com/gpu", "2")
    assert not any("accelerator" in full.container(t)["resources"] for t in TASKS - {"train"})
    assert not any("accelerator" in plain.container(task)["resources"] for task in TASKS)
    assert "gpu" not in yaml.safe_dump([plain.platform, plain.spec["root"]])
    promise = {"name": "IMDB_PIPELINE_ACCELERATORS", "value": "2"}
    assert {t for t in TASKS if promise in full.container(t)["env"]} == {"train"}
    assert "IMDB_PIPELINE_ACCELERATORS" not in yaml.safe_dump(plain.spec["deploymentSpec"])


def test_nodes_tolerations_and_pull_secrets_are_those_of_all_tasks_or_of_one(
    plain: Compiled, full: Compiled
) -> None:
    tolerated = {
        "key": "dedicated", "operator": "Equal", "value": "training", "effect": "NoSchedule"
    }  # fmt: skip
    for task in TASKS - {"train"}:
        assert full.pod(task)["nodeSelector"]["labels"] == {"pool": "training"}
        assert full.pod(task)["tolerations"] == [tolerated]
    assert full.pod("train")["nodeSelector"]["labels"] == {
        "pool": "training",
        "example.com/gpu": "big",
    }
    assert full.pod("train")["tolerations"] == [
        tolerated,
        {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoExecute"},
    ]
    for task in TASKS:
        (secret,) = full.pod(task)["imagePullSecret"]
        assert secret["secretName"] == "registry-login"
        assert not {"nodeSelector", "tolerations", "imagePullSecret"} & plain.pod(task).keys()


def test_variables_reach_all_tasks_and_the_webhook_notify_alone(
    plain: Compiled, full: Compiled
) -> None:
    def secrets(task: str) -> set[tuple[str, str, str, bool]]:
        return {
            (pair["envVar"], one["secretName"], pair["secretKey"], one.get("optional", False))
            for one in full.pod(task).get("secretAsEnv", [])
            for pair in one["keyToEnv"]
        }

    store = ("AWS_SECRET_ACCESS_KEY", "store", "secret.key", False)
    for task in TASKS - {"notify"}:
        assert secrets(task) == {store}
    assert secrets("notify") == {store, ("NOTIFY_WEBHOOK_URL", "chat", "url", True)}
    for task in TASKS:
        # Protobuf leaves an empty text out.
        variables = {v["name"]: v.get("value", "") for v in full.container(task)["env"]}
        variables.pop("IMDB_PIPELINE_ACCELERATORS", None)
        own = {"TASK_RETRY_SECONDS": "1800"}
        assert variables == {"AWS_ENDPOINT_URL": "http://minio:9000", "EMPTY": "", **own}
        assert {v["name"]: v["value"] for v in plain.container(task)["env"]} == own
        assert "secretAsEnv" not in plain.pod(task)


@pytest.mark.parametrize(
    "text", ["12e4567", "1e5", "0o17", "0XB2", "5e5_", "-_6", "+1e3", "007", "1.", "y", "N", "on"]
)
def test_a_text_is_one_to_every_reader_of_yaml(text: str) -> None:
    # PyYAML takes these for texts where Go's parsers, seen in kubectl, find numbers and true.
    content = as_yaml([{"env": {"name": "COMMIT", "value": text}}])
    assert f"value: '{text}'" in content.decode()
    assert yaml.safe_load(content)["env"]["value"] == text


def test_numbers_and_plain_words_stay_what_they_are() -> None:
    values = [1, -2.5, 1e-7, True, None, "10Gi", "500m", "none", "s3://bucket/1e5"]
    content = as_yaml([values])
    assert yaml.safe_load(content) == values and b"'" not in content


def test_volumes_are_seen_by_all_tasks(plain: Compiled, full: Compiled) -> None:
    for task in TASKS:
        (mount,) = full.pod(task)["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("models", "/models")
        assert "pvcMount" not in plain.pod(task)


def test_training_has_shared_memory_in_memory(plain: Compiled, full: Compiled) -> None:
    for compiled, size in ((plain, "2Gi"), (full, "4Gi")):
        (mount,) = compiled.pod("train")["emptyDirMounts"]
        assert (mount["mountPath"], mount["medium"]) == ("/dev/shm", "Memory")
        assert mount["sizeLimit"] == size
        assert not any("emptyDirMounts" in compiled.pod(task) for task in TASKS - {"train"})


def test_a_run_has_a_workspace_and_kfp_mounts_it_where_training_keeps_checkpoints(
    plain: Compiled, full: Compiled
) -> None:
    workspace = full.platform["pipelineConfig"]["workspace"]
    assert workspace["size"] == "30Gi"
    assert workspace["kubernetes"]["pvcSpecPatch"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
    }
    patch = plain.platform["pipelineConfig"]["workspace"]["kubernetes"]["pvcSpecPatch"]
    assert "storageClassName" not in patch
    # KFP mounts it in the pods that are given a path below this.
    parameters = plain.spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["workspace"]["defaultValue"] == "/kfp-workspace"
    given = {
        name
        for name, task in plain.tasks.items()
        if "workspace" in task["inputs"].get("parameters", {})
    }
    assert given == TASKS


def test_what_a_retry_can_help_is_retried_for_as_long_as_training_may_take(
    plain: Compiled,
) -> None:
    policies = {name: task.get("retryPolicy") for name, task in plain.tasks.items()}
    assert policies.pop("push") is None and policies.pop("notify") is None
    for policy in policies.values():
        assert policy is not None and policy["maxRetryCount"] == 3
        assert policy["backoffDuration"] == "60s" and policy["backoffFactor"] == 2.0
        # Argo counts it from the start of the first attempt.
        assert int(policy["backoffMaxDuration"].rstrip("s")) >= 7 * 24 * 3600


def test_only_functions_of_their_inputs_are_cached(plain: Compiled) -> None:
    cached = {
        name for name, task in plain.tasks.items() if task["cachingOptions"].get("enableCache")
    }
    assert cached == {"preprocess", "train", "export"}


def test_the_exit_task_runs_however_the_others_end(plain: Compiled) -> None:
    root = plain.spec["root"]["dag"]["tasks"]
    assert set(root) == {"exit-handler-1", "notify"}
    assert root["notify"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_kfp_fills_in_the_run_where_a_task_is_given_it(plain: Compiled) -> None:
    # In the default of a parameter it would leave the placeholder as it is.
    for task in ("push", "notify"):
        given = plain.tasks[task]["inputs"]["parameters"]["run_id"]
        assert given["runtimeValue"]["constant"] == "{{$.pipeline_job_uuid}}"
    parameters = plain.spec["root"]["inputDefinitions"]["parameters"]
    assert "{{$" not in yaml.safe_dump(parameters)


def test_the_user_interface_has_names_and_descriptions_to_show(plain: Compiled) -> None:
    info = plain.spec["pipelineInfo"]
    assert info["displayName"] == "IMDB sentiment" and len(info["description"]) > 80
    parameters = plain.spec["root"]["inputDefinitions"]["parameters"]
    assert all(parameter["description"] for parameter in parameters.values())
    assert plain.tasks["train"]["taskInfo"]["name"] == "Train the RNN"
    names = {task["taskInfo"]["name"] for dag in plain.dags for task in dag["tasks"].values()}
    assert not {name for name in names if re.search(r"-\d+$", name)}


def test_this_machine_runs_the_same_pipeline_without_what_a_cluster_gives(
    tmp_path: Path,
) -> None:
    full = Compiled(compiled_pipeline(replace(OPTIONS, prepare_workspace=False)))
    compile_for_this_machine(tmp_path / "pipeline.yaml", IMAGE)
    here = Compiled((tmp_path / "pipeline.yaml").read_bytes())

    def wiring(compiled: Compiled) -> dict[str, Any]:
        spec = copy.deepcopy(compiled.spec)
        for executor in spec["deploymentSpec"]["executors"].values():
            executor["container"].pop("resources", None)
            executor["container"].pop("env", None)
        for part in (spec["root"], *spec["components"].values()):
            for task in part.get("dag", {}).get("tasks", {}).values():
                task.pop("retryPolicy", None)
                task.pop("taskInfo")
                # KFP's local runner has no workflow, and fails at the placeholder of its name.
                task.get("inputs", {}).get("parameters", {}).pop("workflow_name", None)
        return spec

    assert wiring(here) == wiring(full)
    assert "retryPolicy" not in yaml.safe_dump(here.spec)
    assert not any("resources" in here.container(task) for task in TASKS - {"prepare"})
    assert "prepare" not in here.tasks


def test_the_volume_is_made_writable_before_all_else_by_root_alone(plain: Compiled) -> None:
    assert plain.pod("prepare")["securityContext"] == {"runAsUser": "0"}
    assert not any("securityContext" in plain.pod(task) for task in TASKS - {"prepare"})
    assert plain.tasks["ingest"]["dependentTasks"] == ["prepare"]


@pytest.mark.parametrize(
    ("options", "prepares", "ttl"),
    [
        ({}, True, 86_400),
        ({"failed_run_ttl": 600}, True, 600),
        ({"failed_run_ttl": 0, "prepare_workspace": False}, False, None),
        # These refuse what they don't know of.
        ({"kfp_version": "2.16"}, True, None),
        ({"kfp_version": "2.15"}, False, None),
    ],
)
def test_a_pipeline_has_no_setting_that_its_kfp_does_not_know(
    options: dict[str, Any], prepares: bool, ttl: int | None
) -> None:
    compiled = Compiled(compiled_pipeline(KubernetesOptions(**options)))
    assert ("prepare" in compiled.tasks) is prepares
    assert compiled.platform["pipelineConfig"].get("resourceTtlOnFailure") == ttl
    assert not {"resourceTtlOnCompletion", "resourceTtlOnSuccess"} & {
        *compiled.platform["pipelineConfig"]
    }
