"""Writes what is downloaded, with progress."""

from collections.abc import Iterable
from typing import Any, BinaryIO

from components.shared import events

_PROGRESS_BYTES = 64 << 20


def write_chunks(chunks: Iterable[Any], file: BinaryIO) -> None:
    """Writes chunks, bytes-like, to a file, and reports each further 64 MiB of it."""
    for chunk in chunks:
        before = file.tell() // _PROGRESS_BYTES
        file.write(chunk)
        if file.tell() // _PROGRESS_BYTES > before:
            events.progress(f"{file.tell() >> 20:,} MiB fetched")
