"""The KFP component of train."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def train(
    examples: Input[Dataset],
    vocabulary: Input[Artifact],
    config: dict,
    workspace: str,
    model: Output[Model],
    model_run: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Train the RNN under MirroredStrategy, over all GPUs or on the CPU.

    Args:
        examples: TFRecords of token ids by split.
        vocabulary: The vocabulary that they were encoded with.
        config: A TrainConfig as JSON.
        workspace: The folder that the tasks of the run share; keeps the checkpoints, so that a
            retry goes on where training was cut off.
        model: The Keras model of the best epoch.
        model_run: TensorBoard logs and the history by epoch.
        metrics: Figures of the best epoch.
    """
    from pathlib import Path

    from components.shared import events
    from components.shared.accelerators import devices_text
    from components.shared.config import TrainConfig
    from components.shared.running import running
    from components.train.train import train

    with running(workspace, "train"):
        history = train(
            examples.path,
            vocabulary.path,
            TrainConfig.from_mapping(config),
            model.path,
            model_run.path,
            Path(workspace) / "checkpoints",
        )
        best = history["epochs"][history["best_epoch"] - 1]
        for name, value in best.items():
            metrics.log_metric(name, value)
        devices = devices_text(history["devices"])
        best_epoch = history["best_epoch"]
        model.metadata.update(framework="keras", best_epoch=best_epoch, devices=devices)
        events.figure(
            f"validation accuracy {best['validation_accuracy']:.4f} "
            f"at epoch {best_epoch} of {len(history['epochs'])}; {devices}"
        )


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def trial(
    examples: Input[Dataset],
    vocabulary: Input[Artifact],
    asked: dict,
    workspace: str,
    model_run: Output[Artifact],
    metrics: Output[Metrics],
) -> dict:
    """Train one configuration of a sweep, and report its figures on validation.

    A training that fails is a result, too, and doesn't fail the task.

    Args:
        examples: TFRecords of token ids by split.
        vocabulary: The vocabulary that they were encoded with.
        asked: The trial's number, and its configuration, a TrainConfig as JSON.
        workspace: The folder that the tasks of the run share; keeps the checkpoints.
        model_run: TensorBoard logs and the history by epoch.
        metrics: Figures of the best epoch.

    Returns:
        The trial's number, and its figures or what went wrong.
    """
    from pathlib import Path

    from components.shared import events
    from components.shared.errors import task_boundary
    from components.train.trial import try_out

    number = int(asked["number"])
    with task_boundary():
        found = try_out(
            examples.path,
            vocabulary.path,
            asked["config"],
            model_run.path,
            Path(workspace) / "trials" / str(number) / "checkpoints",
        )
        if "error" in found:
            events.figure(f"failed: {found['error']}")
        else:
            for name, value in found.items():
                metrics.log_metric(name, value)
            events.figure(
                f"validation accuracy {found['validation_accuracy']:.4f} "
                f"at epoch {found['best_epoch']} of {found['epochs']}"
            )
    return {"number": number, **found}
