"""The Beam transforms of preprocessing. An element is a file of the prepared reviews, small enough
for a worker to take whole, and TensorFlow's ops work on many of its reviews at a time.

Ingest sorts the reviews of a split by the digests of their texts, over all its files: so the files
are encoded each by itself, without a shuffle, and what stays in memory is a batch.

Every type hint here consists of pairs, iterables, ints and bytes. Beam has a standard coder for
each of these, compiled and deterministic; the coder of any other type pickles, or runs in Python.
"""

import hashlib
import itertools
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from components.preprocess.shared_files import reading, writing
from components.preprocess.statistics import SplitStatistics
from components.shared import events
from components.shared.artifacts import write_json
from components.shared.config import PreprocessConfig
from components.shared.features import (
    VOCABULARY_FILE,
    read_records,
    serialize_example,
    shard_name,
)
from components.shared.reviews import VALIDATION, parse_review
from components.shared.tokenizer import SPECIAL_TOKENS, UNK_ID, TextEncoder, tokenize

BATCH_SIZE = 1024

FileElement = tuple[bytes, tuple[bytes, tuple[int, int]]]
"""A `ReviewFile` between two stages: location, split, place, files."""
TokenCounts = Iterable[tuple[bytes, int]]
"""Tokens and how often each was found."""

_COUNTS_OF_AN_ELEMENT = 1000
# All of them meet in one place: a key for a GroupByKey.
_ONE_KEY = b""


@dataclass(frozen=True, slots=True)
class ReviewFile:
    """A TFRecord file of the prepared data set."""

    split: str
    location: str
    place: int
    """Among the files of the split, from 0."""
    files: int
    """Of the split."""

    def to_element(self) -> FileElement:
        """The file as an element of a PCollection."""
        return os.fsencode(self.location), (self.split.encode(), (self.place, self.files))

    @classmethod
    def from_element(cls, element: FileElement) -> "ReviewFile":
        """The inverse of `to_element`."""
        location, (split, (place, files)) = element
        return cls(split.decode(), os.fsdecode(location), place, files)


@dataclass(frozen=True, slots=True)
class ReviewBatch:
    """Up to `BATCH_SIZE` reviews, one after the other."""

    ids: list[bytes]
    texts: list[bytes]
    labels: list[int]


def read_reviews(file: ReviewFile) -> Iterator[ReviewBatch]:
    """Reads a file in batches."""
    with reading(file.location) as path:
        for records in read_records(path, BATCH_SIZE):
            reviews = parse_review(records)
            yield ReviewBatch(
                reviews["id"].numpy().tolist(),
                reviews["text"].numpy().tolist(),
                reviews["label"].numpy().tolist(),
            )


class Spread(beam.PTransform):
    """Spreads files over the workers: a Reshuffle, whose own elements have a coder that pickles."""

    def expand(self, files: beam.PCollection[FileElement]) -> beam.PCollection[FileElement]:
        """Groups the files, of which no two have a location."""
        return files | beam.GroupByKey() | beam.FlatMap(self._ungrouped)

    @staticmethod
    def _ungrouped(
        group: tuple[bytes, Iterable[tuple[bytes, tuple[int, int]]]],
    ) -> Iterable[FileElement]:
        location, values = group
        return [(location, value) for value in values]


def is_of(element: FileElement, split: str) -> bool:
    """Whether a file is of `split`."""
    return ReviewFile.from_element(element).split == split


