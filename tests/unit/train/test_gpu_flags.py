"""XLA's flags for GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from components.train import gpu_flags
from components.train.gpu_flags import set_gpu_flags

OWN = " ".join(f"{name}={value}" for name, value in gpu_flags._FLAGS.items())


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (None, OWN),
        ("--xla_gpu_cuda_data_dir=/cuda", f"--xla_gpu_cuda_data_dir=/cuda {OWN}"),
        ("--xla_gpu_enable_triton_gemm=true", "--xla_gpu_enable_triton_gemm=true"),
    ],
)
def test_flags_are_added_to_the_users_where_there_is_a_gpu(monkeypatch, users, expected) -> None:
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if users:
        monkeypatch.setenv("XLA_FLAGS", users)
    set_gpu_flags()
    assert os.environ["XLA_FLAGS"] == expected


def test_without_a_gpu_none_are_set(monkeypatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    set_gpu_flags()
    assert "XLA_FLAGS" not in os.environ


def test_the_locked_tensorflow_has_the_flags() -> None:
    # XLA ends the process at a flag that it doesn't have.
    script = "import tensorflow as tf; print(tf.function(lambda: 1, jit_compile=True)().numpy())"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": OWN},
        cwd=Path(__file__).parents[3],
    )
    assert ended.returncode == 0 and ended.stdout.strip() == "1", ended.stderr
