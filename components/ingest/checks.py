"""The data checks of ingest: are these reviews fit to train and to judge a model on?"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from components.ingest.splits import Entry
from components.shared.config import IngestConfig
from components.shared.data_checks import DataCheck, at_least, at_most
from components.shared.reviews import LABEL_NAMES, NEGATIVE, POSITIVE, TEST, TRAIN, VALIDATION

_TAG = re.compile(r"<[^<>]*>")
_CONTENT = "LNS"  # Unicode's letters, numbers and symbols, emoji among them
_PREFIX = 12

_LABELS = (NEGATIVE, POSITIVE)
_USES = {
    TRAIN: "to train on (those for validation and those whose text stands in test apart)",
    TEST: "to judge a model on",
}

Entries = Sequence[Entry]


def is_empty(text: bytes) -> bool:
    """Whether a text in UTF-8 has no letter, digit or symbol outside of HTML tags."""
    if text[:1].isalnum():  # as nearly all do; the rest takes a while longer
        return False
    characters = _TAG.sub("", text.decode())
    return not any(unicodedata.category(c)[0] in _CONTENT for c in characters)


def check_reviews(
    splits: Mapping[str, Entries], in_test: Entries, empty: Collection[bytes], config: IngestConfig
) -> list[DataCheck]:
    """Holds the labelled reviews to the thresholds.

    Args:
        splits: the reviews by split; those of validation count as train's.
        in_test: the train reviews that were dropped because their text stands in test.
        empty: the digests of the texts that `is_empty`.
        config: the thresholds.
    """
    train = [*splits[TRAIN], *splits[VALIDATION]]
    found: list[DataCheck] = []
    for name, entries in ((TRAIN, train), (TEST, splits[TEST])):
        found += _check_split(name, entries, empty, config)
        found.append(_check_labels(name, splits[name], config.min_label_share))
    share, text = _part(in_test, len(train) + len(in_test), "have a text that stands in test")
    found.append(at_most("max_overlap_share", TRAIN, text, share, config.max_overlap_share))
    return found


def _check_split(
    name: str, entries: Entries, empty: Collection[bytes], config: IngestConfig
) -> Iterator[DataCheck]:
    rows = len(entries)
    yield at_least("min_reviews", name, f"{rows:,} reviews", rows, config.min_reviews)
    for key, chosen, what in (
        ("max_empty_share", [e for e in entries if e.digest in empty], "are empty"),
        ("max_duplicate_share", _repeated(entries), "repeat the text of another"),
        ("max_contradiction_share", _contradicted(entries), "have a text with both labels"),
    ):
        share, text = _part(chosen, rows, what)
        yield at_most(key, name, text, share, getattr(config, key))


def _check_labels(name: str, entries: Entries, threshold: float | None) -> DataCheck:
    labels = Counter(entry.label for entry in entries)
    missing = [f"{name}/{LABEL_NAMES[label]}" for label in _LABELS if not labels[label]]
    if missing:
        # Whatever the threshold: one label alone can't be learnt, nor a model be judged on it.
        return DataCheck(
            name="min_label_share",
            of=name,
            passed=False,
            value=0.0,
            threshold=threshold,
            sentence=f"{name}: no review in {', '.join(missing)} {_USES[name]}",
        )
    rarer = min(_LABELS, key=lambda label: labels[label])
    share = labels[rarer] / len(entries)
    text = f"{labels[rarer]:,} of {len(entries):,} reviews are {LABEL_NAMES[rarer]} ({share:.2%})"
    return at_least("min_label_share", name, text, share, threshold)


def _part(chosen: Entries, rows: int, what: str) -> tuple[float, str]:
    """The share that some reviews are, and the words for it, with the commonest of their texts."""
    share = len(chosen) / rows if rows else 0.0
    text = f"{len(chosen):,} of {rows:,} reviews {what} ({share:.2%})"
    if chosen:
        # The order of a tie must not depend on that of the source.
        digest, _ = min(Counter(e.digest for e in chosen).items(), key=lambda i: (-i[1], i[0]))
        text += f", such as that of SHA-256 {digest.hex()[:_PREFIX]}..."
    return share, text


def _repeated(entries: Entries) -> list[Entry]:
    """All but the first review of each text."""
    seen: set[bytes] = set()
    repeated = []
    for entry in entries:
        if entry.digest in seen:
            repeated.append(entry)
        seen.add(entry.digest)
    return repeated


def _contradicted(entries: Entries) -> list[Entry]:
    """The reviews whose text stands with both labels."""
    digests = ({entry.digest for entry in entries if entry.label == label} for label in _LABELS)
    both = set.intersection(*digests)
    return [entry for entry in entries if entry.digest in both]
