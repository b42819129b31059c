"""The project's own TFDS builder: it writes reviews as sharded TFRecords, the same bytes each time.

It does so without TensorFlow, whose import would take longer than the work.
"""

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import tensorflow_datasets as tfds
from tensorflow_datasets.core import writer
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.proto import tf_example_pb2

from components.ingest.splits import Entry
from components.shared import events
from components.shared import reviews as shared

SHARD_BYTES = 8 << 20
"""The text that a shard holds, about; small enough for Beam to read a split in parallel."""


class Reviews(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Reviews of any source, in the order of their digests.

    Args:
        data_dir: the directory below which the data set `reviews/1.0.0` is written.
        splits: the reviews of each split, sorted.
        text: gives the text of a review, in UTF-8.
    """

    name = shared.NAME
    VERSION = tfds.core.Version(shared.VERSION)

    def __init__(
        self,
        *,
        data_dir: Path,
        splits: Mapping[str, Sequence[Entry]],
        text: Callable[[Entry], bytes],
    ) -> None:
        self._entries = splits
        self._text = text
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Movie reviews with their sentiment.",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "text": tfds.features.Text(),
                    # TFDS lets -1 stand for "no label".
                    "label": tfds.features.ClassLabel(names=["neg", "pos"]),
                }
            ),
            supervised_keys=("text", "label"),
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable[[], Any]]]:
        return {
            split: [partial(self._examples, split, shard) for shard in _shards(entries)]
            for split, entries in self._entries.items()
        }

    def _examples(
        self, split: str, shard: Sequence[tuple[str, Entry]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        events.progress(f"writing {split}: {len(shard):,} reviews more")
        for id_, entry in shard:
            yield id_, {"id": id_, "text": self._text(entry), "label": entry.label}

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        """As TFDS does it, but for the owner and group of each shard.

        TFDS reads a shard's size together with their names, which a container's user need not have.
        """
        shard_writer = writer.ShardWriter(
            features=self.info.features,
            serializer=ExampleSerializer(self.info.features.get_serialized_info()),
            example_writer=self._example_writer(),
        )
        infos = [
            self._write_split(split, shards, shard_writer)
            for split, shards in self._shard_iterators_per_split(dl_manager).items()
        ]
        self.info.set_splits(tfds.core.splits.SplitDict(infos))

    def _write_split(
        self, split: str, shards: Sequence[Callable[[], Any]], shard_writer: writer.ShardWriter
    ) -> Any:
        """Writes the shards of a split; returns its `SplitInfo`."""
        template = self._get_filename_template(split_name=split)
        paths = [
            Path(template.sharded_filepath(shard_index=shard, num_shards=len(shards)))
            for shard in range(len(shards))
        ]
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=[
                shard_writer.write(path=path, examples=examples())
                for path, examples in zip(paths, shards, strict=True)
            ],
            num_bytes=sum(path.stat().st_size for path in paths),
            filename_template=template,
        )

    def _log_download_bytes(self) -> None:
        """Nothing: TFDS would say that it downloads a data set of unknown size."""

    def _log_download_done(self) -> None:
        """Nothing: TFDS would name the directory of a moment ago."""

    def _example_writer(self) -> writer.ExampleWriter:
        return _DeterministicWriter(file_format=self.info.file_format)


class _DeterministicWriter(writer.ExampleWriter):
    """Writes TFRecords whose bytes follow from the examples alone."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> None:
        with Path(path).open("wb") as file:
            for _, serialized in examples:
                # A protobuf map has no order of its own: TFDS's bytes differ between processes.
                example = tf_example_pb2.Example.FromString(serialized)
                _write_record(file, example.SerializeToString(deterministic=True))


def _write_record(file: BinaryIO, record: bytes) -> None:
    """Frames a record as TFRecord files have it: length, its checksum, record, its checksum."""
    length = struct.pack("<Q", len(record))
    file.write(length + _masked_crc(length) + record + _masked_crc(record))


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _shards(entries: Sequence[Entry]) -> list[list[tuple[str, Entry]]]:
    """Cuts a split into shards of equal rows, about `SHARD_BYTES` of text in each."""
    identified = _with_ids(entries)
    count = -(-sum(entry.length for entry in entries) // SHARD_BYTES) or 1
    bounds = [len(identified) * shard // count for shard in range(count + 1)]
    return [identified[start:stop] for start, stop in itertools.pairwise(bounds)]


def _with_ids(entries: Sequence[Entry]) -> list[tuple[str, Entry]]:
    """Gives each of the sorted entries its id: digest, label, and a number among its duplicates."""
    groups = itertools.groupby(entries, key=lambda entry: (entry.digest, entry.label))
    return [
        (f"{digest.hex()}-{shared.LABEL_NAMES[label]}-{ordinal}", entry)
        for (digest, label), group in groups
        for ordinal, entry in enumerate(group)
    ]
