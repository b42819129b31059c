"""The KFP component of evaluate."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.shared.image import DEFAULT_IMAGE


@dsl.component(base_image=DEFAULT_IMAGE, install_kfp_package=False)
def evaluate(
    saved_model: Input[Model],
    reviews: Input[Dataset],
    serving_dir: str,
    source: str,
    preset: str,
    ingest_config: dict,
    preprocess_config: dict,
    train_config: dict,
    config: dict,
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    report: Output[HTML],
) -> NamedTuple("Outputs", [("blessed", bool)]):
    """Judge the candidate on the raw reviews of the test split, against the champion.

    Args:
        saved_model: The candidate.
        reviews: The prepared TFDS data set.
        serving_dir: The registry that holds the champion.
        source: Where the reviews are from, for the record.
        preset: The name of the configuration, for the record.
        ingest_config: The configuration of ingest, for the record.
        preprocess_config: The configuration of preprocess, for the record.
        train_config: The configuration of train, for the record.
        config: An EvaluateConfig as JSON: the gate's thresholds.
        evaluation: evaluation.json with every figure and the decision, and report.html.
        metrics: Accuracy, loss, AUC and more.
        classification: ROC curve and confusion matrix.
        report: What a person reads.

    Returns:
        blessed: Whether the gate lets the candidate be pushed.
    """
    import shutil
    from pathlib import Path
    from typing import NamedTuple

    from components.evaluate.evaluate import evaluate
    from components.shared import events
    from components.shared.config import (
        EvaluateConfig,
        IngestConfig,
        PreprocessConfig,
        TrainConfig,
    )
    from components.shared.errors import task_boundary

    with task_boundary():
        record = {
            "source": source,
            "preset": preset,
            # Through the classes, which turn KFP's doubles into the numbers they were.
            "config": {
                "ingest": IngestConfig.from_mapping(ingest_config).to_mapping(),
                "preprocess": PreprocessConfig.from_mapping(preprocess_config).to_mapping(),
                "train": TrainConfig.from_mapping(train_config).to_mapping(),
                "evaluate": EvaluateConfig.from_mapping(config).to_mapping(),
            },
        }
        result = evaluate(
            saved_model.path,
            reviews.path,
            serving_dir,
            EvaluateConfig.from_mapping(config),
            record,
            evaluation.path,
        )
        for name, value in result["metrics"].items():
            if value is not None:
                metrics.log_metric(name, value)
        roc = result["roc"]
        classification.log_roc_curve(roc["fpr"], roc["tpr"], roc["thresholds"])
        classification.log_confusion_matrix(["negative", "positive"], result["confusion_matrix"])
        shutil.copyfile(Path(evaluation.path) / "report.html", report.path)
        blessed = result["decision"]["blessed"]
        verdict = "BLESSED" if blessed else "NOT_BLESSED"
        accuracy = result["metrics"]["accuracy"]
        figure = "no accuracy" if accuracy is None else f"test accuracy {accuracy:.4f}"
        events.figure(f"{figure}, {verdict}")
    outputs = NamedTuple("Outputs", [("blessed", bool)])
    return outputs(blessed=blessed)
