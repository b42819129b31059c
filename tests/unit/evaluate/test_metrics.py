"""The figures, by hand on small examples and by their definitions on any."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp.dsl import ClassificationMetrics

from components.evaluate.metrics import (
    MAX_ROC_POINTS,
    Predictions,
    calibration,
    confusion_matrix,
    describe,
    expected_calibration_error,
    length_slices,
    measure,
    roc_curve,
)

LABELS = np.array([1, 1, 1, 0, 0])
GIVEN = Predictions.of_probabilities(np.array([0.9, 0.6, 0.2, 0.7, 0.1]))


def random_case(seed: int, rows: int) -> tuple[np.ndarray, Predictions]:
    """Labels and probabilities that go along with them, of both classes."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(rows) % 2)
    noise = draw.normal(size=rows) + 1.5 * (labels - 0.5)
    # Rounded, so that there are ties.
    return labels, Predictions.of_probabilities(np.round(1 / (1 + np.exp(-noise)), 3))


cases = st.builds(random_case, st.integers(0, 2**32 - 1), st.integers(2, 300))


def test_each_figure_by_hand() -> None:
    figures = measure(LABELS, GIVEN)
    # Said positive: rows 0, 1, 3; of them 0 and 1 are; row 2 is missed.
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["recall"] == pytest.approx(2 / 3)
    assert figures["f1"] == pytest.approx(2 / 3)
    # Of the six pairs, (0.6, 0.7) and (0.2, 0.7) are in the wrong order.
    assert figures["auc"] == pytest.approx(4 / 6)
    assert figures["loss"] == pytest.approx(-np.log([0.9, 0.6, 0.2, 0.3, 0.9]).mean())
    assert figures["brier_score"] == pytest.approx(np.mean([0.01, 0.16, 0.64, 0.49, 0.01]))
    # Each is alone in its bin.
    ece = np.mean([0.1, 0.4, 0.8, 0.7, 0.1])
    assert figures["expected_calibration_error"] == pytest.approx(ece)
    assert confusion_matrix(LABELS, GIVEN) == [[1, 1], [1, 2]]


def test_calibration_error_weighs_bins_by_their_reviews() -> None:
    probabilities = np.array([0.80, 0.81, 0.82, 0.83, 0.02])
    rows = calibration(np.array([1, 1, 1, 0, 0]), Predictions.of_probabilities(probabilities))
    assert [row["reviews"] for row in rows] == [1, 4]
    assert rows[1]["positive_fraction"] == 0.75
    assert rows[1]["mean_probability"] == pytest.approx(0.815)
    expected = (4 * (0.815 - 0.75) + 1 * 0.02) / 5
    assert expected_calibration_error(rows) == pytest.approx(expected)


def test_probabilities_of_exactly_0_and_1() -> None:
    certain = Predictions.of_probabilities(np.array([1.0, 0.0, 1.0, 0.0]))
    labels = np.array([1, 0, 0, 1])
    figures = measure(labels, certain)
    assert figures["accuracy"] == 0.5
    assert figures["loss"] == pytest.approx(-np.log(1e-7) / 2, rel=1e-3)
    assert sum(row["reviews"] for row in calibration(labels, certain)) == 4


def test_the_label_that_is_served_counts_not_the_probability() -> None:
    served = Predictions(np.array([0.9, 0.1]), np.array([0, 1]))
    assert measure(np.array([0, 1]), served)["accuracy"] == 1.0
    assert measure(np.array([0, 1]), served)["auc"] == 0.0


@pytest.mark.parametrize("probability", [float("nan"), float("inf"), -0.1, 1.1])
def test_an_invalid_probability_leaves_no_figure_to_pass_with(probability) -> None:
    given_ = Predictions.of_probabilities(np.array([0.9, 0.6, 0.2, probability, 0.1]))
    found = describe(LABELS, given_, np.array([1, 2, 3, 4, 5]))
    assert set(found["metrics"].values()) == {None}
    assert found["invalid_predictions"] == 1
    assert found["roc"] == {"fpr": [], "tpr": [], "thresholds": []}
    assert found["calibration"] == []
    assert np.sum(found["confusion_matrix"]) == 4
    assert not given_.correct(np.array([0, 0, 0, 0, 0]))[3]
    json.dumps(found, allow_nan=False)


