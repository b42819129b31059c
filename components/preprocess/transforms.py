"""The Beam transforms of preprocessing. Elements are batches of reviews, so that TensorFlow's ops
work on many at a time.
"""

import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

BATCH_SIZE = 512


@dataclass(frozen=True, slots=True)
class ReviewBatch:
    """Up to `BATCH_SIZE` reviews of one split."""

    split: str
    ids: list[bytes]
    texts: list[bytes]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded example on its way into a shard, where `digest` and `id` decide its place."""

    digest: bytes
    id: bytes
    serialized: bytes


def read_reviews(split_and_file: tuple[str, str]) -> Iterator[ReviewBatch]:
    """Reads a TFRecord file of the prepared data set, in batches."""
    split, file = split_and_file
    events.progress(f"reading {split}: {Path(file).name}")
    with reading(file) as path:
        for records in read_records(path, BATCH_SIZE):
            reviews = parse_review(records)
            yield ReviewBatch(
                split,
                reviews["id"].numpy().tolist(),
                reviews["text"].numpy().tolist(),
                reviews["label"].numpy().tolist(),
            )


class CountTokens(beam.DoFn):
    """Counts the tokens of each bundle."""

    def start_bundle(self) -> None:
        """Starts from zero."""
        self._counts: Counter[bytes] = Counter()

    def process(self, batch: ReviewBatch) -> None:
        """Adds the tokens of a batch."""
        tokens = tokenize(tf.constant(batch.texts)).flat_values
        self._counts.update(tokens.numpy().tolist())

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
    """Encodes reviews; gives records by shard, and the statistics of each bundle.

    Args:
        config: how to encode.
        shards: the number of shards of each split.
        champion_vocabulary: the tokens that the champion knows; empty where there is none.
    """

    STATISTICS = "statistics"

    def __init__(
        self,
        config: PreprocessConfig,
        shards: dict[str, int],
        champion_vocabulary: frozenset[bytes] = frozenset(),
    ) -> None:
        self._config = config
        self._shards = shards
        self._champion_vocabulary = champion_vocabulary
        self._encoder: TextEncoder | None = None

    def start_bundle(self) -> None:
        """Starts from zero."""
        self._statistics: dict[str, SplitStatistics] = defaultdict(SplitStatistics)

    def process(self, batch: ReviewBatch, vocabulary: list[bytes]) -> Iterator[Any]:
        """Encodes a batch: yields `((split, shard), records)`."""
        if self._encoder is None:
            self._encoder = _text_encoder(vocabulary, self._config)
        tokens = tokenize(tf.constant(batch.texts))
        ids = self._encoder.lookup(tokens)
        kept = self._encoder.cut(ids)
        self._add_statistics(batch, tokens, ids, kept)
        by_shard: dict[int, list[Record]] = defaultdict(list)
        offsets = kept.row_splits.numpy().tolist()
        flat = kept.flat_values.numpy().tolist()
        for row, text in enumerate(batch.texts):
            digest = hashlib.sha256(text).digest()
            shard = int.from_bytes(digest[:8], "big") % self._shards[batch.split]
            token_ids = flat[offsets[row] : offsets[row + 1]]
            serialized = serialize_example(batch.ids[row], token_ids, batch.labels[row])
            by_shard[shard].append(Record(digest, batch.ids[row], serialized))
        for shard, records in by_shard.items():
            yield (batch.split, shard), records

    def finish_bundle(self) -> Iterator[beam.pvalue.TaggedOutput]:
        """Gives the statistics of the bundle by split."""
        window = GlobalWindow()
        for item in self._statistics.items():
            value = WindowedValue(item, window.max_timestamp(), [window])
            yield beam.pvalue.TaggedOutput(self.STATISTICS, value)

    def _add_statistics(
        self,
        batch: ReviewBatch,
        tokens: tf.RaggedTensor,
        ids: tf.RaggedTensor,
        kept: tf.RaggedTensor,
    ) -> None:
        lengths = tokens.row_lengths().numpy()
        first = tf.gather(tokens.flat_values, tokens.row_starts()).numpy()
        empty = (lengths == 1) & (first == SPECIAL_TOKENS[UNK_ID].encode())
        kept_ids = kept.flat_values.numpy()
        self._statistics[batch.split].add(
            SplitStatistics(
                labels=Counter(batch.labels),
                lengths=Counter(np.where(empty, 0, lengths).tolist()),
                kept_tokens=len(kept_ids),
                unknown_tokens=int((kept_ids == UNK_ID).sum()),
                tokens=int(lengths.sum()),
                uncut_unknown_tokens=int((ids.flat_values.numpy() == UNK_ID).sum()),
                unknown_to_champion=self._unknown_to_champion(batch.split, tokens),
                empty=int(empty.sum()),
            )
        )

    def _unknown_to_champion(self, split: str, tokens: tf.RaggedTensor) -> int:
        known = self._champion_vocabulary
        if not known or split != VALIDATION:
            return 0
        return sum(token not in known for token in tokens.flat_values.numpy().tolist())


class WriteShard(beam.DoFn):
    """Writes the records of a shard in order; gives the statistics of duplicates by split.

    Args:
        directory: the location of the folder of the examples.
        shards: the number of shards of each split.
    """

    def __init__(self, directory: str, shards: dict[str, int]) -> None:
        self._directory = directory
        self._shards = shards

    def process(
        self, element: tuple[tuple[str, int], Iterable[list[Record]]]
    ) -> Iterator[tuple[str, SplitStatistics]]:
        """Writes one file."""
        (split, shard), batches = element
        records = sorted(
            (record for batch in batches for record in batch), key=lambda r: (r.digest, r.id)
        )
        name = shard_name(shard, self._shards[split])
        events.progress(f"writing {split}: {name}")
        with (
            writing(f"{self._directory}/{split}/{name}") as path,
            tf.io.TFRecordWriter(str(path)) as writer,
        ):
            for record in records:
                writer.write(record.serialized)
        # The digest is that of the text: reviews of the same text are neighbours.
        duplicates = len(records) - len({record.digest for record in records})
        yield split, SplitStatistics(duplicates=duplicates)


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
