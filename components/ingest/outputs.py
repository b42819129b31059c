"""What KFP shows of prepared reviews."""

from collections.abc import Mapping
from typing import Any

from components.shared import data_checks


def metadata(summary: Mapping[str, Any], unchanged_since: int | None) -> dict[str, Any]:
    """The metadata of the prepared reviews.

    Args:
        summary: of ingest.
        unchanged_since: the version whose reviews, configuration and image are the same, if any.
    """
    found = {"fingerprint": summary["fingerprint"], **summary["splits"]}
    found |= data_checks.metadata(summary["checks"])
    return (
        found if unchanged_since is None else found | {"unchanged_since_version": unchanged_since}
    )


def headline(summary: Mapping[str, Any], unchanged_since: int | None) -> str:
    """The line of the task; see `metadata` for the arguments."""
    reviews = sum(summary["splits"].values())
    line = f"{reviews:,} reviews, fingerprint {summary['fingerprint'][:8]}"
    same = f"; nothing changed since version {unchanged_since}"
    return line if unchanged_since is None else line + same
