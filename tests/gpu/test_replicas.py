"""Two replicas on one GPU learn what one learns."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not Path("/proc/driver/nvidia/version").exists(), reason="this machine has no NVIDIA GPU"
)

_TRAIN = """
import json, sys
import tensorflow as tf
from components.shared.config import TrainConfig
from components.train.devices import make_strategy
from components.train.train import train
replicas, examples, vocabulary, out = int(sys.argv[1]), *sys.argv[2:]
gpu = tf.config.list_physical_devices("GPU")[0]
tf.config.set_visible_devices(gpu, "GPU")
part = tf.config.LogicalDeviceConfiguration(memory_limit=4096)
tf.config.set_logical_device_configuration(gpu, [part] * replicas)
assert make_strategy().num_replicas_in_sync == replicas
config = TrainConfig(
    cell="lstm", embedding_size=8, hidden_size=4, bigram_vocabulary_size=50,
    bigram_embedding_size=4, skip_connection=True, dropout_rate=0.2, word_dropout_rate=0.1,
    learning_rate=0.01, batch_size=32, num_epochs=2, accelerators=1)
print("RESULT", json.dumps(train(examples, vocabulary, config, out + "/model", out + "/run", None)))
"""


def train(prepared: Any, replicas: int, out: Path) -> dict[str, Any]:
    """Trains on so many logical devices of the first GPU; the history."""
    folders = [str(prepared.examples), str(prepared.vocabulary), str(out)]
    ended = subprocess.run(
        [sys.executable, "-c", _TRAIN, str(replicas), *folders],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    assert "fficient allreduce is not supported" not in ended.stdout + ended.stderr
    history: dict[str, Any] = json.loads(ended.stdout.rpartition("RESULT ")[2])
    return history


def test_two_logical_devices_give_the_losses_of_one_replica(prepared: Any, tmp_path: Path) -> None:
    one, two = (train(prepared, replicas, tmp_path / str(replicas)) for replicas in (1, 2))
    assert (one["devices"]["kind"], one["devices"]["count"]) == ("GPU", 1)
    assert (two["devices"]["kind"], two["devices"]["count"]) == ("GPU", 2)
    assert len(one["step_losses"]) == len(two["step_losses"]) > 10
    np.testing.assert_allclose(two["step_losses"], one["step_losses"], atol=2e-3)