def test_an_invalid_label_counts_as_wrong() -> None:
    given_ = Predictions(np.array([0.9, 0.1]), np.array([1, 7]))
    assert given_.correct(np.array([1, 7])).tolist() == [True, False]
    assert measure(np.array([1, 0]), given_)["accuracy"] is None


def test_reviews_of_one_label_have_no_auc() -> None:
    given_ = Predictions.of_probabilities(np.array([0.2, 0.3]))
    found = describe(np.array([0, 0]), given_, np.array([5, 5]))
    assert found["metrics"]["auc"] is None
    assert found["metrics"]["accuracy"] == 1.0
    assert found["roc"]["fpr"] == []


@given(cases)
def test_auc_is_the_share_of_pairs_in_order(case) -> None:
    labels, predictions = case
    positive = predictions.probabilities[labels == 1][:, None]
    negative = predictions.probabilities[labels == 0][None, :]
    pairs = np.mean((positive > negative) + 0.5 * (positive == negative))
    assert measure(labels, predictions)["auc"] == pytest.approx(pairs)


@given(cases)
def test_the_points_of_a_roc_curve_are_what_their_thresholds_give(case) -> None:
    labels, predictions = case
    curve = roc_curve(labels, predictions)
    points = list(zip(curve["fpr"], curve["tpr"], curve["thresholds"], strict=True))
    assert points[0][:2] == (0.0, 0.0)
    assert points[-1][:2] == (1.0, 1.0)
    assert curve["thresholds"] == sorted(curve["thresholds"], reverse=True)
    for fpr, tpr, threshold in points:
        taken = predictions.probabilities >= threshold
        assert fpr == pytest.approx(taken[labels == 0].mean())
        assert tpr == pytest.approx(taken[labels == 1].mean())


@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_the_reviews_does_not_matter(case, random) -> None:
    labels, predictions = case
    order = list(range(len(labels)))
    random.shuffle(order)
    before, after = measure(labels, predictions), measure(labels[order], predictions[order])
    assert before == pytest.approx(after)
    assert roc_curve(labels, predictions) == roc_curve(labels[order], predictions[order])


def test_a_thinned_roc_curve_keeps_its_shape() -> None:
    labels, predictions = random_case(seed=1, rows=20_000)
    curve = roc_curve(labels, predictions)
    assert 100 < len(curve["fpr"]) <= MAX_ROC_POINTS
    area = np.trapezoid(curve["tpr"], curve["fpr"])
    assert area == pytest.approx(measure(labels, predictions)["auc"], abs=1e-3)


def test_kfp_takes_the_roc_curve_and_the_confusion_matrix() -> None:
    artifact = ClassificationMetrics()
    curve = roc_curve(LABELS, GIVEN)
    artifact.log_roc_curve(curve["fpr"], curve["tpr"], curve["thresholds"])
    artifact.log_confusion_matrix(["negative", "positive"], confusion_matrix(LABELS, GIVEN))
    json.dumps(artifact.metadata, allow_nan=False)
    assert len(artifact.metadata["confidenceMetrics"]) == len(curve["fpr"])
    assert artifact.metadata["confusionMatrix"]["rows"] == [{"row": [1, 1]}, {"row": [1, 2]}]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=200))
def test_length_quartiles_divide_all_reviews_without_overlap(words) -> None:
    slices = length_slices(np.array(words))
    assert 1 <= len(slices) <= 4
    assert np.array_equal(sum(part["rows"].astype(int) for part in slices), np.ones(len(words)))
    bounds = [bound for part in slices for bound in part["words"]]
    assert bounds == sorted(bounds)
    edges = [part["words"] for part in slices]
    assert all(left[1] < right[0] for left, right in itertools.pairwise(edges))


def test_slices_are_measured_on_their_own_reviews() -> None:
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    given_ = Predictions.of_probabilities(np.array([0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.1, 0.9]))
    words = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    slices = describe(labels, given_, words)["slices"]
    found = [(row["words"], row["reviews"], row["accuracy"]) for row in slices["length_quartile"]]
    assert found == [([1, 2], 2, 1.0), ([3, 4], 2, 1.0), ([5, 6], 2, 0.0), ([7, 8], 2, 0.5)]
    by_label = [(row["label"], row["reviews"], row["accuracy"]) for row in slices["label"]]
    assert by_label == [("negative", 4, 0.5), ("positive", 4, 0.75)]
