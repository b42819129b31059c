"""The course of a training: epochs, early stopping, the best epoch, checkpoints."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.shared import events
from components.shared.config import TrainConfig
from components.shared.features import Examples
from components.train.batches import (
    Batch,
    bucket_lengths,
    epoch_plan,
    evaluation_batches,
    global_batch_size,
    pad,
)
from components.train.checkpoint import load_checkpoint, save_checkpoint
from components.train.prefetch import prefetch
from components.train.trainer import Trainer

_EVALUATION_BATCH_SIZE = 256
_CHECKPOINT_SECONDS = 60.0
_PROGRESS_SECONDS = 2.0


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where training stands; with the trainer's variables, all that a checkpoint holds."""

    identity: dict[str, Any]
    """What is trained, on what, how."""
    epoch: int = 1
    """The current epoch, from 1."""
    step: int = 0
    """Batches of it that are done."""
    step_results: list[tuple[float, float]] = field(default_factory=list)
    """Loss and accuracy of each batch since the first."""
    epochs: list[dict[str, float]] = field(default_factory=list)
    """The figures of each epoch that is done."""
    best_epoch: int = 0
    """The one with the greatest validation accuracy, of equals the one with the least validation
    loss; 0 for none yet."""


class Fit:
    """Fits a trainer's model.

    Args:
        trainer: the trainer.
        config: its configuration.
        train: the examples to learn from.
        validation: the examples to choose the best epoch by.
        max_length: the greatest number of tokens in an example.
        epoch_ended: is called after each epoch.
        shape_cost: what a shape costs, see `bucket_lengths`.
    """

    def __init__(
        self,
        trainer: Trainer,
        config: TrainConfig,
        train: Examples,
        validation: Examples,
        max_length: int,
        epoch_ended: Callable[[], None] = lambda: None,
        shape_cost: int = 0,
    ) -> None:
        self._trainer = trainer
        self._epoch_ended = epoch_ended
        self._config = config
        self._train = train
        self._pad_left = config.padding == "left"
        self._batch_size = global_batch_size(config, trainer.replicas)
        batches = config.num_epochs * len(train) // self._batch_size
        self._buckets = (
            [max_length]
            if self._pad_left
            else bucket_lengths(train.lengths, max_length, batches, shape_cost)
        )
        buckets = sorted({*self._buckets, max_length})
        self._validation = list(
            evaluation_batches(validation, buckets, _EVALUATION_BATCH_SIZE, self._pad_left)
        )
        self._best: list[np.ndarray] = []
        self._reported = 0.0
        self._saved = time.monotonic()

    def run(self, identity: dict[str, Any], checkpoint_dir: Path | None) -> dict[str, Any]:
        """Trains to the end, from the checkpoint if there is one; leaves the best weights.

        Args:
            identity: what is trained, on what, how: JSON values.
            checkpoint_dir: where checkpoints are kept; None for none.

        Returns:
            `epochs`, `best_epoch` and `step_losses`, see `train`.
        """
        progress = self._restore(identity, checkpoint_dir) or Progress(identity=identity)
        while progress.epoch <= self._config.num_epochs and not self._is_over(progress):
            self._run_epoch(progress, checkpoint_dir)
            self._end_epoch(progress)
            if checkpoint_dir:
                self._save(progress, checkpoint_dir)
            self._epoch_ended()
        for weight, best in zip(self._trainer.kept, self._best, strict=True):
            weight.assign(best)
        return {
            "epochs": progress.epochs,
            "best_epoch": progress.best_epoch,
            "step_losses": [loss for loss, _ in progress.step_results],
        }

    def _is_over(self, progress: Progress) -> bool:
        patience = self._config.early_stopping_patience
        return patience is not None and len(progress.epochs) - progress.best_epoch >= patience

    def _run_epoch(self, progress: Progress, checkpoint_dir: Path | None) -> None:
        plan = epoch_plan(
            self._train.lengths,
            self._buckets,
            self._batch_size,
            self._config.seed,
            progress.epoch,
        )
        total = len(plan) * self._config.num_epochs
        results = []
        with closing(prefetch(self._make_batch, plan[progress.step :])) as batches:
            for batch in batches:
                step = len(plan) * (progress.epoch - 1) + progress.step
                results.append(self._trainer.train_batch(batch, self._learning_rate(step / total)))
                progress.step += 1
                self._report(progress, len(plan), results)
                if checkpoint_dir and time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
                    progress.step_results += _floats(results)
                    results.clear()
                    self._save(progress, checkpoint_dir)
        progress.step_results += _floats(results)

    def _make_batch(self, planned: tuple[int, np.ndarray]) -> Batch:
        """A batch of the plan, on the devices."""
        length, rows = planned
        return self._trainer.place(pad(self._train, rows, length, self._pad_left))

    def _end_epoch(self, progress: Progress) -> None:
        steps = np.array(progress.step_results[-progress.step :])
        loss, accuracy = steps.mean(axis=0).tolist()
        self._trainer.fit_mixture(self._validation)
        validation_loss, validation_accuracy = self._trainer.evaluate(self._validation)
        figures = {
            "loss": loss,
            "accuracy": accuracy,
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
        }
        progress.epochs.append(figures)
        best = progress.epochs[progress.best_epoch - 1] if progress.best_epoch else None
        if best is None or _merit(figures) > _merit(best):
            progress.best_epoch = progress.epoch
            self._best = [weight.numpy() for weight in self._trainer.kept]
        events.progress(
            f"epoch {progress.epoch}/{self._config.num_epochs}  loss {loss:.4f}  "
            f"accuracy {accuracy:.4f}  validation loss {validation_loss:.4f}  "
            f"validation accuracy {validation_accuracy:.4f}"
        )
        progress.epoch += 1
        progress.step = 0

    def _learning_rate(self, done: float) -> float:
        """The step size when a share `done` of all steps is behind."""
        if self._config.learning_rate_schedule == "linear":
            return self._config.learning_rate * (1.0 - done)
        return self._config.learning_rate

    def _report(self, progress: Progress, steps: int, results: list[Any]) -> None:
        now = time.monotonic()
        if now - self._reported < _PROGRESS_SECONDS:
            return
        self._reported = now
        loss, accuracy = np.mean(_floats(results[-20:]), axis=0)
        events.progress(
            f"epoch {progress.epoch}/{self._config.num_epochs}  step {progress.step}/{steps}  "
            f"loss {loss:.4f}  accuracy {accuracy:.4f}"
        )

    def _save(self, progress: Progress, checkpoint_dir: Path) -> None:
        save_checkpoint(checkpoint_dir, self._trainer.state, self._best, asdict(progress))
        self._saved = time.monotonic()

    def _restore(self, identity: dict[str, Any], checkpoint_dir: Path | None) -> Progress | None:
        if checkpoint_dir is None:
            return None
        loaded = load_checkpoint(checkpoint_dir, self._trainer.state, identity)
        if loaded is None:
            return None
        self._best, values = loaded
        progress = Progress(**values)
        events.progress(f"goes on at epoch {progress.epoch}, step {progress.step}")
        return progress


def _merit(figures: dict[str, float]) -> tuple[float, float]:
    """Greater for a better epoch. On a few thousand reviews accuracies are often equal."""
    return figures["validation_accuracy"], -figures["validation_loss"]


def _floats(results: list[Any]) -> list[tuple[float, float]]:
    return [tuple(result.numpy().tolist()) for result in results]
