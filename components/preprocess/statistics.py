"""Statistics of a split, added up batch by batch in any order."""

import itertools
import json
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

LENGTH_BINS = (0, *sorted({round(2 ** (power / 2)) for power in range(41)}))
"""The least length of each bin of a histogram: no token, and then steps by the root of 2.

They don't depend on the reviews, nor on how they are encoded: any two histograms compare.
"""

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(slots=True)
class SplitStatistics:
    """Sums over the reviews of a split."""

    labels: Counter[int] = field(default_factory=Counter)
    """Reviews by label."""
    lengths: Counter[int] = field(default_factory=Counter)
    """Reviews by number of tokens, before the cut to `max_length`."""
    kept_tokens: int = 0
    """Tokens after the cut."""
    unknown_tokens: int = 0
    """Those of them that the vocabulary lacks."""
    tokens: int = 0
    """Tokens before the cut."""
    uncut_unknown_tokens: int = 0
    """Those of them that the vocabulary lacks."""
    unknown_to_champion: int = 0
    """Those of them that the champion's vocabulary lacks; counted in validation alone."""
    empty: int = 0
    """Reviews without any token."""
    duplicates: int = 0
    """Reviews whose text is that of the one before, in the same batch."""
    ends: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    """The digests of the first and the last text of each batch, by its place in the split."""

    def add(self, other: "SplitStatistics") -> "SplitStatistics":
        """Adds the sums of `other` to this one, and returns it."""
        self.labels.update(other.labels)
        self.lengths.update(other.lengths)
        self.kept_tokens += other.kept_tokens
        self.unknown_tokens += other.unknown_tokens
        self.tokens += other.tokens
        self.uncut_unknown_tokens += other.uncut_unknown_tokens
        self.unknown_to_champion += other.unknown_to_champion
        self.empty += other.empty
        self.duplicates += other.duplicates
        self.ends.update(other.ends)
        return self

    def to_json(self) -> bytes:
        """The sums as JSON, the form in which they pass from worker to worker."""
        ends = [(*place, *(end.hex() for end in pair)) for place, pair in self.ends.items()]
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps(values | {"ends": ends}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "SplitStatistics":
        """The inverse of `to_json`."""
        values = json.loads(content)
        for name in ("labels", "lengths"):
            values[name] = Counter({int(key): count for key, count in values[name].items()})
        values["ends"] = {
            (file, batch): (bytes.fromhex(first), bytes.fromhex(last))
            for file, batch, first, last in values["ends"]
        }
        return cls(**values)

    def summary(self) -> dict[str, Any]:
        """The statistics as JSON values."""
        rows = self.labels.total()
        return {
            "rows": rows,
            "labels": {str(label): self.labels[label] for label in sorted(self.labels)},
            "positive_share": self._share(self.labels[1], self.labels[0] + self.labels[1]),
            "length_histogram": self._length_histogram(),
            "length_quantiles": self._length_quantiles(),
            "mean_length": self._share(sum(n * c for n, c in self.lengths.items()), rows),
            "out_of_vocabulary_rate": self._share(self.unknown_tokens, self.kept_tokens),
            "uncut_out_of_vocabulary_rate": self._share(self.uncut_unknown_tokens, self.tokens),
            "unknown_to_champion_rate": self._share(self.unknown_to_champion, self.tokens),
            "empty_reviews": self.empty,
            "duplicate_reviews": self._all_duplicates(),
        }

    def _all_duplicates(self) -> int:
        """Reviews whose text stands in the split already: those of a text are neighbours."""
        ends = [self.ends[place] for place in sorted(self.ends)]
        pairs = itertools.pairwise(ends)
        return self.duplicates + sum(before[1] == after[0] for before, after in pairs)

    def _length_histogram(self) -> dict[str, int]:
        """Reviews by the least length of their bin."""
        rows: Counter[int] = Counter()
        for length, count in self.lengths.items():
            rows[LENGTH_BINS[bisect_right(LENGTH_BINS, length) - 1]] += count
        return {str(least): rows[least] for least in LENGTH_BINS if rows[least]}

    def _length_quantiles(self) -> dict[str, int]:
        lengths = np.array(sorted(self.lengths))
        ends = np.cumsum([self.lengths[length] for length in lengths.tolist()])
        ranks = [quantile * (ends[-1] - 1) for quantile in _QUANTILES]
        places = np.searchsorted(ends, ranks, side="right")
        return {f"{q:g}": int(lengths[p]) for q, p in zip(_QUANTILES, places, strict=True)}

    @staticmethod
    def _share(part: float, whole: int) -> float | None:
        return round(part / whole, 6) if whole else None
