"""The history of a training: JSON, TensorBoard logs and a picture."""

from pathlib import Path
from typing import Any

import tensorflow as tf
from matplotlib.figure import Figure

from components.shared.artifacts import write_json
from components.shared.recorded import HISTORY_FILE


def write_history(history: dict[str, Any], directory: Path) -> None:
    """Writes `history.json`, `tensorboard/` and `learning_curves.png` into `directory`."""
    write_json(directory / HISTORY_FILE, history)
    _write_tensorboard(history, directory / "tensorboard")
    _write_picture(history, directory / "learning_curves.png")


def _write_tensorboard(history: dict[str, Any], directory: Path) -> None:
    steps = max(1, len(history["step_losses"]) // len(history["epochs"]))
    for run, prefix in (("train", ""), ("validation", "validation_")):
        with tf.summary.create_file_writer(str(directory / run)).as_default():
            for epoch, figures in enumerate(history["epochs"], start=1):
                for name in ("loss", "accuracy"):
                    tf.summary.scalar(f"epoch/{name}", figures[prefix + name], epoch * steps)
            if run == "train":
                for step, loss in enumerate(history["step_losses"]):
                    tf.summary.scalar("step/loss", loss, step)


def _write_picture(history: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    epochs = range(1, len(history["epochs"]) + 1)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for label, key in (("train", name), ("validation", f"validation_{name}")):
            values = [figures[key] for figures in history["epochs"]]
            axes.plot(epochs, values, marker="o", label=label)
        axes.axvline(history["best_epoch"], color="grey", linestyle=":", label="best epoch")
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    figure.savefig(path, metadata={"Software": None})
