"""What KFP shows of an evaluation."""

from collections.abc import Mapping
from typing import Any


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


def noted(result: Mapping[str, Any]) -> dict[str, Any]:
    """What of an evaluation is told when the run has ended."""
    return {
        **{key: result[key] for key in ("source", "preset", "fingerprint", "metrics")},
        "blessed": result["decision"]["blessed"],
        "reasons": result["decision"]["reasons"],
        "champion_version": result["champion_version"],
    }
