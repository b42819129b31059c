"""The gate: from figures and thresholds to a decision with its reasons, and nothing else.

Value thresholds hold the candidate's own figures to a bar; change thresholds hold them to the
champion's, on the same reviews, and to the best ever recorded on them. Each is a check of its own
(`components.evaluate.checks`), and the candidate must pass all of them, in whatever order.
"""

from dataclasses import dataclass
from typing import Any

from components.evaluate.checks import CHECKS, Reason
from components.evaluate.evidence import Evidence
from components.shared.config import EvaluateConfig


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
    found = [check(evidence, config) for check in CHECKS]
    reasons = tuple(reason for reason in found if reason is not None)
    return Decision(blessed=all(reason.passed for reason in reasons), reasons=reasons)
