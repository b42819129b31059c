"""How good predictions are: figures of plain arrays, with nothing about where they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import roc_curve as sklearn_roc_curve

Metrics = dict[str, float | None]

CALIBRATION_BINS = 15
"""As in Guo et al., "On Calibration of Modern Neural Networks" (2017)."""

MAX_ROC_POINTS = 200
LENGTH_QUANTILES = (0.25, 0.5, 0.75)
LABEL_NAMES = ("negative", "positive")

_NAMES = (
    "accuracy",
    "loss",
    "auc",
    "precision",
    "recall",
    "f1",
    "expected_calibration_error",
    "brier_score",
)

# Keras's: a certain and wrong prediction costs 16, not infinity.
_LOSS_EPSILON = 1e-7


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says of some reviews, in their order."""

    probabilities: np.ndarray
    """float64 `[reviews]`: of being positive."""

    labels: np.ndarray
    """int64 `[reviews]`: 0 = negative, 1 = positive."""

    @classmethod
    def of_probabilities(cls, probabilities: np.ndarray) -> Self:
        """Takes positive from a probability of 0.5 on."""
        return cls(probabilities.astype(np.float64), (probabilities >= 0.5).astype(np.int64))

    @property
    def valid(self) -> np.ndarray:
        """Whether each, bool `[reviews]`, is a probability from 0 to 1 and a label."""
        within = (self.probabilities >= 0) & (self.probabilities <= 1)
        valid: np.ndarray = within & np.isin(self.labels, (0, 1))
        return valid

    def correct(self, labels: np.ndarray) -> np.ndarray:
        """Whether each, bool `[reviews]`, has the true label; what isn't valid is wrong."""
        return self.valid & (self.labels == labels)

    def __getitem__(self, rows: np.ndarray) -> "Predictions":
        """The predictions of some of the reviews, by index or mask."""
        return Predictions(self.probabilities[rows], self.labels[rows])


def describe(labels: np.ndarray, predictions: Predictions, words: np.ndarray) -> dict[str, Any]:
    """All that is known of a model on some reviews, as JSON values.

    Args:
        labels: int64 `[reviews]`, the true ones, at least one.
        predictions: the model's.
        words: int64 `[reviews]`, the words of each.

    Returns:
        `metrics`, `slices`, `roc`, `confusion_matrix` and `calibration`, as the functions of this
        module give them, and `invalid_predictions`, how many aren't a probability and a label.
    """
    return {
        "metrics": measure(labels, predictions),
        "slices": measure_slices(labels, predictions, words),
        "roc": roc_curve(labels, predictions),
        "confusion_matrix": confusion_matrix(labels, predictions),
        "calibration": calibration(labels, predictions),
        "invalid_predictions": int(np.sum(~predictions.valid)),
    }


def measure(labels: np.ndarray, predictions: Predictions) -> Metrics:
    """The figures of a model on some reviews.

    Args:
        labels: int64 `[reviews]`, the true ones, at least one.
        predictions: the model's.

    Returns:
        Accuracy, loss (binary cross-entropy, in nats), AUC, precision, recall and F1 of positive,
        expected calibration error and Brier score. All are None where a prediction isn't valid,
        so that no threshold can be passed; AUC also where all reviews have the same label.
    """
    if not predictions.valid.all():
        return dict.fromkeys(_NAMES)
    said, probabilities = predictions.labels, predictions.probabilities
    clipped = np.clip(probabilities, _LOSS_EPSILON, 1 - _LOSS_EPSILON)
    both = len(np.unique(labels)) == 2
    figures = {
        "accuracy": accuracy_score(labels, said),
        "loss": log_loss(labels, clipped, labels=(0, 1)),
        "auc": roc_auc_score(labels, probabilities) if both else None,
        "precision": precision_score(labels, said, zero_division=0),
        "recall": recall_score(labels, said, zero_division=0),
        "f1": f1_score(labels, said, zero_division=0),
        "expected_calibration_error": expected_calibration_error(calibration(labels, predictions)),
        "brier_score": brier_score_loss(labels, probabilities, labels=(0, 1)),
    }
    return {name: None if value is None else float(value) for name, value in figures.items()}


def calibration(labels: np.ndarray, predictions: Predictions) -> list[dict[str, Any]]:
    """How often reviews are positive, by the probability that they were given.

    Returns:
        A row for each of 15 equally wide bins of the probability that holds any review: `low`,
        `high`, `reviews`, `mean_probability`, `positive_fraction`. Empty where a prediction
        isn't valid.
    """
    if not predictions.valid.all():
        return []
    probabilities = predictions.probabilities
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "low": float(edges[index]),
            "high": float(edges[index + 1]),
            "reviews": int(np.sum(bins == index)),
            "mean_probability": float(np.mean(probabilities[bins == index])),
            "positive_fraction": float(np.mean(labels[bins == index])),
        }
        for index in np.unique(bins)
    ]


