"""Training on a GPU: the same each time, resumed, and in what it learns the same as on a CPU."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.shared.artifacts import directory_sha256
from tests.benchmarks.gpu import measure_together

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not Path("/proc/driver/nvidia/version").exists(), reason="this machine has no NVIDIA GPU"
)

_TRAIN = """
import json, os, signal, sys
import numpy as np
import tensorflow as tf
from components.shared.config import TrainConfig
from components.shared.features import read_examples
from components.train import batches, fit, train as module
from components.train.trainer import Trainer
examples, vocabulary, out, cell, limit = sys.argv[1:]
# Each length of a batch is compiled anew.
batches.BUCKETS = 1
fit._CHECKPOINT_SECONDS = -1.0
steps, train_batch = [], Trainer.train_batch
def counted(*arguments):
    if len(steps) == int(limit):
        os.kill(os.getpid(), signal.SIGKILL)
    steps.append(None)
    return train_batch(*arguments)
Trainer.train_batch = counted
config = TrainConfig(
    cell=cell, embedding_size=16, hidden_size=16, bigram_vocabulary_size=50,
    bigram_embedding_size=4, skip_connection=True, dropout_rate=0.2, word_dropout_rate=0.1,
    learning_rate=0.01, per_replica_batch_size=32, num_epochs=6, early_stopping_patience=None)
trainers, make = [], module.Trainer
module.Trainer = lambda *arguments: trainers.append(make(*arguments)) or trainers[-1]
history = module.train(examples, vocabulary, config, out + "/model", out + "/run", out + "/kept")
validation = read_examples(examples, "validation")
batch = fit.pad(validation, np.arange(len(validation)), 32, False)
logits = trainers[-1].predict(batch.token_ids).tolist()
devices = [device.device_type for device in tf.config.list_logical_devices()]
print("RESULT", json.dumps({**history, "steps": len(steps), "logits": logits, "devices": devices}))
"""


def start(prepared: Any, out: Path, cell: str, limit: int, **environment: str) -> Any:
    """Starts a training that is killed before step `limit`."""
    folders = [str(prepared.examples), str(prepared.vocabulary), str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", _TRAIN, *folders, cell, str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        cwd=ROOT,
    )


def result(process: Any) -> dict[str, Any]:
    output, error = process.communicate()
    assert process.returncode == 0, error[-4000:]
    values: dict[str, Any] = json.loads(output.rpartition("RESULT ")[2])
    return values


@pytest.fixture(scope="module", params=["lstm", "min_gru"])
def trainings(request: Any, prepared: Any, tmp_path_factory: Any) -> dict[str, Any]:
    """Of one configuration: two whole trainings, one that is killed and resumed, one on the CPU."""
    root, cell, never = tmp_path_factory.mktemp(request.param), request.param, 10**6
    cut = start(prepared, root / "cut", cell, 13)
    started = {
        "first": start(prepared, root / "first", cell, never),
        "second": start(prepared, root / "second", cell, never),
        "cpu": start(prepared, root / "cpu", cell, never, CUDA_VISIBLE_DEVICES="-1"),
    }
    _, error = cut.communicate()
    assert cut.returncode == -signal.SIGKILL, error[-4000:]
    started["cut"] = start(prepared, root / "cut", cell, never)
    return {"root": root, **{name: result(process) for name, process in started.items()}}


def test_the_same_seed_gives_the_same_bytes(trainings: dict[str, Any]) -> None:
    root, first, second = trainings["root"], trainings["first"], trainings["second"]
    assert "GPU" in first["devices"]
    assert first["step_losses"] == second["step_losses"]
    assert directory_sha256(root / "first/model") == directory_sha256(root / "second/model")


def test_a_killed_training_is_resumed_to_the_same_bytes(trainings: dict[str, Any]) -> None:
    root, first, cut = trainings["root"], trainings["first"], trainings["cut"]
    assert cut["steps"] == first["steps"] - 13
    assert cut["step_losses"] == first["step_losses"]
    assert directory_sha256(root / "cut/model") == directory_sha256(root / "first/model")


def test_it_learns_what_a_cpu_learns(trainings: dict[str, Any]) -> None:
    gpu, cpu = trainings["first"], trainings["cpu"]
    assert "GPU" not in cpu["devices"]
    assert gpu["step_losses"][0] == pytest.approx(cpu["step_losses"][0], abs=1e-3)
    accuracies = [max(e["validation_accuracy"] for e in it["epochs"]) for it in (gpu, cpu)]
    assert min(accuracies) > 0.7
    # Three of the 40 reviews of validation.
    assert abs(accuracies[0] - accuracies[1]) <= 3.5 / 40


def test_the_exported_model_gives_what_the_trainer_gave(
    trainings: dict[str, Any], prepared: Any, tmp_path: Path
) -> None:
    script = """
import json, sys
import numpy as np
import tensorflow as tf
from components.export.export import export
from components.shared.features import read_examples
from components.shared.model_files import load_model
from components.train.fit import pad
model, vocabulary, examples, out = sys.argv[1:]
report = export(model, vocabulary, out)
validation = read_examples(examples, "validation")
ids = pad(validation, np.arange(len(validation)), 32, False).token_ids
print("RESULT", json.dumps([report["max_difference"], load_model(model)[0](ids).numpy().tolist()]))
"""
    folders = [trainings["root"] / "first/model", prepared.vocabulary, prepared.examples]
    command = [sys.executable, "-c", script, *folders, tmp_path / "saved"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-4000:]
    difference, logits = json.loads(ended.stdout.rpartition("RESULT ")[2])

    def probability(values: list[float]) -> np.ndarray:
        return 1.0 / (1.0 + np.exp(-np.array(values)))

    # The SavedModel's from the loaded model's, and the loaded model's from the trainer's.
    assert difference <= 1e-5
    found, wanted = probability(logits), probability(trainings["first"]["logits"])
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


def test_determinism_costs_no_more_than_a_fifth() -> None:
    names = ("lstm 64, 128", "loose lstm 64, 128")
    times = dict(measure_together([("trainer", name) for name in names], sys.executable))
    exact, loose = (times["trainer", name] for name in names)
    print(f"a step takes {exact:.2f} ms, {loose:.2f} ms without determinism")
    assert exact <= 1.2 * loose
