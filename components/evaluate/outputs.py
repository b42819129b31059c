"""What KFP shows of an evaluation."""

from collections.abc import Mapping
from typing import Any

from components.shared.config import EvaluateConfig, IngestConfig, PreprocessConfig, TrainConfig


def recorded_config(
    ingest: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    train: Mapping[str, Any],
    evaluate: Mapping[str, Any],
) -> dict[str, Any]:
    """The configuration of a run for its record, with KFP's doubles as the numbers they were."""
    return {
        "ingest": IngestConfig.from_mapping(ingest).to_mapping(),
        "preprocess": PreprocessConfig.from_mapping(preprocess).to_mapping(),
        "train": TrainConfig.from_mapping(train).to_mapping(),
        "evaluate": EvaluateConfig.from_mapping(evaluate).to_mapping(),
    }


def log_outputs(result: Mapping[str, Any], metrics: Any, classification: Any) -> str:
    """Fills KFP's `Metrics` and `ClassificationMetrics`; gives the task's telling figure."""
    for name, value in result["metrics"].items():
        if value is not None:
            metrics.log_metric(name, value)
    roc = result["roc"]
    classification.log_roc_curve(roc["fpr"], roc["tpr"], roc["thresholds"])
    classification.log_confusion_matrix(["negative", "positive"], result["confusion_matrix"])
    accuracy = result["metrics"]["accuracy"]
    figure = "no accuracy" if accuracy is None else f"test accuracy {accuracy:.4f}"
    return f"{figure}, {'BLESSED' if result['decision']['blessed'] else 'NOT_BLESSED'}"