def expected_calibration_error(rows: Sequence[Mapping[str, Any]]) -> float:
    """The mean distance of probability and frequency over the rows of `calibration`.

    Guo et al. (2017) bin the confidence in the predicted class; of two classes, the probability
    of positive says the same and also tells on which side a model is too sure.
    """
    weights = [row["reviews"] for row in rows]
    distances = [abs(row["mean_probability"] - row["positive_fraction"]) for row in rows]
    return float(np.average(distances, weights=weights))


def confusion_matrix(labels: np.ndarray, predictions: Predictions) -> list[list[int]]:
    """Counts `[[true negatives, false positives], [false negatives, true positives]]`.

    Reviews without a valid prediction are in none of the four.
    """
    valid = predictions.valid
    if not valid.any():
        return [[0, 0], [0, 0]]
    counts = sklearn_confusion_matrix(labels[valid], predictions.labels[valid], labels=(0, 1))
    return [[int(count) for count in row] for row in counts]


def roc_curve(labels: np.ndarray, predictions: Predictions) -> dict[str, list[float]]:
    """The ROC curve, in at most 200 of its points.

    Returns:
        `fpr`, `tpr` and `thresholds`, from (0, 0) to (1, 1). All thresholds are finite, as JSON
        and KFP's ClassificationMetrics need them: the first lies just above every probability.
        Empty lists where a prediction isn't valid or all reviews have the same label.
    """
    if not predictions.valid.all() or len(np.unique(labels)) < 2:
        return {"fpr": [], "tpr": [], "thresholds": []}
    fpr, tpr, thresholds = sklearn_roc_curve(labels, predictions.probabilities)
    thresholds[0] = np.nextafter(np.float32(1), np.float32(2))
    # Evenly along the curve, which has most of its points in the corner that few reviews reach.
    way = np.linspace(0, 2, MAX_ROC_POINTS)
    chosen = np.unique(np.searchsorted(fpr + tpr, way))
    return {
        "fpr": fpr[chosen].tolist(),
        "tpr": tpr[chosen].tolist(),
        "thresholds": thresholds[chosen].tolist(),
    }


def length_slices(words: np.ndarray) -> list[dict[str, Any]]:
    """Divides reviews into quartiles of their length; equally long ones are never divided.

    Args:
        words: int64 `[reviews]`, the words of each.

    Returns:
        From short to long, `words` as `[least, most]` and `rows`, a mask bool `[reviews]`; fewer
        than four where many are equally long.
    """
    quartiles = np.searchsorted(np.quantile(words, LENGTH_QUANTILES), words, side="left")
    masks = [quartiles == quartile for quartile in np.unique(quartiles)]
    return [{"words": [int(words[m].min()), int(words[m].max())], "rows": m} for m in masks]


def named_slices(labels: np.ndarray, words: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The slices of `measure_slices`, in its order: what a reader calls each, and its rows.

    Args:
        labels: int64 `[reviews]`, the true ones.
        words: int64 `[reviews]`, the words of each.
    """
    by_length = [
        ("{:,} to {:,} words".format(*part["words"]), part["rows"]) for part in length_slices(words)
    ]
    by_label = [(f"{LABEL_NAMES[label]} reviews", labels == label) for label in np.unique(labels)]
    return by_length + by_label


def measure_slices(
    labels: np.ndarray, predictions: Predictions, words: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """The figures of a model by the length of the reviews, in words, and by their label.

    Returns:
        `length_quartile`: rows of `words` (`[least, most]`), `reviews` and the figures;
        `label`: rows of `label`, `reviews`, `accuracy` and `loss`, the figures that mean anything
        of a single class.
    """
    by_length = [
        {"words": part["words"], **_measure_rows(labels, predictions, part["rows"])}
        for part in length_slices(words)
    ]
    by_label = []
    for label in np.unique(labels):
        figures = _measure_rows(labels, predictions, labels == label)
        kept = {name: figures[name] for name in ("reviews", "accuracy", "loss")}
        by_label.append({"label": LABEL_NAMES[label], **kept})
    return {"length_quartile": by_length, "label": by_label}


def _measure_rows(
    labels: np.ndarray, predictions: Predictions, rows: np.ndarray
) -> dict[str, float | None]:
    return {"reviews": int(np.sum(rows)), **measure(labels[rows], predictions[rows])}
