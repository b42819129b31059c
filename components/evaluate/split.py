"""The raw reviews of a split, as evaluate reads them."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.shared.errors import InputError
from components.shared.reviews import parse_review, split_shards

_READ_BATCH = 1024
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


@dataclass(frozen=True)
class Split:
    """Labelled reviews, in the order of the files."""

    texts: list[bytes]
    """As the source has them, in UTF-8."""

    labels: np.ndarray
    """int64 `[reviews]`: 0 = negative, 1 = positive."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the texts and labels, in whatever order: equal for the same reviews alone."""
        digest = hashlib.sha256()
        for text, label in sorted(zip(self.texts, self.labels.tolist(), strict=True)):
            digest.update(f"{label} {len(text)} ".encode() + text)
        return digest.hexdigest()

    @cached_property
    def plain_texts(self) -> list[str]:
        """The texts without HTML line breaks."""
        decoded = (text.decode("utf-8", errors="replace") for text in self.texts)
        return [_LINE_BREAK.sub(" ", text) for text in decoded]

    @cached_property
    def words(self) -> np.ndarray:
        """int64 `[reviews]`: what white space separates in each plain text."""
        return np.array([len(text.split()) for text in self.plain_texts], np.int64)


def read_split(reviews: str | Path, name: str) -> Split:
    """Reads a labelled split of the prepared reviews.

    Raises:
        InputError: there is no such split, it is empty, has unlabelled reviews, or is damaged.
    """
    shards = [str(shard) for shard in split_shards(reviews, name)]
    dataset = tf.data.TFRecordDataset(shards).batch(_READ_BATCH).map(parse_review)
    texts: list[bytes] = []
    labels: list[int] = []
    try:
        for batch in dataset.as_numpy_iterator():
            texts.extend(batch["text"])
            labels.extend(batch["label"])
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise InputError(
            f"{reviews}: split {name!r} is damaged ({error.message}); run ingest again"
        ) from None
    if not texts:
        raise InputError(f"{reviews}: split {name!r} is empty; give a source with more reviews")
    if not set(labels) <= {0, 1}:
        raise InputError(f"{reviews}: split {name!r} has unlabelled reviews; run ingest again")
    return Split(texts, np.array(labels, np.int64))
