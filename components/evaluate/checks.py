"""The checks of the gate: each one small function of the evidence and the thresholds.

A check gives a reason, passed or failed, or None where its threshold isn't set. What wasn't
measured or isn't a number fails.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import binomtest

from components.evaluate.evidence import Evidence
from components.shared.config import EvaluateConfig

# Accuracies are counts over counts, so those of 25,000 reviews differ by 4e-5 or not at all; what
# is smaller comes from subtracting floats, and must not refuse a drop of exactly what is allowed.
_ROUNDING = 1e-9

# Calibration and latency alone say nothing of quality: a model that gives each review 0.5 has a
# calibration error of 0, and is quick.
_VALUE_THRESHOLDS = (
    "min_accuracy",
    "max_loss",
    "min_auc",
    "min_slice_accuracy",
    "min_accuracy_over_baseline",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """What one check found."""

    name: str
    """The threshold that was checked."""

    passed: bool

    value: float | None
    """The figure that was held against the threshold, None where there is none."""

    threshold: float | None

    sentence: str
    """The same for a reader."""

    details: Mapping[str, float] = field(default_factory=dict)
    """The figures behind the value."""

    def to_mapping(self) -> dict[str, Any]:
        """The reason as JSON values; what isn't a finite number becomes null."""
        return {
            "name": self.name,
            "passed": self.passed,
            "value": _finite(self.value),
            "threshold": self.threshold,
            "sentence": self.sentence,
            "details": {name: _finite(value) for name, value in self.details.items()},
        }


