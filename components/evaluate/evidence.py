"""What the gate looks at: figures of the candidate, and how it compares, on the same reviews."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self


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
class Slice:
    """Some of the test reviews: those of a quartile of the length, or of a label."""

    name: str
    """What they have in common, such as "negative reviews"."""

    reviews: int
    """How many there are."""

    accuracy: float | None
    """The candidate's accuracy on them."""

    champion_accuracy: float | None = None
    """The champion's; None where there is no champion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestEver:
    """The best accuracy that the registry's log records on the same test reviews."""

    version: int
    """The version that had it, which need not be kept or served any more."""

    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the gate looks at; every figure is of the same test reviews."""

    metrics: Mapping[str, float | None]
    """The candidate's `accuracy`, `loss`, `auc` and `expected_calibration_error`; None stands for
    one that isn't defined."""

    champion: ChampionComparison | None = None
    """The comparison with the champion; None where the registry has none."""

    best_ever: BestEver | None = None
    """What the registry has recorded on these reviews; None where it has nothing."""

    slices: Sequence[Slice] = ()
    """The test reviews by length and by label."""

    latency_ms: float | None = None
    """The median time of a request with one review, in milliseconds; None where not measured."""

    baseline_accuracy: float | None = None
    """The accuracy of the linear baseline; None where it wasn't fitted."""
