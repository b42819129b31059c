"""The data checks of preprocess: have the reviews drifted from those of the champion?

Lengths are counted in tokens before the cut, and unknown tokens by the champion's own vocabulary
on reviews that it wasn't trained on, then as now. So neither figure depends on the configuration,
and reviews of the same kind differ by chance alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon

from components.preprocess.statistics import LENGTH_BINS
from components.shared.champion_statistics import ChampionStatistics
from components.shared.config import PreprocessConfig
from components.shared.data_checks import DataCheck, at_most, not_checked
from components.shared.reviews import TRAIN, VALIDATION

Histogram = Mapping[str, int]


def check_drift(
    splits: Mapping[str, Mapping[str, Any]],
    unknown_to_champion: float | None,
    champion: ChampionStatistics,
    config: PreprocessConfig,
) -> list[DataCheck]:
    """Holds the statistics of new reviews to those of the champion's.

    Args:
        splits: the statistics by split, as `SplitStatistics.summary` gives them.
        unknown_to_champion: the share of validation's tokens that the champion's vocabulary lacks.
        champion: what is known of the champion.
        config: the thresholds.
    """
    length, unknown = config.max_length_drift, config.max_out_of_vocabulary_drift
    names = (
        ("max_length_drift", TRAIN, length),
        ("max_out_of_vocabulary_drift", VALIDATION, unknown),
    )
    if champion.statistics is None:
        reason = (
            "there is no champion"
            if champion.version is None
            else f"the champion, version {champion.version}, was promoted without statistics"
        )
        return [not_checked(*name, reason) for name in names]
    before = champion.statistics["splits"]
    return [
        _length_drift(splits[TRAIN], before[TRAIN], champion.version, length),
        _unknown_drift(unknown_to_champion, before[VALIDATION], champion.version, unknown),
    ]


def length_divergence(one: Histogram, other: Histogram) -> float:
    """The Jensen-Shannon divergence of two histograms of lengths.

    Args:
        one: reviews by the least length of their bin, as `length_histogram` has them.
        other: the same of other reviews.

    Returns:
        From 0, for the same shares, to 1, for histograms that have no bin in common.
    """
    counts = [[histogram.get(str(least), 0) for least in LENGTH_BINS] for histogram in (one, other)]
    distance = float(jensenshannon(*np.array(counts, np.float64), base=2))
    # Rounded, since it is a root of a difference: that of equal shares can be a little off 0.
    return round(distance**2, 6)


def _length_drift(
    now: Mapping[str, Any], before: Mapping[str, Any], version: int | None, threshold: float | None
) -> DataCheck:
    value = length_divergence(now["length_histogram"], before["length_histogram"])
    text = (
        f"the lengths, {_length(now)}, diverge by {value:.4f} from those of the reviews of the"
        f" champion, version {version}, {_length(before)}"
    )
    return at_most("max_length_drift", TRAIN, text, value, threshold)


def _length(part: Mapping[str, Any]) -> str:
    return f"{part['length_quantiles']['0.5']:,} tokens in the median"


def _unknown_drift(
    now: float | None,
    before: Mapping[str, Any] | None,
    version: int | None,
    threshold: float | None,
) -> DataCheck:
    then = before["uncut_out_of_vocabulary_rate"] if before else None
    name, of = "max_out_of_vocabulary_drift", VALIDATION
    if now is None or then is None:
        return not_checked(name, of, threshold, "validation has no token")
    text = (
        f"the vocabulary of the champion, version {version}, lacks {now:.2%} of the tokens, and"
        f" lacked {then:.2%} when it was trained"
    )
    # Rounded as the shares are: what is smaller comes from subtracting floats.
    return at_most(name, of, text, round(abs(now - then), 6), threshold)
