"""Ingest: brings the raw reviews of a source in, checks them, writes them as a TFDS data set."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from components.ingest import sources
from components.ingest.aclimdb import LAYOUT
from components.ingest.checks import check_reviews
from components.ingest.splits import Entry, carve, fingerprint
from components.ingest.spool import RawReview, Spool
from components.shared import events
from components.shared.artifacts import atomic_directory, write_json
from components.shared.config import IngestConfig
from components.shared.data_checks import require, to_json
from components.shared.errors import InputError
from components.shared.reviews import (
    LABEL_NAMES,
    NAME,
    SUMMARY,
    TEST,
    TRAIN,
    UNSUPERVISED,
    VALIDATION,
)

_PROGRESS_REVIEWS = 25_000

Entries = Sequence[Entry]


def ingest(
    source: str,
    config: IngestConfig,
    output_dir: str | Path,
    *,
    data_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Writes the reviews of a source to `output_dir`, whole or not at all.

    `output_dir` gets a prepared TFDS data set (see `components.shared.reviews`) and its
    `summary.json`. The same reviews give the same bytes, whatever the order and the names of
    their files and whether they came as an archive or as a folder.

    Args:
        source: `bundled`, `tfds`, or the path or URI of an archive or folder in aclImdb's layout.
        config: the fractions that are carved out.
        output_dir: replaced if it exists.
        data_dir: where TFDS keeps its downloads for the source `tfds`; None for its own default.

    Returns:
        The summary: `source`, `kind`, `fingerprint`, rows by split, labels by split, what was
        dropped or looks odd, and `checks`, what each data check found.

    Raises:
        InputError: the source can't be reached or read, is not what it should be, or fails a data
            check.
    """
    kind, name = sources.kind_of(source), sources.display_name(source)
    with atomic_directory(output_dir) as staging:
        work = staging / ".work"
        work.mkdir()
        with closing(Spool(work / "texts")) as spool:
            _fill(spool, sources.raw_reviews(source, work / "download", config, data_dir))
            _require_reviews(name, spool.entries)
            splits, dropped = split_reviews(
                spool.entries, config, official_test=kind != sources.BUNDLED
            )
            checks = check_reviews(splits, dropped, spool.empty, config)
            require(name, checks)
            _write(work, splits, spool)
        (work / NAME).rename(staging / NAME)
        shutil.rmtree(work)
        summary = {
            "source": name,
            "kind": kind,
            "config": config.to_mapping(),
            "fingerprint": fingerprint(spool.entries),
            "dropped_because_in_test": len(dropped),
            "checks": to_json(checks),
            **_statistics(splits),
        }
        write_json(staging / SUMMARY, summary)
    return summary


def split_reviews(
    official: Mapping[str, Entries], config: IngestConfig, *, official_test: bool
) -> tuple[dict[str, list[Entry]], list[Entry]]:
    """Divides the reviews of a source into our splits.

    Test is the source's own, untouched, or is carved out of train where the source has none.
    Validation is carved out of the train reviews whose text does not stand in test; as a text's
    digest alone decides, a labelled text never stands in two splits.

    Args:
        official: the reviews by the source's own split.
        config: the fractions that are carved out.
        official_test: whether the source should have a test split of its own.

    Returns:
        The reviews of each split, sorted, and the train reviews dropped because their text stands
        in test.
    """
    test, labelled = list(official.get(TEST, ())), list(official.get(TRAIN, ()))
    dropped: list[Entry] = []
    if official_test:
        dropped, labelled = _partition(labelled, _digests(test))
    else:
        test, labelled = _partition(
            labelled, carve(_digests(labelled), config.test_fraction, "test")
        )
    validation, train = _partition(
        labelled, carve(_digests(labelled), config.validation_fraction, "validation")
    )
    splits = {TRAIN: train, VALIDATION: validation, TEST: test}
    if official.get(UNSUPERVISED):
        splits[UNSUPERVISED] = list(official[UNSUPERVISED])
    return {name: sorted(entries) for name, entries in splits.items()}, dropped


def _fill(spool: Spool, raw_reviews: Iterable[RawReview]) -> None:
    for count, review in enumerate(raw_reviews, start=1):
        spool.add(review)
        if count % _PROGRESS_REVIEWS == 0:
            events.progress(f"{count:,} reviews read")
    spool.flush()


def _require_reviews(name: str, official: Mapping[str, Entries]) -> None:
    if not any(official.values()):
        raise InputError(f"{name}: holds no review; it needs {LAYOUT}; {sources.ADVICE}")


def _write(work: Path, splits: Mapping[str, Entries], spool: Spool) -> None:
    # Imported here: a source that fails should not wait for TFDS.
    from components.ingest.builder import Reviews

    Reviews(data_dir=work, splits=splits, text=spool.text).download_and_prepare()


def _statistics(splits: Mapping[str, Entries]) -> dict[str, Any]:
    labels = {name: Counter(entry.label for entry in splits[name]) for name in splits}
    labelled = chain.from_iterable(splits[name] for name in splits if name != UNSUPERVISED)
    texts = Counter(digest for digest, _ in {(entry.digest, entry.label) for entry in labelled})
    return {
        "splits": {name: len(entries) for name, entries in splits.items()},
        "labels": {
            name: {LABEL_NAMES[label]: rows for label, rows in sorted(counts.items())}
            for name, counts in labels.items()
        },
        "duplicates": {name: len(rows) - len(_digests(rows)) for name, rows in splits.items()},
        "texts_with_both_labels": sum(count > 1 for count in texts.values()),
    }


def _digests(entries: Iterable[Entry]) -> set[bytes]:
    return {entry.digest for entry in entries}


def _partition(entries: Iterable[Entry], digests: set[bytes]) -> tuple[list[Entry], list[Entry]]:
    """The entries whose digest is among `digests`, and the others."""
    inside: list[Entry] = []
    outside: list[Entry] = []
    for entry in entries:
        (inside if entry.digest in digests else outside).append(entry)
    return inside, outside
