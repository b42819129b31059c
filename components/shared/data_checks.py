"""Checks of data against thresholds, before anything is trained on it.

Each is recorded with its figure, passed or failed; all that fail are named at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.shared.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCheck:
    """What one check found."""

    name: str
    """The configuration key of its threshold."""

    of: str
    """What was checked, such as a split."""

    passed: bool | None
    """None where it wasn't checked."""

    value: float | None
    """The figure that was held against the threshold, None where there is none."""

    threshold: float | None
    """None where the check is switched off."""

    sentence: str
    """The same for a reader."""


def at_least(
    name: str, of: str, text: str, value: float | None, threshold: float | None
) -> DataCheck:
    """Holds a figure to the least that is allowed; None for the figure fails.

    Args:
        name: the configuration key of the threshold.
        of: what is checked, such as a split.
        text: says what the figure is, with the figure.
        value: the figure.
        threshold: None switches the check off.
    """
    passed = None if threshold is None else value is not None and value >= threshold
    return _check(name, of, text, value, threshold, passed, "below")


def at_most(
    name: str, of: str, text: str, value: float | None, threshold: float | None
) -> DataCheck:
    """Holds a figure to the greatest that is allowed; see `at_least`."""
    passed = None if threshold is None else value is not None and value <= threshold
    return _check(name, of, text, value, threshold, passed, "above")


def not_checked(name: str, of: str, threshold: float | None, reason: str) -> DataCheck:
    """Says why a figure can't be had, which is no failure."""
    return DataCheck(
        name=name,
        of=of,
        passed=None,
        value=None,
        threshold=threshold,
        sentence=f"{of}: {name} isn't checked: {reason}",
    )


def require(source: str, checks: Iterable[DataCheck]) -> None:
    """Prints what each check found.

    Args:
        source: what to call the reviews in the message.
        checks: what was found.

    Raises:
        InputError: some have failed; the message names each of them.
    """
    checks = list(checks)
    for check in checks:
        print(f"data check {_MARKS[check.passed]}: {check.sentence}", flush=True)
    failed = [check.sentence for check in checks if check.passed is False]
    if failed:
        raise InputError(
            f"{source}: {len(failed)} of {len(checks)} data checks failed, so nothing is trained"
            f" and the champion stays: {'; '.join(failed)}; correct the reviews, or set another"
            " threshold with --set KEY=VALUE, where none switches a check off, and start a new run"
        )


def to_json(checks: Iterable[DataCheck]) -> list[dict[str, Any]]:
    """What the checks found, as JSON values."""
    return [asdict(check) for check in checks]


def metadata(checks: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What `to_json` gave, for the metadata of a KFP artifact: a line for each check."""
    return {
        f"{check['name']} {check['of']}": f"{_MARKS[check['passed']]}: {check['sentence']}"
        for check in checks
    }


_MARKS = {True: "passed", False: "FAILED", None: "not checked"}


def _check(
    name: str,
    of: str,
    text: str,
    value: float | None,
    threshold: float | None,
    passed: bool | None,
    beyond: str,
) -> DataCheck:
    limit = f"{name}={'none' if threshold is None else f'{threshold:g}'}"
    return DataCheck(
        name=name,
        of=of,
        passed=passed,
        value=value,
        threshold=threshold,
        sentence=f"{of}: {text}, {beyond} {limit}" if passed is False else f"{of}: {text}; {limit}",
    )
