"""The prepared reviews: a TFDS data set of `id`, `text` (strings) and `label` (int64)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.shared.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

NAME = "reviews"
VERSION = "1.0.0"
NEGATIVE, POSITIVE, UNLABELLED = 0, 1, -1
LABEL_NAMES = {NEGATIVE: "neg", POSITIVE: "pos", UNLABELLED: "unsup"}
TRAIN, VALIDATION, TEST, UNSUPERVISED = "train", "validation", "test", "unsupervised"
SPLITS = (TRAIN, VALIDATION, TEST, UNSUPERVISED)
SUMMARY = "summary.json"


def reviews_builder(directory: str | Path) -> Any:
    """Finds the data set that `ingest` wrote below `directory`.

    Returns:
        A read-only `tfds.core.DatasetBuilder`; its `as_dataset(split=...)` gives the reviews.

    Raises:
        InputError: there is no data set in `directory`, or its description is damaged.
    """
    # Imported here: it takes a second that a module of names and constants should not cost.
    import tensorflow_datasets as tfds
    from google.protobuf import json_format

    path = Path(directory) / NAME / VERSION
    if not (path / "dataset_info.json").is_file():
        raise InputError(f"{directory}: holds no prepared reviews; give the output of `ingest`")
    try:
        return tfds.builder_from_directory(path)
    except (OSError, ValueError, KeyError, json_format.ParseError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: a damaged data set ({reason}); run `ingest` anew") from error


def split_sizes(directory: str | Path) -> dict[str, int]:
    """The number of reviews in each split; `unsupervised` stands only where the source had it."""
    splits = reviews_builder(directory).info.splits
    return {name: splits[name].num_examples for name in SPLITS if name in splits}


def split_shards(directory: str | Path, split: str) -> list[Path]:
    """The TFRecord files of a split, in order; `parse_review` reads what is in them.

    Raises:
        InputError: the data set has no such split, or one of its files is missing.
    """
    splits = reviews_builder(directory).info.splits
    if split not in splits:
        raise InputError(f"{directory}: has no split {split!r}; it has {', '.join(splits)}")
    paths = [Path(path) for path in splits[split].filepaths]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: the file is missing; run `ingest` anew")
    return paths


def parse_review(serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
    """Parses a batch of reviews.

    Args:
        serialized: string `[batch]`, records of the files that `split_shards` lists.

    Returns:
        `id` string `[batch]`, `text` string `[batch]`, `label` int64 `[batch]` (0 = negative,
        1 = positive, -1 = unlabelled).
    """
    # Imported here: ingest uses this module's names and does without TensorFlow.
    import tensorflow as tf

    features = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "text": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    parsed: dict[str, tf.Tensor] = tf.io.parse_example(serialized, features)
    return parsed
