"""Which review stands in which split: pure functions of the texts alone."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

Purpose = Literal["test", "validation"]

# Each purpose reads its own 64 bits of a text's digest, so that carving a validation split says
# nothing about which texts the test split got. The first 64 bits order the data set.
_DIGEST_BITS: Mapping[Purpose, slice] = {"test": slice(8, 16), "validation": slice(16, 24)}


class Entry(NamedTuple):
    """One review, its text left on disk; entries sort by content first."""

    digest: bytes
    """SHA-256 of the text, 32 bytes."""

    label: int
    """0 = negative, 1 = positive, -1 = unlabelled."""

    offset: int
    """Where the text starts in the spool file, in bytes."""

    length: int
    """The length of the text in UTF-8, in bytes."""


def text_digest(text: bytes) -> bytes:
    """The SHA-256 of a text in UTF-8, 32 bytes."""
    return hashlib.sha256(text).digest()


def text_share(digest: bytes, purpose: Purpose) -> float:
    """A text's place between 0 and 1, uniform over texts; a text below the fraction is carved."""
    return int.from_bytes(digest[_DIGEST_BITS[purpose]], "big") / 2**64


def carve(digests: Collection[bytes], fraction: float, purpose: Purpose) -> set[bytes]:
    """Picks the texts of a held-out split.

    Whether a text is picked depends on the text alone, not on its place nor on the other texts;
    save that of a data set too small for `fraction` one text is picked, the one nearest to it.

    Args:
        digests: the `text_digest` of each text.
        fraction: the share of texts to pick, above 0 and below 1.
        purpose: the split that they are picked for.
    """
    carved = {digest for digest in digests if text_share(digest, purpose) < fraction}
    return carved or set(sorted(digests, key=lambda d: (text_share(d, purpose), d))[:1])


def fingerprint(official: Mapping[str, Iterable[Entry]]) -> str:
    """The SHA-256 of all reviews (split as the source has it, label, text), in hexadecimal.

    It depends on the content only: the order of reviews, file names and times do not matter.
    """
    total = hashlib.sha256()
    for split in sorted(official):
        rows = sorted(entry.digest + bytes([entry.label + 1]) for entry in official[split])
        total.update(f"{split} {len(rows)}\n".encode())
        total.update(b"".join(rows))
    return total.hexdigest()
