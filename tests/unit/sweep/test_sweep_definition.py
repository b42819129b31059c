"""The pipeline of a sweep, compiled. KFP's loader and schemas are the real ones."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.compile import compile_sweep_for_this_machine, compiled_pipeline, compiled_sweep
from pipeline.kubernetes import KubernetesOptions

OPTIONS = KubernetesOptions(
    accelerator_count=1,
    resources=("train.cpu=6", "train.memory=24Gi"),
    node_selector=("train:pool=training",),
)


@pytest.fixture(scope="module")
def package() -> bytes:
    return compiled_sweep(3, OPTIONS)


@pytest.fixture(scope="module")
def spec(package: bytes) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(yaml.safe_load_all(package)))
    return found


def test_kfp_loads_it_and_its_schemas_know_every_field(package: bytes) -> None:
    loaded = components.load_component_from_text(package.decode())
    assert set(loaded.component_spec.inputs) == {
        *("trials", "source", "serving_dir", "image", "workspace"),
        *("ingest_config", "preprocess_config"),
    }
    spec, platform = yaml.safe_load_all(package)
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(pod, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    assert package == compiled_sweep(3, OPTIONS)


def test_a_loop_over_the_trials_trains_on_what_was_preprocessed_once(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    assert {task["taskInfo"]["name"] for task in tasks.values()} == {
        "Prepare the volume", "Ingest the reviews", "Preprocess with Beam", "trials",
        "Compare the trials",
    }  # fmt: skip
    (loop,) = (task for task in tasks.values() if "parameterIterator" in task)
    assert loop["iteratorPolicy"]["parallelismLimit"] == 3
    items = loop["parameterIterator"]["items"]["inputParameter"]
    assert loop["inputs"]["parameters"][items]["componentInputParameter"] == "trials"
    artifacts = loop["inputs"]["artifacts"].values()
    assert {a["taskOutputArtifact"]["producerTask"] for a in artifacts} == {"preprocess"}
    inside = spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    assert list(inside) == ["trial"]
    asked = inside["trial"]["inputs"]["parameters"]["asked"]
    assert asked == {"componentInputParameter": loop["parameterIterator"]["itemInput"]}


def test_no_task_of_it_judges_by_test_or_promotes(spec: dict[str, Any]) -> None:
    executors = set(spec["deploymentSpec"]["executors"])
    own = {"exec-ingest", "exec-preprocess", "exec-trial", "exec-compare"}
    assert executors == own | {"exec-prepare"}


def test_the_shared_tasks_are_those_of_a_run(spec: dict[str, Any]) -> None:
    run = next(iter(yaml.safe_load_all(compiled_pipeline(OPTIONS))))
    for task in ("ingest", "preprocess"):
        for part, name in (("components", f"comp-{task}"), ("executors", f"exec-{task}")):
            here, there = (
                (s["components"] if part == "components" else s["deploymentSpec"]["executors"])
                for s in (spec, run)
            )
            assert here[name] == there[name]


def test_a_trial_is_given_what_train_is_given(package: bytes, spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    resources = executors["exec-trial"]["container"]["resources"]
    assert resources["resourceMemoryLimit"] == "24Gi" and resources["resourceCpuRequest"] == "6"
    assert resources["accelerator"]["resourceCount"] == "1"
    platform = list(yaml.safe_load_all(package))[1]["platforms"]["kubernetes"]
    pod = platform["deploymentSpec"]["executors"]["exec-trial"]
    assert pod["nodeSelector"]["labels"] == {"pool": "training"}
    assert pod["emptyDirMounts"][0]["mountPath"] == "/dev/shm"


@pytest.mark.parametrize(("parallelism", "mode"), [(1, "ReadWriteOnce"), (2, "ReadWriteMany")])
def test_trials_on_several_nodes_need_a_workspace_that_all_can_write_to(
    parallelism: int, mode: str
) -> None:
    platform = list(yaml.safe_load_all(compiled_sweep(parallelism, KubernetesOptions())))[1]
    workspace = platform["platforms"]["kubernetes"]["pipelineConfig"]["workspace"]
    assert workspace["kubernetes"]["pvcSpecPatch"]["accessModes"] == [mode]


def test_this_machine_runs_the_same_loop(tmp_path: Path, spec: dict[str, Any]) -> None:
    compile_sweep_for_this_machine(tmp_path / "sweep.yaml", 3)
    here = next(iter(yaml.safe_load_all((tmp_path / "sweep.yaml").read_bytes())))
    (name,) = (name for name in here["components"] if name.startswith("comp-for-loop"))
    trial, same = (s["components"][name]["dag"]["tasks"]["trial"] for s in (here, spec))
    assert trial["inputs"] == same["inputs"] and "retryPolicy" not in trial
