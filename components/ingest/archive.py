"""Reads archives that nobody vouches for: front to back, once, unpacking nothing, within limits."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from components.ingest.aclimdb import MAX_REVIEW_BYTES, printable, too_large
from components.shared.errors import InputError

MAX_MEMBERS = 10_000_000
"""Files and folders in an archive."""

MAX_ARCHIVE_BYTES = 32 << 30
"""The size of an archive, unpacked."""

MAX_HEADER_BYTES = 256 << 10
"""What an archive may say about one member; tarfile takes it into memory."""

# Damaged headers make tarfile raise ValueError and RecursionError too.
_DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RecursionError)
_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 512
_CHUNK = 1 << 20


def archive_files(
    path: Path, source: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Reads a .tar.gz, .tgz or .tar archive in a single pass.

    Args:
        path: the archive.
        source: what to call it in messages.
        wanted: picks members by their names.

    Yields:
        Name and content of each wanted file.

    Raises:
        InputError: not an archive, truncated or damaged; a member that is a link or a device,
            that leads outside or stands twice; more than the limits allow.
    """
    try:
        opened = path.open("rb")
    except OSError as error:
        raise InputError(f"{source}: can't be read ({error.strerror}); make it readable") from error
    with opened as file:
        stream = _Stream(_unpacked(file), source)
        try:
            with _open_tar(stream, source) as tar:
                yield from _members(tar, stream, source, wanted)
            stream.check_end()
        except InputError:
            raise
        except _DAMAGED as error:
            raise _damaged(source, str(error)) from error


def _members(
    tar: tarfile.TarFile, stream: "_Stream", source: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    count = 0
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # else it keeps a kilobyte for each
        count += 1
        name = member.name
        problem = _problem(member, count) or ("stands in it twice" if name in seen else None)
        if problem is not None:
            raise InputError(f"{source}: {printable(name)} {problem}; pack the archive anew")
        if not member.isreg() or not wanted(name):
            continue
        seen.add(name)
        if member.size > MAX_REVIEW_BYTES:
            raise InputError(f"{source}: {printable(name)} has {too_large(member.size)}")
        # tarfile stands where the content starts; its own file objects would take a while longer.
        yield name, stream.take(member.size)


def _problem(member: tarfile.TarInfo, count: int) -> str | None:
    if count > MAX_MEMBERS:
        return f"is one member more than the {MAX_MEMBERS:,} that an archive may have"
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "leads outside the archive's folder"
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "is a link, a device or sparse, not a plain file"
    return None


def _open_tar(stream: "_Stream", source: str) -> tarfile.TarFile:
    try:
        # _Stream can't seek back, which reading in order never asks for.
        return tarfile.open(fileobj=stream, mode="r:")
    except tarfile.TarError as error:
        raise InputError(
            f"{source}: not a .tar.gz or .tar archive ({error}); give one in aclImdb's layout"
        ) from error


def _unpacked(file: BinaryIO) -> BinaryIO:
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    # The outer buffer spares the many small reads of tarfile a way through gzip's Python code.
    return io.BufferedReader(gzip.GzipFile(fileobj=file), _CHUNK) if magic == _GZIP_MAGIC else file


def _damaged(source: str, reason: str) -> InputError:
    return InputError(f"{source}: truncated or damaged ({reason}); fetch or pack it anew")


class _Stream(io.RawIOBase):
    """An unpacked archive for tarfile to read forward, within limits, and to its proper end."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        self._file = file
        self._source = source
        self._position = 0
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        if size > MAX_HEADER_BYTES:
            raise _damaged(self._source, f"a header of {size:,} bytes")
        self._last = self._advance(size)
        return self._last

    def take(self, size: int) -> bytes:
        """Reads the `size` bytes of a member's content."""
        content = self._advance(size)
        if len(content) < size:
            raise _damaged(self._source, "unexpected end of data")
        return content

    def _advance(self, size: int) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        if self._position > MAX_ARCHIVE_BYTES:
            raise InputError(
                f"{self._source}: unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes; split it"
            )
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        while self._position < position and self._advance(min(position - self._position, _CHUNK)):
            pass
        return self._position

    def check_end(self) -> None:
        """Reads what follows the last member: tarfile takes any damaged header for the end."""
        if len(self._last) != _BLOCK or any(self._last):
            raise _damaged(self._source, "no end mark")
        while rest := self._advance(_CHUNK):
            if any(rest):
                raise _damaged(self._source, "data after the end mark")
