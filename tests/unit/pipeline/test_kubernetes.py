"""The options of a cluster: what they take, and what they refuse."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import InputError
from pipeline.commands.kubernetes import kubernetes_options
from pipeline.kubernetes import DEFAULT_RESOURCES, KubernetesOptions, Toleration

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("image", "", ["--image ''"]),
        ("image", "an image", ["--image 'an image'"]),
        ("image", "imdb@sha256:12", ["--image"]),
        ("accelerator_type", "gpu!", ["--accelerator-type 'gpu!'", "nvidia.com/gpu"]),
        ("accelerator_count", -1, ["--accelerator-count -1", "0 or more"]),
        ("resources", ("train.gpu=1",), ["--resource 'train.gpu=1'", "TASK.cpu=NUMBER"]),
        ("resources", ("tune.cpu=1",), ["--resource", "the tasks are prepare, ingest"]),
        ("resources", ("train.memory=16",), ["--resource", "16Gi"]),
        ("resources", ("train.cpu=0",), ["--resource"]),
        ("node_selector", ("pool",), ["--node-selector 'pool'", "KEY=VALUE"]),
        ("node_selector", ("tune:pool=a",), ["--node-selector"]),
        ("tolerations", ("pool=a",), ["--toleration 'pool=a'", "NoSchedule"]),
        ("tolerations", ("pool=a:Never",), ["--toleration", "PreferNoSchedule"]),
        ("image_pull_secrets", ("Login",), ["--image-pull-secret 'Login'"]),
        ("workspace_size", "ten", ["--workspace-size 'ten'", "10Gi"]),
        ("workspace_storage_class", "Fast disk", ["--workspace-storage-class"]),
        ("shared_memory_size", "0Gi", ["--shared-memory-size"]),
        ("failed_run_ttl", -1, ["--failed-run-ttl -1", "0 or more"]),
        ("kfp_version", "2.14", ["--kfp-version '2.14'", "one of 2.15, 2.16, 2.17"]),
        ("env", ("A",), ["--env", "NAME=VALUE"]),
        ("env", ("A=1", "A=2"), ["A: give it once"]),
        ("env", ("NOTIFY_WEBHOOK_URL=x",), ["use --webhook-secret"]),
        ("volumes", ("claim",), ["--volume", "CLAIM:PATH"]),
        ("volumes", ("claim:models",), ["--volume", "absolute path"]),
        ("volumes", ("a:/models", "b:/models"), ["--volume 'b:/models'", "a path of its own"]),
        ("volumes", ("claim:/dev/shm/x",), ["--volume 'claim:/dev/shm/x'", "/dev/shm"]),
        ("volumes", ("claim:/dev/shm",), ["--volume 'claim:/dev/shm'", "not at or below"]),
        ("volumes", ("claim:/kfp-workspace/models",), ["--volume", "/kfp-workspace"]),
        ("webhook_secret", "chat", ["--webhook-secret", "SECRET:KEY"]),
    ],
)
def test_an_option_that_is_wrong_is_named(field: str, value: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        KubernetesOptions(**{field: value})
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("env", ("=hunter2",)),
        ("secret_env", ("PASSWORD=hunter2",)),
        ("webhook_secret", "https://chat.example/hunter2"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        KubernetesOptions(**{field: value})
    assert "hunter2" not in str(caught.value)


@given(
    key=st.from_regex(
        r"([a-z]{1,9}\.example/)?[A-Za-z][A-Za-z0-9._-]{0,20}[A-Za-z0-9]", fullmatch=True
    ),
    value=st.none() | st.from_regex(r"[A-Za-z0-9]{0,9}", fullmatch=True),
    effect=st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    task=st.sampled_from(["", *DEFAULT_RESOURCES]),
)
def test_a_toleration_is_read_as_kubectl_writes_taints(
    key: str, value: str | None, effect: str, task: str
) -> None:
    text = f"{key}:{effect}" if value is None else f"{key}={value}:{effect}"
    options = KubernetesOptions(tolerations=(f"{task}:{text}" if task else text,))
    expected = [Toleration(key, value, effect)]
    for name in DEFAULT_RESOURCES:
        assert options.tolerations_of(name) == (expected if task in ("", name) else [])


def test_volumes_may_stand_beside_and_below_one_another() -> None:
    volumes = ("a:/models", "b:/models/old", "a:/s3-copy")
    expected = [("a", "/models"), ("b", "/models/old"), ("a", "/s3-copy")]
    assert KubernetesOptions(volumes=volumes).mounts() == expected


def test_a_task_name_can_be_the_key_of_a_taint() -> None:
    options = KubernetesOptions(tolerations=("train:NoSchedule",))
    assert options.tolerations_of("push") == [Toleration("train", None, "NoSchedule")]


def test_the_command_line_gives_every_option() -> None:
    seen: list[KubernetesOptions] = []

    @click.command()
    @kubernetes_options
    @click.option("--other")
    def command(kubernetes: KubernetesOptions, other: str) -> None:
        seen.append(kubernetes)

    words = (
        "--image r.example/imdb:1 --accelerator-type a.b/c --accelerator-count 2 --other x "
        "--resource train.cpu=2 --resource push.memory=2Gi --node-selector a=b "
        "--toleration a:NoSchedule --image-pull-secret p --env A=b=c --secret-env S=s:k "
        "--webhook-secret w:url --volume claim:/mnt/models --workspace-size 1Gi "
        "--workspace-storage-class fast --shared-memory-size 1Gi"
    )
    runner = CliRunner()
    assert runner.invoke(command, words.split()).exit_code == 0
    assert runner.invoke(command, []).exit_code == 0
    assert seen == [
        KubernetesOptions(
            image="r.example/imdb:1",
            accelerator_type="a.b/c",
            accelerator_count=2,
            resources=("train.cpu=2", "push.memory=2Gi"),
            node_selector=("a=b",),
            tolerations=("a:NoSchedule",),
            image_pull_secrets=("p",),
            env=("A=b=c",),
            secret_env=("S=s:k",),
            webhook_secret="w:url",
            volumes=("claim:/mnt/models",),
            workspace_size="1Gi",
            workspace_storage_class="fast",
            shared_memory_size="1Gi",
        ),
        KubernetesOptions(),
    ]
    assert runner.invoke(command, ["--accelerator-count", "-1"]).exit_code == 2


def test_the_options_load_without_kfp() -> None:
    code = "import sys, pipeline.commands.kubernetes; sys.exit('kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
