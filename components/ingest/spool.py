"""Where the raw reviews wait: their texts in one file on disk, their digests in memory."""

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from components.ingest.checks import is_empty
from components.ingest.splits import Entry, text_digest


class RawReview(NamedTuple):
    """One review as a source gives it."""

    split: str
    """The source's own split: `train`, `test` or `unsupervised`."""

    label: int
    """0 = negative, 1 = positive, -1 = unlabelled."""

    text: bytes
    """Valid UTF-8."""


class Spool:
    """A file that takes texts in any order and gives each back by its entry.

    It makes one pass over a source enough, whatever the order of its splits, with the texts of
    no more than a shard in memory.

    Args:
        path: the file to make; removing it is the caller's.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=1 << 20)
        self._size = 0
        self.entries: defaultdict[str, list[Entry]] = defaultdict(list)
        """The reviews by the source's own split."""
        self.empty: set[bytes] = set()
        """The digests of the texts that are empty."""

    def close(self) -> None:
        """Closes the file; its entries stay."""
        self._file.close()

    def add(self, review: RawReview) -> None:
        """Takes a review in."""
        entry = Entry(text_digest(review.text), review.label, self._size, len(review.text))
        self._file.write(review.text)
        self._size += len(review.text)
        self.entries[review.split].append(entry)
        if is_empty(review.text):
            self.empty.add(entry.digest)

    def flush(self) -> None:
        """Makes what was added readable."""
        self._file.flush()

    def text(self, entry: Entry) -> bytes:
        """The text of an entry, after `flush`."""
        # pread: a memory map would count the whole file as memory of this process.
        return os.pread(self._file.fileno(), entry.length, entry.offset)
