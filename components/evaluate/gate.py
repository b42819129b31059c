"""The gate: from figures and thresholds to a decision with its reasons, and nothing else.

Value thresholds hold the candidate's own figures to a bar; change thresholds hold them to the
champion's, on the same reviews. A check is one small function of the evidence and the thresholds
in `_CHECKS`: it gives a reason, passed or failed, or None where its threshold isn't set. What
isn't a number fails, and without any value threshold nothing is blessed.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from scipy.stats import binomtest

from components.shared.config import EvaluateConfig

# Accuracies are counts over counts, so those of 25,000 reviews differ by 4e-5 or not at all; what
# is smaller comes from subtracting floats, and must not refuse a drop of exactly what is allowed.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class ChampionComparison:
    """The champion on the very reviews that the candidate is judged on."""

    version: int
    """Its version in the registry."""

    accuracy: float
    """Its accuracy on those reviews."""

    losses: int
    """Reviews that the champion gets right and the candidate wrong."""

    gains: int
    """Reviews that the champion gets wrong and the candidate right."""

    @classmethod
    def of(cls, version: int, candidate: Iterable[bool], champion: Iterable[bool]) -> Self:
        """Compares two models by which reviews each gets right.

        Args:
            version: the champion's.
            candidate: for each review, whether the candidate gets it right.
            champion: the same of the champion, for the same reviews in the same order.

        Raises:
            ValueError: there is no review, or not the same number of them.
        """
        pairs = [(bool(ours), bool(its)) for ours, its in zip(candidate, champion, strict=True)]
        if not pairs:
            raise ValueError("there is no review to compare on")
        return cls(
            version=version,
            accuracy=sum(its for _, its in pairs) / len(pairs),
            losses=pairs.count((False, True)),
            gains=pairs.count((True, False)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the gate looks at; every figure is of the same test reviews."""

    metrics: Mapping[str, float | None]
    """The candidate's `accuracy`, `loss` and `auc`; None stands for one that isn't defined."""

    champion: ChampionComparison | None = None
    """The comparison with the champion; None where the registry has none."""

    baseline_accuracy: float | None = None
    """The accuracy of the linear baseline; None where it wasn't fitted."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether the candidate may be pushed, and why."""

    blessed: bool

    reasons: tuple[Reason, ...]
    """One for each check whose threshold is set, passed or failed."""

    def to_mapping(self) -> dict[str, Any]:
        """The decision as JSON values."""
        return {"blessed": self.blessed, "reasons": [r.to_mapping() for r in self.reasons]}


def decide(evidence: Evidence, config: EvaluateConfig) -> Decision:
    """Holds the candidate to every threshold that is set; it is blessed if it passes them all."""
    found = [check(evidence, config) for check in _CHECKS]
    reasons = tuple(reason for reason in found if reason is not None)
    return Decision(blessed=all(reason.passed for reason in reasons), reasons=reasons)


def _some_value_threshold(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    """Change thresholds alone would bless any first candidate."""
    names = ("min_accuracy", "max_loss", "min_auc", "min_accuracy_over_baseline")
    if any(getattr(config, name) is not None for name in names):
        return None
    sentence = f"no value threshold is set, so nothing is blessed: set one of {', '.join(names)}"
    return Reason(
        name="value_thresholds", passed=False, value=None, threshold=None, sentence=sentence
    )


def _min_accuracy(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    return _at_least("min_accuracy", "accuracy", evidence, config.min_accuracy)


def _max_loss(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    return _at_most("max_loss", "loss", evidence, config.max_loss)


def _min_auc(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    return _at_least("min_auc", "auc", evidence, config.min_auc)


def _min_accuracy_over_baseline(evidence: Evidence, config: EvaluateConfig) -> Reason | None:
    threshold = config.min_accuracy_over_baseline
    if threshold is None:
        return None
    accuracy, baseline = _metric(evidence, "accuracy"), _number(evidence.baseline_accuracy)
    margin = accuracy - baseline
    passed = margin >= threshold - _ROUNDING
    return Reason(
        name="min_accuracy_over_baseline",
        passed=passed,
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
    passed = drop <= threshold + _ROUNDING
    return Reason(
        name="max_accuracy_drop",
        passed=passed,
        value=drop,
        threshold=threshold,
        sentence=f"accuracy {_text(accuracy)} must be at most {_text(threshold)} below the "
        f"champion's {_text(former)} (version {champion.version})",
        details={"accuracy": accuracy, "champion_accuracy": former},
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


_CHECKS: tuple[Callable[[Evidence, EvaluateConfig], Reason | None], ...] = (
    _some_value_threshold,
    _min_accuracy,
    _max_loss,
    _min_auc,
    _min_accuracy_over_baseline,
    _max_accuracy_drop,
    _significance_level,
)


def _mcnemar(losses: int, gains: int) -> float:
    """The chance of at least so many losses, were losses and gains equally likely."""
    if losses + gains == 0:
        return 1.0
    return float(binomtest(losses, losses + gains, 0.5, alternative="greater").pvalue)


def _at_least(name: str, metric: str, evidence: Evidence, threshold: float | None) -> Reason | None:
    if threshold is None:
        return None
    value = _metric(evidence, metric)
    passed = value >= threshold
    sentence = f"{metric} {_text(value)} must be at least {_text(threshold)}"
    return Reason(name=name, passed=passed, value=value, threshold=threshold, sentence=sentence)


def _at_most(name: str, metric: str, evidence: Evidence, threshold: float | None) -> Reason | None:
    if threshold is None:
        return None
    value = _metric(evidence, metric)
    passed = value <= threshold
    sentence = f"{metric} {_text(value)} must be at most {_text(threshold)}"
    return Reason(name=name, passed=passed, value=value, threshold=threshold, sentence=sentence)


def _no_champion(name: str, threshold: float) -> Reason:
    sentence = "there is no champion yet to compare with"
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