@beam.typehints.with_output_types(tuple[bytes, TokenCounts])
class CountTokens(beam.DoFn):
    """Counts the tokens of each bundle; the counts of all bundles have the same key."""

    def start_bundle(self) -> None:
        """Starts from zero."""
        self._counts: Counter[bytes] = Counter()

    def process(self, element: FileElement) -> None:
        """Adds the tokens of a file."""
        file = ReviewFile.from_element(element)
        events.progress(f"counting {file.split}: {Path(file.location).name}")
        for batch in read_reviews(file):
            # Counted by TensorFlow first: a token is hundreds of times in a batch.
            tokens, _, counts = tf.unique_with_counts(
                tokenize(tf.constant(batch.texts)).flat_values
            )
            for token, count in zip(tokens.numpy().tolist(), counts.numpy().tolist(), strict=True):
                self._counts[token] += count

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Gives the counts of the bundle, in elements of a thousand tokens."""
        window = GlobalWindow()
        counts = list(self._counts.items())
        for start in range(0, len(counts), _COUNTS_OF_AN_ELEMENT):
            element = (_ONE_KEY, counts[start : start + _COUNTS_OF_AN_ELEMENT])
            yield WindowedValue(element, window.max_timestamp(), [window])


def cut_vocabulary(group: tuple[bytes, Iterable[TokenCounts]], size: int) -> bytes:
    """The content of `vocabulary.txt`: the special tokens and the commonest others, `size` in all.

    Ties break by token. A text can't spell a special token, so that none of them is among the
    counted.
    """
    special = [token.encode() for token in SPECIAL_TOKENS]
    total: Counter[bytes] = Counter()
    for counts in group[1]:
        for token, count in counts:
            total[token] += count
    counted = [(token, count) for token, count in total.items() if token not in special]
    counted.sort(key=lambda item: (-item[1], item[0]))
    tokens = special + [token for token, _ in counted[: size - len(special)]]
    return b"\n".join(tokens) + b"\n"


class Encode(beam.DoFn):
    """Encodes the files of reviews, each into a shard of its own; gives the statistics of each.

    Args:
        config: how to encode.
        directory: the location of the folder of the examples.
        champion_vocabulary: the tokens that the champion knows; empty where there is none.
    """

    def __init__(
        self,
        config: PreprocessConfig,
        directory: str,
        champion_vocabulary: frozenset[bytes] = frozenset(),
    ) -> None:
        self._config = config
        self._directory = directory
        self._champion_vocabulary = champion_vocabulary
        self._encoder: TextEncoder | None = None

    def process(
        self, element: FileElement, vocabulary: bytes
    ) -> Iterator[tuple[bytes, tuple[bytes, bytes]]]:
        """Encodes a file; `vocabulary` is what `cut_vocabulary` returned."""
        file = ReviewFile.from_element(element)
        if self._encoder is None:
            self._encoder = _text_encoder(vocabulary, self._config)
        name = shard_name(file.place, file.files)
        events.progress(f"writing {file.split}: {name}")
        statistics = SplitStatistics()
        known = self._champion_vocabulary if file.split == VALIDATION else frozenset()
        with (
            writing(f"{self._directory}/{file.split}/{name}") as path,
            tf.io.TFRecordWriter(str(path)) as writer,
        ):
            for number, batch in enumerate(read_reviews(file)):
                tokens = tokenize(tf.constant(batch.texts))
                ids = self._encoder.lookup(tokens)
                kept = self._encoder.cut(ids)
                for record in _serialized(batch, kept):
                    writer.write(record)
                statistics.add(_of_texts(batch.texts, (file.place, number)))
                statistics.add(_of_tokens(batch.labels, tokens, ids, kept, known))
        yield _ONE_KEY, (file.split.encode(), statistics.to_json())


def _serialized(batch: ReviewBatch, kept: tf.RaggedTensor) -> Iterator[bytes]:
    """The records of a batch."""
    offsets = kept.row_splits.numpy().tolist()
    flat = kept.flat_values.numpy().tolist()
    for row, (start, stop) in enumerate(itertools.pairwise(offsets)):
        yield serialize_example(batch.ids[row], flat[start:stop], batch.labels[row])


def _of_texts(texts: list[bytes], place: tuple[int, int]) -> SplitStatistics:
    """What the texts of a batch say by themselves; `place` is that of the batch in the split."""
    first, last = (hashlib.sha256(text).digest() for text in (texts[0], texts[-1]))
    repeated = sum(before == after for before, after in itertools.pairwise(texts))
    return SplitStatistics(duplicates=repeated, ends={place: (first, last)})


def _of_tokens(
    labels: list[int],
    tokens: tf.RaggedTensor,
    ids: tf.RaggedTensor,
    kept: tf.RaggedTensor,
    champion_vocabulary: frozenset[bytes],
) -> SplitStatistics:
    """What the tokens of a batch say, before and after the cut."""
    lengths = tokens.row_lengths().numpy()
    first = tf.gather(tokens.flat_values, tokens.row_starts()).numpy()
    empty = (lengths == 1) & (first == SPECIAL_TOKENS[UNK_ID].encode())
    kept_ids = kept.flat_values.numpy()
    unknown = 0
    if champion_vocabulary:
        words = tokens.flat_values.numpy().tolist()
        unknown = sum(word not in champion_vocabulary for word in words)
    return SplitStatistics(
        labels=Counter(labels),
        lengths=Counter(np.where(empty, 0, lengths).tolist()),
        kept_tokens=len(kept_ids),
        unknown_tokens=int((kept_ids == UNK_ID).sum()),
        tokens=int(lengths.sum()),
        uncut_unknown_tokens=int((ids.flat_values.numpy() == UNK_ID).sum()),
        unknown_to_champion=unknown,
        empty=int(empty.sum()),
    )


def _text_encoder(vocabulary: bytes, config: PreprocessConfig) -> TextEncoder:
    """The encoder that serving uses, from a vocabulary that came as a side input."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / VOCABULARY_FILE
        path.write_bytes(vocabulary)
        return TextEncoder(path, config.max_length, config.truncating)


def write_vocabulary(vocabulary: bytes, location: str) -> None:
    """Writes `vocabulary.txt`."""
    with writing(location) as path:
        path.write_bytes(vocabulary)


def write_statistics(group: tuple[bytes, Iterable[tuple[bytes, bytes]]], location: str) -> None:
    """Adds up the statistics of the files by split, and writes `statistics.json`."""
    splits: defaultdict[str, SplitStatistics] = defaultdict(SplitStatistics)
    for split, part in group[1]:
        splits[split.decode()].add(SplitStatistics.from_json(part))
    with writing(location) as path:
        write_json(path, {"splits": {split: part.summary() for split, part in splits.items()}})
