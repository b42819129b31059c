"""The Beam transforms of preprocessing. An element is a file of the prepared reviews, small enough
for a worker to take whole, and TensorFlow's ops work on many of its reviews at a time.

Ingest sorts the reviews of a split by the digests of their texts, over all its files: so the files
are encoded each by itself, without a shuffle, and what stays in memory is a batch.
"""

import hashlib
import itertools
import tempfile
from collections import Counter
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


@dataclass(frozen=True, slots=True)
class ReviewFile:
    """A TFRecord file of the prepared data set."""

    split: str
    location: str
    place: int
    """Among the files of the split, from 0."""
    files: int
    """Of the split."""


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


class CountTokens(beam.DoFn):
    """Counts the tokens of each bundle."""

    def start_bundle(self) -> None:
        """Starts from zero."""
        self._counts: Counter[bytes] = Counter()

    def process(self, file: ReviewFile) -> None:
        """Adds the tokens of a file."""
        events.progress(f"counting {file.split}: {Path(file.location).name}")
        for batch in read_reviews(file):
            # Counted by TensorFlow first: a token is hundreds of times in a batch.
            tokens, _, counts = tf.unique_with_counts(
                tokenize(tf.constant(batch.texts)).flat_values
            )
            for token, count in zip(tokens.numpy().tolist(), counts.numpy().tolist(), strict=True):
                self._counts[token] += count

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Gives the counts of the bundle."""
        window = GlobalWindow()
        yield WindowedValue(self._counts, window.max_timestamp(), [window])


class SumCounts(beam.CombineFn):
    """Adds up token counts."""

    def create_accumulator(self) -> Counter[bytes]:
        """No token yet."""
        return Counter()

    def add_input(self, total: Counter[bytes], counts: Counter[bytes]) -> Counter[bytes]:
        """Adds the counts of a bundle."""
        total.update(counts)
        return total

    def merge_accumulators(self, totals: Iterable[Counter[bytes]]) -> Counter[bytes]:
        """Adds up the counts of several workers."""
        result: Counter[bytes] = Counter()
        for total in totals:
            result.update(total)
        return result

    def extract_output(self, total: Counter[bytes]) -> Counter[bytes]:
        """The counts themselves."""
        return total


def cut_vocabulary(counts: Counter[bytes], size: int) -> list[bytes]:
    """The special tokens and the commonest others, `size` in all; ties break by token.

    A text can't spell a special token, so that none of them is among the counted.
    """
    special = [token.encode() for token in SPECIAL_TOKENS]
    counted = [(token, count) for token, count in counts.items() if token not in special]
    counted.sort(key=lambda item: (-item[1], item[0]))
    return special + [token for token, _ in counted[: size - len(special)]]


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
        self, file: ReviewFile, vocabulary: list[bytes]
    ) -> Iterator[tuple[str, SplitStatistics]]:
        """Encodes a file."""
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
        yield file.split, statistics


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


def add_statistics(parts: Iterable[SplitStatistics]) -> SplitStatistics:
    """Adds up statistics, for a CombinePerKey."""
    total = SplitStatistics()
    for part in parts:
        total.add(part)
    return total


def _text_encoder(vocabulary: list[bytes], config: PreprocessConfig) -> TextEncoder:
    """The encoder that serving uses, from a vocabulary that came as a side input."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / VOCABULARY_FILE
        path.write_bytes(vocabulary_bytes(vocabulary))
        return TextEncoder(path, config.max_length, config.truncating)


def write_vocabulary(vocabulary: list[bytes], location: str) -> None:
    """Writes `vocabulary.txt`."""
    with writing(location) as path:
        path.write_bytes(vocabulary_bytes(vocabulary))


def write_statistics(splits: list[tuple[str, SplitStatistics]], location: str) -> None:
    """Writes `statistics.json`."""
    with writing(location) as path:
        write_json(path, {"splits": {split: part.summary() for split, part in splits}})


def vocabulary_bytes(vocabulary: list[bytes]) -> bytes:
    """The content of `vocabulary.txt`."""
    return b"\n".join(vocabulary) + b"\n"