def _some_value_threshold(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    """Change thresholds alone would bless any first candidate."""
    names = _VALUE_THRESHOLDS
    if any(getattr(config, name) is not None for name in names):
        return None
    sentence = f"no value threshold is set, so nothing is blessed: set one of {', '.join(names)}"
    return Reason(
        name="value_thresholds", passed=False, value=None, threshold=None, sentence=sentence
    )


def _min_accuracy(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    value = _metric(evidence, "accuracy")
    return _at_least("min_accuracy", "accuracy", value, config.min_accuracy)


def _max_loss(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    return _at_most("max_loss", "loss", _metric(evidence, "loss"), config.max_loss)


def _min_auc(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    return _at_least("min_auc", "auc", _metric(evidence, "auc"), config.min_auc)


def _max_calibration_error(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    name = "expected calibration error"
    value = _metric(evidence, "expected_calibration_error")
    return _at_most("max_calibration_error", name, value, config.max_calibration_error)


def _max_latency_ms(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    name, value = "median milliseconds of a single request", _number(evidence.latency_ms)
    return _at_most("max_latency_ms", name, value, config.max_latency_ms)


def _min_slice_accuracy(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    threshold = config.min_slice_accuracy
    if threshold is None:
        return None
    accuracies = {part.name: _number(part.accuracy) for part in evidence.slices}
    worst, value = _first_by(accuracies, lambda accuracy: accuracy)
    return Reason(
        name="min_slice_accuracy",
        passed=value >= threshold,
        value=value,
        threshold=threshold,
        sentence=f"accuracy on each slice must be at least {_text(threshold)}; it is least on "
        f"{worst}, {_text(value)}",
        details=accuracies,
    )


def _max_slice_accuracy_drop(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    threshold, champion = config.max_slice_accuracy_drop, evidence.champion
    if threshold is None:
        return None
    if champion is None:
        return _no_champion("max_slice_accuracy_drop", threshold)
    drops = {
        part.name: _number(part.champion_accuracy) - _number(part.accuracy)
        for part in evidence.slices
    }
    worst, value = _first_by(drops, lambda drop: -drop)
    return Reason(
        name="max_slice_accuracy_drop",
        passed=value <= threshold + _ROUNDING,
        value=value,
        threshold=threshold,
        sentence=f"accuracy on each slice must be at most {_text(threshold)} below the champion's "
        f"(version {champion.version}); the largest drop is on {worst}, {_text(value)}",
        details=drops,
    )


def _min_accuracy_over_baseline(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    threshold = config.min_accuracy_over_baseline
    if threshold is None:
        return None
    accuracy, baseline = _metric(evidence, "accuracy"), _number(evidence.baseline_accuracy)
    margin = accuracy - baseline
    return Reason(
        name="min_accuracy_over_baseline",
        passed=margin >= threshold - _ROUNDING,
        value=margin,
        threshold=threshold,
        sentence=f"accuracy {_text(accuracy)} must be at least {_text(threshold)} above the linear "
        f"baseline's {_text(baseline)}",
        details={"accuracy": accuracy, "baseline_accuracy": baseline},
    )


def _max_accuracy_drop(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    threshold, champion = config.max_accuracy_drop, evidence.champion
    if threshold is None:
        return None
    if champion is None:
        return _no_champion("max_accuracy_drop", threshold)
    accuracy, former = _metric(evidence, "accuracy"), _number(champion.accuracy)
    drop = former - accuracy
    return Reason(
        name="max_accuracy_drop",
        passed=drop <= threshold + _ROUNDING,
        value=drop,
        threshold=threshold,
        sentence=f"accuracy {_text(accuracy)} must be at most {_text(threshold)} below the "
        f"champion's {_text(former)} (version {champion.version})",
        details={"accuracy": accuracy, "champion_accuracy": former},
    )


def _max_accuracy_below_best(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    """A floor that no chain of small losses, each tolerated, can sink."""
    name, threshold = "max_accuracy_below_best", config.max_accuracy_below_best
    best = evidence.best_ever
    if threshold is None:
        return None
    if best is None:
        sentence = "the registry records nothing on these test reviews yet"
        return Reason(name=name, passed=True, value=None, threshold=threshold, sentence=sentence)
    accuracy, record = _metric(evidence, "accuracy"), _number(best.accuracy)
    below = record - accuracy
    return Reason(
        name=name,
        passed=below <= threshold + _ROUNDING,
        value=below,
        threshold=threshold,
        sentence=f"accuracy {_text(accuracy)} must be at most {_text(threshold)} below the best "
        f"ever recorded on these test reviews, {_text(record)} (version {best.version})",
        details={"accuracy": accuracy, "best_accuracy": record},
    )


def _significance_level(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    """McNemar's exact test, one-sided: is the candidate worse than the champion?"""
    level, champion = config.significance_level, evidence.champion
    if level is None:
        return None
    if champion is None:
        return _no_champion("significance_level", level)
    losses, gains = champion.losses, champion.gains
    p = _mcnemar(losses, gains)
    worse = losses > gains and p < level
    verdict = "significantly worse" if worse else "not significantly worse"
    return Reason(
        name="significance_level",
        passed=not worse,
        value=p,
        threshold=level,
        sentence=f"{verdict} than the champion (version {champion.version}) at level "
        f"{_text(level)}: {losses} reviews lost, {gains} gained, McNemar's exact p {_text(p)}",
        details={"losses": losses, "gains": gains},
    )


CHECKS: tuple[Callable[[Evidence, EvaluateConfig], Reason | None], ...] = (
    _some_value_threshold,
    _min_accuracy,
    _max_loss,
    _min_auc,
    _min_slice_accuracy,
    _max_calibration_error,
    _max_latency_ms,
    _min_accuracy_over_baseline,
    _significance_level,
    _max_accuracy_drop,
    _max_slice_accuracy_drop,
    _max_accuracy_below_best,
)
"""One for each field of `EvaluateConfig`, and one for what is set of them at all."""


def _mcnemar(losses: int, gains: int) -> float:
    """The chance of at least so many losses, were losses and gains equally likely."""
    if losses + gains == 0:
        return 1.0
    return float(binomtest(losses, losses + gains, 0.5, alternative="greater").pvalue)


def _at_least(name: str, figure: str, value: float, threshold: float | None) -> Reason | None:
    if threshold is None:
        return None
    passed = value >= threshold
    sentence = f"{figure} {_text(value)} must be at least {_text(threshold)}"
    return Reason(name=name, passed=passed, value=value, threshold=threshold, sentence=sentence)


def _at_most(name: str, figure: str, value: float, threshold: float | None) -> Reason | None:
    if threshold is None:
        return None
    passed = value <= threshold
    sentence = f"{figure} {_text(value)} must be at most {_text(threshold)}"
    return Reason(name=name, passed=passed, value=value, threshold=threshold, sentence=sentence)


def _first_by(figures: Mapping[str, float], order: Callable[[float], float]) -> tuple[str, float]:
    """The name and figure that come first; one that isn't a number before all others."""
    if not figures:
        return "(no slice)", math.nan
    return min(figures.items(), key=lambda item: (not math.isnan(item[1]), order(item[1])))


def _no_champion(name: str, threshold: float) -> Reason:
    sentence = f"{name} {_text(threshold)}: there is no champion yet to compare with"
    return Reason(name=name, passed=True, value=None, threshold=threshold, sentence=sentence)


def _metric(evidence: Evidence, name: str) -> float:
    return _number(evidence.metrics.get(name))


def _number(value: float | None) -> float:
    """NaN for what wasn't measured or isn't finite: it fails every comparison."""
    return float(value) if value is not None and math.isfinite(value) else math.nan


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _text(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else "(not a number)"
