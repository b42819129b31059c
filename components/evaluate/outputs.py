"""What KFP and notify show of an evaluation."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared.outcome import note


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


def publish(result: Mapping[str, Any], workspace: str, evaluation: str, report: str) -> None:
    """Records what notify reports of an evaluation, and gives KFP its report.

    Args:
        result: of `evaluate`.
        workspace: the folder that the tasks of the run share.
        evaluation: the folder of the evaluation.
        report: the file that KFP shows.
    """
    shutil.copyfile(Path(evaluation) / "report.html", report)
    note(
        workspace,
        **{key: result[key] for key in ("source", "preset", "fingerprint", "metrics")},
        blessed=result["decision"]["blessed"],
        reasons=result["decision"]["reasons"],
        champion_version=result["champion_version"],
    )
