"""Labelled reviews as the two pipelines take them: an archive for ours, a CSV for TFX's example."""

import csv
import io
import tarfile
from pathlib import Path

from components.ingest.sources import raw_reviews
from components.ingest.spool import RawReview
from components.shared.config import IngestConfig
from components.shared.reviews import LABEL_NAMES, TEST, TRAIN, UNLABELLED


def labelled_reviews(source: str) -> list[RawReview]:
    """The labelled reviews of a source, as for `imdb-pipeline run`.

    Of a source without a test split every second review stands in test.
    """
    reviews = [
        review
        for review in raw_reviews(source, Path("/nonexistent"), IngestConfig())
        if review.label != UNLABELLED
    ]
    if all(review.split == TRAIN for review in reviews):
        splits = (TRAIN, TEST)
        reviews = [it._replace(split=splits[i % 2]) for i, it in enumerate(reviews)]
    return reviews


def salted(reviews: list[RawReview], number: int) -> list[RawReview]:
    """So many reviews: copies of the given ones, each copy with a word of its own at the end."""
    rounds = -(-number // len(reviews))
    return [
        review._replace(text=review.text + f" copy{copy}".encode() if copy else review.text)
        for copy in range(rounds)
        for review in reviews
    ][:number]


def write_archive(reviews: list[RawReview], path: Path) -> None:
    """Writes a .tar.gz in aclImdb's layout."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number, review in enumerate(reviews):
            folder = f"{review.split}/{LABEL_NAMES[review.label]}"
            member = tarfile.TarInfo(f"aclImdb/{folder}/{number}.txt")
            member.size = len(review.text)
            archive.addfile(member, io.BytesIO(review.text))


def write_csv(reviews: list[RawReview], path: Path) -> None:
    """Writes a CSV as the example's own `imdb_fetch_data` does."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "text"])
        writer.writerows((review.label, review.text.decode()) for review in reviews)
