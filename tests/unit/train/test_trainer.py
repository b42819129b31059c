"""Training: the same whatever the replicas, wherever it was cut off, however often it runs."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from components.shared.artifacts import directory_sha256
from components.shared.config import TrainConfig
from components.shared.errors import InputError
from components.shared.features import Examples, Features, read_examples
from components.shared.model_files import load_model
from components.shared.recurrent_layer import Target
from components.train import batches, fit
from components.train import train as train_module
from components.train.devices import make_strategy
from components.train.shards import shards_of
from components.train.train import build_model, train
from components.train.trainer import Trainer

# Small, as each shape of batch is compiled anew in each training.
CONFIG = TrainConfig(
    cell="simple_rnn",
    bidirectional=False,
    embedding_size=8,
    hidden_size=4,
    bigram_vocabulary_size=50,
    bigram_embedding_size=4,
    skip_connection=True,
    dropout_rate=0.2,
    word_dropout_rate=0.1,
    learning_rate=0.01,
    batch_size=16,
    num_epochs=2,
)

SELF_TRAINING = replace(CONFIG, self_training=1, linear_ngrams=1, num_epochs=1)

_REPLICAS = """
import json, sys
import tensorflow as tf
replicas, batch_size, examples, vocabulary, out, config, target = sys.argv[1:]
cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
tf.config.set_logical_device_configuration(cpu, logical)
from components.shared.config import TrainConfig
from components.train import batches, trainer
from components.train.devices import make_strategy
from components.train.train import train
batches.BUCKETS = 2
trainer.target_of = lambda strategy: target
assert make_strategy().num_replicas_in_sync == int(replicas)
config = TrainConfig.from_mapping({**json.loads(config), "per_replica_batch_size": int(batch_size)})
history = train(examples, vocabulary, config, out + "/model", out + "/run", None)
print("RESULT", json.dumps(history))
"""


def train_with_replicas(
    prepared, replicas: int, config: TrainConfig, out: Path, target: str = "cpu"
) -> dict:
    arguments = [str(replicas), str(32 // replicas), str(prepared.examples),
                 str(prepared.vocabulary), str(out), json.dumps(config.to_mapping()),
                 target]  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", _REPLICAS, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.rpartition("RESULT ")[2])


@pytest.fixture(scope="module")
def one_replica(prepared, tmp_path_factory) -> dict:
    return train_with_replicas(prepared, 1, CONFIG, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_change_nothing(prepared, one_replica, tmp_path, replicas) -> None:
    several = train_with_replicas(prepared, replicas, CONFIG, tmp_path)
    assert len(one_replica["step_losses"]) >= 20
    np.testing.assert_allclose(several["step_losses"], one_replica["step_losses"], rtol=2e-4)


def test_replicas_change_nothing_of_what_a_gpu_computes(prepared, one_replica, tmp_path) -> None:
    several = train_with_replicas(prepared, 2, CONFIG, tmp_path, "gpu")
    np.testing.assert_allclose(several["step_losses"], one_replica["step_losses"], rtol=2e-4)


@pytest.fixture(autouse=True)
def few_buckets(monkeypatch) -> None:
    # Each length of a batch is compiled anew in each training, which takes most of its time.
    monkeypatch.setattr(batches, "BUCKETS", 2)


def run(
    prepared, root: Path, config: TrainConfig = CONFIG, checkpoints: Path | None = None
) -> dict:
    return train(
        prepared.examples, prepared.vocabulary, config, root / "model", root / "run", checkpoints
    )


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(prepared, tmp_path) -> None:
    first = run(prepared, tmp_path / "a")
    assert run(prepared, tmp_path / "b") == first
    assert directory_sha256(tmp_path / "a/model") == directory_sha256(tmp_path / "b/model")
    other = TrainConfig.from_mapping({**CONFIG.to_mapping(), "seed": 1})
    assert run(prepared, tmp_path / "c", other)["step_losses"] != first["step_losses"]


class Killed(Exception):
    pass


@pytest.fixture
def step(monkeypatch):
    """`step(limit)` makes training checkpoint each step and die after `limit`; gives the steps."""
    train_batch = Trainer.train_batch
    monkeypatch.setattr(fit, "_CHECKPOINT_SECONDS", -1.0)

    def limited(limit: int) -> list[int]:
        steps: list[int] = []

        def dying(*arguments):
            if len(steps) == limit:
                raise Killed
            steps.append(len(steps))
            return train_batch(*arguments)

        monkeypatch.setattr(Trainer, "train_batch", dying)
        return steps

    return limited


@pytest.mark.parametrize("limit", [3, 11])
def test_an_interrupted_training_reaches_the_same_bytes(prepared, tmp_path, step, limit) -> None:
    whole = run(prepared, tmp_path / "whole")
    checkpoints = tmp_path / "checkpoints"
    step(limit)
    with pytest.raises(Killed):
        run(prepared, tmp_path / "cut", checkpoints=checkpoints)
    assert not (tmp_path / "cut/model").exists()
    steps = step(10_000)
    assert run(prepared, tmp_path / "cut", checkpoints=checkpoints) == whole
    assert len(steps) == len(whole["step_losses"]) - limit
    assert directory_sha256(tmp_path / "cut/model") == directory_sha256(tmp_path / "whole/model")
    assert not checkpoints.exists()  # they have served


def test_an_interrupted_self_training_reaches_the_same_bytes(prepared, tmp_path, step) -> None:
    config = replace(SELF_TRAINING, self_training=2)
    steps = step(10_000)
    whole = run(prepared, tmp_path / "whole", config)
    total = len(steps)
    rows = Features.load(prepared.examples).rows
    first, later = rows["train"] // 16, (rows["train"] + rows["unsupervised"]) // 16
    assert (total, len(whole["step_losses"])) == (first + 2 * later, later)
    # Within each of the three models.
    limits = [3, first, later]
    for limit in limits:
        step(limit)
        with pytest.raises(Killed):
            run(prepared, tmp_path / "cut", config, tmp_path / "checkpoints")
    steps = step(10_000)
    again = run(prepared, tmp_path / "cut", config, tmp_path / "checkpoints")
    assert again == whole
    assert len(steps) == total - sum(limits)
    assert directory_sha256(tmp_path / "cut/model") == directory_sha256(tmp_path / "whole/model")
    assert not (tmp_path / "checkpoints").exists()


def test_a_student_learns_what_its_teacher_says(prepared, tmp_path, monkeypatch) -> None:
    taught: list[Examples] = []
    fit_linear = train_module.fit_linear

    def see(examples: Examples, *arguments):
        taught.append(examples)
        return fit_linear(examples, *arguments)

    learned: list[np.ndarray] = []
    train_batch = Trainer.train_batch

    def note(trainer: Trainer, batch: batches.Batch, rate: float):
        learned.extend(make_strategy().experimental_local_results(batch.labels))
        return train_batch(trainer, batch, rate)

    monkeypatch.setattr(train_module, "fit_linear", see)
    monkeypatch.setattr(Trainer, "train_batch", note)
    run(prepared, tmp_path, SELF_TRAINING)
    first, second = taught
    rows = len(first)
    np.testing.assert_array_equal(second.labels[:rows], first.labels)
    told, unlabelled = second.labels[rows:], read_examples(prepared.examples, "unsupervised")
    np.testing.assert_array_equal(second.token_ids[second.offsets[rows] :], unlabelled.token_ids)
    assert 0 < told.min() < 0.4 and 0.6 < told.max() < 1
    # The words that tell one label from the other in train.
    labels = np.repeat(first.labels, first.lengths)
    good, bad = (1 + np.bincount(first.token_ids[labels == y], minlength=60) for y in (1, 0))
    sides = (good > 3 * bad).astype(int) - (bad > 3 * good)
    sums = np.add.reduceat(sides[unlabelled.token_ids], unlabelled.offsets[:-1])
    assert told[sums > 0].mean() > 0.6 > 0.4 > told[sums < 0].mean()
    # The RNN learns the probabilities, too.
    told = np.concatenate(learned)
    assert ((told > 0) & (told < 1)).any()


def test_another_trainings_checkpoint_is_not_taken(prepared, tmp_path, step) -> None:
    step(5)
    with pytest.raises(Killed):
        run(prepared, tmp_path, checkpoints=tmp_path / "checkpoints")
    step(10_000)
    other = TrainConfig.from_mapping({**CONFIG.to_mapping(), "seed": 1})
    expected = run(prepared, tmp_path / "fresh", other)
    assert run(prepared, tmp_path / "taken", other, tmp_path / "checkpoints") == expected


def test_the_best_epoch_is_kept_and_patience_ends_training(prepared, tmp_path) -> None:
    config = TrainConfig.from_mapping(
        {
            **CONFIG.to_mapping(),
            "num_epochs": 12,
            "early_stopping_patience": 2,
            "learning_rate": 0.05,
        }
    )
    history = run(prepared, tmp_path, config)
    accuracies = [epoch["validation_accuracy"] for epoch in history["epochs"]]
    losses = [epoch["validation_loss"] for epoch in history["epochs"]]
    best = history["best_epoch"]
    assert (accuracies[best - 1], -losses[best - 1]) == max(
        (accuracy, -loss) for accuracy, loss in zip(accuracies, losses, strict=True)
    )
    assert len(accuracies) == min(12, best + 2)
    model, features = load_model(tmp_path / "model")
    examples = read_examples(prepared.examples, "validation")
    rows = np.split(examples.token_ids, examples.offsets[1:-1])
    token_ids = tf.ragged.constant([row.tolist() for row in rows], dtype=tf.int32).to_tensor()
    right = (model(token_ids).numpy() >= 0) == (examples.labels == 1)
    assert right.mean() == pytest.approx(accuracies[best - 1])
    assert features == Features.load(prepared.examples)


def test_of_epochs_of_equal_accuracy_that_of_the_least_loss_is_kept(
    prepared, tmp_path, monkeypatch
) -> None:
    # Ties, as real reviews have them, can't be made on purpose: the figures are given here.
    figures = iter([(0.5, 0.8), (0.4, 0.8), (0.45, 0.8), (0.3, 0.7), (0.2, 0.9)])
    monkeypatch.setattr(Trainer, "evaluate", lambda *_: next(figures))
    config = replace(CONFIG, num_epochs=5, early_stopping_patience=2)
    history = run(prepared, tmp_path, config)
    assert (history["best_epoch"], len(history["epochs"])) == (2, 4)


def test_training_learns(prepared, tmp_path) -> None:
    change = {"learning_rate": 0.02, "num_epochs": 6, "early_stopping_patience": None}
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), **change, "dropout_rate": 0.0})
    first, *_, last = run(prepared, tmp_path, config)["epochs"]
    assert last["loss"] < 0.7 * first["loss"] and last["accuracy"] > 0.75 > first["accuracy"]
    assert (tmp_path / "run/learning_curves.png").stat().st_size > 10_000
    assert list((tmp_path / "run/tensorboard/train").glob("events*"))


@pytest.mark.parametrize(
    ("rows", "devices", "shards"),
    [
        (32, ["/device:CPU:0"], [slice(0, 16), slice(16, 32)]),
        (33, ["/device:CPU:0"], [slice(0, 33)]),
        (32, ["/device:CPU:0", "/device:CPU:1"], [slice(0, 32)]),
        (32, ["/device:CPU:0", "/device:CPU:1", "/device:CPU:2"], [slice(0, 32)]),
        (32, ["/device:GPU:0"], [slice(0, 32)]),
    ],
)
def test_a_batch_is_cut_where_there_are_cores_to_spare(rows, devices, shards) -> None:
    strategy = SimpleNamespace(
        extended=SimpleNamespace(worker_devices=devices), num_replicas_in_sync=len(devices)
    )
    assert shards_of(rows, strategy) == shards


@pytest.mark.parametrize("target", ["cpu", "gpu"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru", "min_gru"])
@pytest.mark.parametrize("pooling", ["last", "max_mean"])
def test_a_step_takes_the_gradient_of_the_mean_loss(
    prepared, cell, pooling, layers, target
) -> None:
    """On a CPU of a model whose tokens are projected once each, as those of `seed` are."""
    config = TrainConfig(
        cell=cell, embedding_size=6, hidden_size=3, num_layers=layers, pooling=pooling,
        dropout_rate=0.0, clip_norm=None, lazy_embedding_updates=False,
    )  # fmt: skip
    strategy = make_strategy()
    with strategy.scope():
        model = build_model(config, 60, np.zeros(0, np.int64))
    batch = fit.pad(read_examples(prepared.examples, "train"), np.arange(10), 16, False)
    with tf.GradientTape() as tape:
        logits = model.logits(model.embed(tf.constant(batch.token_ids)), mask_of(batch))
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=batch.labels, logits=logits)
        loss = tf.reduce_mean(losses)
    trainer = Trainer(model, config, strategy, target)
    expected = tape.gradient(loss, trainer.weights)
    trainer.train_batch(batch, 0.01)
    first_moments = trainer.optimizer.state[1::2]
    for moment, gradient in zip(first_moments, expected, strict=True):
        found, wanted = moment.numpy() / 0.1, tf.convert_to_tensor(gradient).numpy()
        assert np.abs(wanted).max() > 1e-7
        np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("change", [{}, {"lazy_embedding_updates": False}, {"clip_norm": None}])
def test_a_gpus_steps_are_those_of_a_cpu(prepared, change) -> None:
    config = replace(CONFIG, cell="min_gru", **change)
    examples, found = read_examples(prepared.examples, "train"), {}
    for target in ("cpu", "gpu"):
        strategy = make_strategy()
        with strategy.scope():
            model = build_model(config, 60, np.arange(200, 250))
        trainer = Trainer(model, config, strategy, target)
        for step in range(3):
            # A row that a later batch doesn't use must not move in it.
            batch = fit.pad(examples, np.arange(16 * step, 16 * step + 16), 16, False)
            trainer.train_batch(batch, 0.01)
        found[target] = [variable.numpy() for variable in trainer.state]
        found[target].append(trainer.predict(batch.token_ids))
    for ours, theirs in zip(found["gpu"], found["cpu"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_compiled_part_of_a_step_has_no_scatter(target) -> None:
    # XLA makes a loop over all rows of it on a GPU, where operations have to be deterministic.
    strategy = make_strategy()
    with strategy.scope():
        model = build_model(CONFIG, 60, np.arange(200, 250))
    trainer = Trainer(model, CONFIG, strategy, target)
    token_ids, labels = tf.ones([4, 8], tf.int32), tf.zeros([4])
    places = model.indices(token_ids)
    seed, first_row = tf.constant([1, 2]), tf.constant(0)
    rest = (tf.transpose(token_ids != 0), labels, seed, first_row, 4)
    if target == "gpu":
        ir = trainer._whole_gradients.experimental_get_compiler_ir(places, *rest)
    else:
        padded = {name: tf.zeros([50, table.shape[1]]) for name, table in model.tables.items()}
        ir = trainer._gradients.experimental_get_compiler_ir(padded, places, *rest)
    hlo = ir(stage="hlo")
    assert "dot(" in hlo and "scatter" not in hlo


def test_bfloat16_is_computed_where_a_device_has_it(prepared, capsys) -> None:
    config = replace(CONFIG, cell="lstm", precision="bfloat16", dropout_rate=0.0, hidden_size=8)
    batch = fit.pad(read_examples(prepared.examples, "train"), np.arange(16), 16, False)
    plain = replace(config, precision="float32")
    targets: list[tuple[TrainConfig, Target]] = [(config, "gpu"), (config, "cpu"), (plain, "cpu")]
    losses, moments = [], []
    for given, target in targets:
        strategy = make_strategy()
        with strategy.scope():
            model = build_model(given, 60, np.zeros(0, np.int64))
        trainer = Trainer(model, given, strategy, target)
        losses.append(float(trainer.train_batch(batch, 0.0)[0]))
        moments.append(np.concatenate([m.numpy().ravel() for m in trainer.optimizer.state[1::2]]))
        assert {weight.dtype for weight in trainer.state} == {tf.float32, tf.int64}
    assert "no device here has it; computes in float32" in capsys.readouterr().out
    low, warned, full = moments
    np.testing.assert_array_equal(warned, full)
    assert 0 < np.linalg.norm(low - full) < 0.05 * np.linalg.norm(full)
    assert losses[0] == pytest.approx(losses[2], rel=1e-3)


def mask_of(batch: batches.Batch) -> tf.Tensor:
    return tf.transpose(tf.not_equal(batch.token_ids, 0))


def test_gradients_are_clipped_to_the_norm(prepared) -> None:
    config = TrainConfig.from_mapping({**CONFIG.to_mapping(), "clip_norm": 1e-6})
    strategy = make_strategy()
    with strategy.scope():
        model = build_model(config, 60, np.zeros(0, np.int64))
    trainer = Trainer(model, config, strategy)
    examples = read_examples(prepared.examples, "train")
    trainer.train_batch(fit.pad(examples, np.arange(32), 32, False), 0.01)
    first_moments = trainer.optimizer.state[1::2]
    norm = np.sqrt(sum((slot.numpy() ** 2).sum() for slot in first_moments))
    assert norm == pytest.approx(0.1 * 1e-6, rel=1e-3)


def test_a_vocabulary_of_another_run_is_refused(prepared, tmp_path) -> None:
    (tmp_path / "vocabulary.txt").write_text("<pad>\n<unk>\nother\n")
    with pytest.raises(InputError, match="not the vocabulary of 60 tokens"):
        train(prepared.examples, tmp_path, CONFIG, tmp_path / "model", tmp_path / "run", None)
    assert not (tmp_path / "model").exists()
