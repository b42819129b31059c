"""The file format of the encoded examples: what preprocess writes and train reads.

    examples/features.json                        what the records were made with
    examples/<split>/examples-00000-of-00003.tfrecord

A record is a `tf.train.Example` with `id` (bytes), `token_ids` (int64, 1 to `max_length` of them),
`length` (int64, their number) and `label` (int64: 0 negative, 1 positive, -1 unlabelled).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.shared.artifacts import file_sha256, read_json, write_json
from components.shared.errors import InputError
from components.shared.tokenizer import SPECIAL_TOKENS, Truncating

FEATURES_FILE = "features.json"
VOCABULARY_FILE = "vocabulary.txt"
STATISTICS_FILE = "statistics.json"
_READ_BATCH = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What a set of examples was made with; whoever reads them must agree."""

    vocabulary_size: int
    vocabulary_sha256: str
    max_length: int
    truncating: Truncating
    rows: dict[str, int]
    """Examples in each split."""

    def save(self, examples: str | Path) -> None:
        """Writes `features.json` into the folder of the examples."""
        write_json(Path(examples) / FEATURES_FILE, asdict(self))

    @classmethod
    def load(cls, examples: str | Path) -> "Features":
        """Reads `features.json` from the folder of the examples.

        Raises:
            InputError: the file is missing or isn't of this format.
        """
        path = Path(examples) / FEATURES_FILE
        try:
            return cls(**read_json(path))
        except TypeError as error:
            raise InputError(f"{path}: of another format ({error}); run preprocess again") from None


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of a split, as columns."""

    token_ids: np.ndarray
    """int32 `[tokens]`: all examples one after the other."""
    offsets: np.ndarray
    """int64 `[rows + 1]`: example i is `token_ids[offsets[i]:offsets[i + 1]]`."""
    labels: np.ndarray
    """int32 `[rows]`; or float32, the probabilities of the label 1."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """int64 `[rows]`: tokens in each example."""
        return np.diff(self.offsets)


def concatenate(parts: Sequence[Examples]) -> Examples:
    """The examples of several splits, one after the other."""
    lengths = np.concatenate([part.lengths for part in parts])
    return Examples(
        np.concatenate([part.token_ids for part in parts]),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.concatenate([part.labels for part in parts]),
    )


def serialize_example(example_id: bytes, token_ids: Iterable[int], label: int) -> bytes:
    """Encodes one example; the same example gives the same bytes."""
    example = tf.train.Example()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(example_id)
    values = feature["token_ids"].int64_list.value
    values.extend(token_ids)
    feature["length"].int64_list.value.append(len(values))
    feature["label"].int64_list.value.append(label)
    return example.SerializeToString(deterministic=True)


def shard_name(shard: int, shards: int) -> str:
    """The file name of a shard, numbered from 0."""
    return f"examples-{shard:05d}-of-{shards:05d}.tfrecord"


def read_examples(examples: str | Path, split: str) -> Examples:
    """Reads the examples of a split, in the order of the files.

    Raises:
        InputError: a shard is missing or corrupt, or the number of rows isn't the recorded one.
    """
    directory = Path(examples) / split
    rows = Features.load(examples).rows
    if split not in rows:
        raise InputError(f"{examples}: has no split {split!r}, only {', '.join(sorted(rows))}")
    parts = [_read_shard(file) for file in sorted(directory.glob("*.tfrecord"))]
    result = _concatenate(parts)
    if len(result) != rows[split]:
        raise InputError(
            f"{directory}: holds {len(result):,} examples where {rows[split]:,} were written; "
            "a shard is missing or cut off: run preprocess again"
        )
    return result


def read_records(file: str | Path, batch_size: int) -> Iterator[tf.Tensor]:
    """The records of a TFRecord file, string `[<= batch_size]` at a time.

    Raises:
        InputError: the file is corrupt.
    """
    try:
        yield from tf.data.TFRecordDataset(str(file)).batch(batch_size)
    except tf.errors.DataLossError as error:
        raise InputError(
            f"{file}: a corrupt TFRecord file ({error.message.partition('}} ')[2]}); run the task "
            "that writes it again"
        ) from None


def _read_shard(file: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    spec = {
        "token_ids": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
        "length": tf.io.FixedLenFeature([], tf.int64),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    batches = []
    for records in read_records(file, _READ_BATCH):
        try:
            batch = tf.io.parse_example(records, spec)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(
                f"{file}: records of another format ({error.message}); run preprocess again"
            ) from None
        token_ids = batch["token_ids"]
        if not np.array_equal(token_ids.row_lengths(), batch["length"]):
            raise InputError(f"{file}: `length` and `token_ids` disagree; run preprocess again")
        flat = token_ids.flat_values.numpy().astype(np.int32)
        batches.append((flat, batch["length"].numpy(), batch["label"].numpy().astype(np.int32)))
    return batches


def _concatenate(shards: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]]) -> Examples:
    batches = [batch for shard in shards for batch in shard]
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int32))
    token_ids, lengths, labels = zip(*(batches or [empty]), strict=True)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return Examples(np.concatenate(token_ids), offsets, np.concatenate(labels))


def read_vocabulary(vocabulary: str | Path, features: Features | None = None) -> list[str]:
    """Reads `vocabulary.txt` from a vocabulary artifact, the token with id n at place n.

    Raises:
        InputError: the file is missing or damaged, or isn't the one that `features` names.
    """
    path = Path(vocabulary) / VOCABULARY_FILE
    try:
        tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; run preprocess first") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); run preprocess again") from None
    if tuple(tokens[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise InputError(f"{path}: does not begin with {SPECIAL_TOKENS}; run preprocess again")
    if features is not None and file_sha256(path) != features.vocabulary_sha256:
        raise InputError(
            f"{path}: {len(tokens):,} tokens, not the vocabulary of {features.vocabulary_size:,} "
            "tokens that the examples were encoded with; give both from one run of preprocess"
        )
    return tokens
