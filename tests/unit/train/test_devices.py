"""The devices of training: a promise that isn't kept ends it at once, with the cause."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from components.shared.config import TrainConfig
from components.shared.errors import Failure
from components.train import devices
from components.train.devices import describe_devices, library, make_strategy, require_accelerators
from components.train.train import train

ROOT = Path(__file__).parents[3]

without_gpu = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU"
)


@pytest.fixture
def gpu_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The CUDA libraries and a driver, as far as files show."""
    (tmp_path / "version").touch()
    monkeypatch.setattr(devices, "_DRIVER_FILE", tmp_path / "version")
    (tmp_path / "cudnn" / "lib").mkdir(parents=True)
    for name in devices.CUDA_LIBRARIES:
        (tmp_path / "cudnn" / "lib" / name).touch()
    monkeypatch.setattr(devices, "_WHEELS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@without_gpu
def test_training_that_was_promised_accelerators_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="accelerators: 2 promised, and TensorFlow sees 0: "):
        train(tmp_path, tmp_path, TrainConfig(accelerators=2), tmp_path, tmp_path, None)
    assert list(tmp_path.iterdir()) == []


@without_gpu
def test_a_pod_that_was_given_accelerators_holds_training_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMDB_PIPELINE_ACCELERATORS", "1")
    with pytest.raises(Failure, match="accelerators: 1 promised"):
        require_accelerators(0)
    monkeypatch.setenv("IMDB_PIPELINE_ACCELERATORS", "0")
    require_accelerators(0)


@without_gpu
def test_an_image_without_cuda_is_named(
    gpu_installation: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cudnn" / "lib" / "libcudnn.so.9").unlink()
    with pytest.raises(Failure, match=r"lacks CUDA \(libcudnn.so.9\)") as caught:
        require_accelerators(1)
    assert "driver" not in str(caught.value) and "CUDA_VISIBLE_DEVICES" not in str(caught.value)


@without_gpu
def test_a_missing_driver_is_named(
    gpu_installation: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "version").unlink()
    monkeypatch.setattr(devices, "_DRIVER_LIBRARY", "libnonesuch.so.1")
    with pytest.raises(Failure, match=r"no NVIDIA driver here \(libnonesuch.so.1\)") as caught:
        require_accelerators(1)
    assert "lacks CUDA" not in str(caught.value)


@without_gpu
def test_a_variable_that_hides_gpus_is_named(
    gpu_installation: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(Failure, match="CUDA_VISIBLE_DEVICES=-1 hides GPUs") as caught:
        require_accelerators(1)
    assert "driver" not in str(caught.value)


@without_gpu
def test_a_cause_that_is_not_known_is_said_to_be_so(gpu_installation: None) -> None:
    with pytest.raises(Failure, match="the driver shows no GPU; nvidia-smi"):
        require_accelerators(1)


@without_gpu
def test_the_command_names_the_cause_in_a_line(tmp_path: Path) -> None:
    for name in ("examples", "vocabulary"):
        (tmp_path / name).mkdir()
    folders = [f"--{name}={tmp_path / name}" for name in ("examples", "vocabulary")]
    folders += [f"--model={tmp_path / 'model'}", f"--model-run={tmp_path / 'run'}"]
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", "task", "train", "--accelerators=1", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Error: accelerators: 1 promised, and TensorFlow sees 0" in ended.stderr
    assert "Traceback" not in ended.stderr and ended.stdout == ""
    assert not (tmp_path / "model").exists()


def test_a_library_is_found_where_the_linker_looks_and_in_the_wheels(
    gpu_installation: None, tmp_path: Path
) -> None:
    assert library("libc.so.6") == "libc.so.6"
    assert library("libcudnn.so.9") == str(tmp_path / "cudnn" / "lib" / "libcudnn.so.9")
    assert library("libnonesuch.so.1") is None


def test_what_it_trains_on_is_described() -> None:
    described = describe_devices(make_strategy())
    assert described["kind"] in ("CPU", "GPU") and described["count"] >= 1
    assert described["name"].strip()
