"""Checkpoints of training: one file that appears whole, and gives back every bit."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

CHECKPOINT_FILE = "checkpoint.npz"
REGIONS_FILE = "regions.npz"
TEACHER = "teacher-{}"
LABELS_FILE = "labels.npz"
_PROGRESS = "progress"


def save_checkpoint(
    directory: Path,
    state: list[tf.Variable],
    best: list[np.ndarray],
    progress: dict[str, Any],
) -> None:
    """Replaces the checkpoint in `directory`.

    Args:
        directory: where it goes; made if need be.
        state: the variables of the trainer.
        best: the weights of the best epoch so far; empty before the first has ended.
        progress: where training stands, as JSON values.
    """
    arrays = {f"state_{i}": variable.numpy() for i, variable in enumerate(state)}
    arrays.update({f"best_{i}": array for i, array in enumerate(best)})
    _write(directory / CHECKPOINT_FILE, arrays, progress)


def load_checkpoint(
    directory: Path, state: list[tf.Variable], identity: dict[str, Any]
) -> tuple[list[np.ndarray], dict[str, Any]] | None:
    """Puts the checkpoint's values into `state`.

    Args:
        directory: where `save_checkpoint` put it.
        state: the variables of the trainer.
        identity: what the checkpoint's `progress["identity"]` must be; another training's
            checkpoint is not this one's.

    Returns:
        The best weights and the progress; None where there is no checkpoint of this training.
    """
    path = directory / CHECKPOINT_FILE
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        progress = json.loads(arrays[_PROGRESS].tobytes())
        if progress["identity"] != identity:
            return None
        for i, variable in enumerate(state):
            variable.assign(arrays[f"state_{i}"])
        best = [arrays[f"best_{i}"] for i in range(sum(n.startswith("best_") for n in arrays))]
    return best, progress


def kept(
    path: Path | None, identity: dict[str, Any], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `make` gives: made once, however often training is cut off after that.

    Args:
        path: the file that keeps it; None to make it each time.
        identity: what it is made of, and how, as JSON values; of another one it is made anew.
        make: makes the arrays.
    """
    if path is not None and path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            if json.loads(arrays[_PROGRESS].tobytes()) == identity:
                return {name: arrays[name] for name in arrays if name != _PROGRESS}
    made = make()
    if path is not None:
        _write(path, made, identity)
    return made


def _write(path: Path, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """Writes arrays, and JSON values beside them, to a file that appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.partial")
    encoded = np.frombuffer(json.dumps(values).encode(), np.uint8)
    everything: dict[str, Any] = {**arrays, _PROGRESS: encoded}
    try:
        with staging.open("wb") as file:
            np.savez(file, **everything)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
