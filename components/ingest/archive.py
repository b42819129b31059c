"""Reads archives that nobody vouches for: front to back, once, unpacking nothing, within limits."""

import gzip
import io
import itertools
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from components.ingest.aclimdb import MAX_REVIEW_BYTES, printable, too_large
from components.ingest.splits import text_digest
from components.shared.config import IngestConfig
from components.shared.errors import InputError

MAX_RATIO = 200
"""How many times its size an archive may unpack to; that of text is below 10."""

UNSUSPECTED_BYTES = 256 << 20
"""What an archive may unpack to whatever the ratio: a few words over and over shrink further."""

MAX_HEADER_BYTES = 256 << 10
"""What an archive may say about one member; tarfile takes it into memory."""

MAX_NAME_BYTES = 4096
"""The length of a member's name, its folders included, as Linux has it."""

# Damaged headers make tarfile raise ValueError and RecursionError too.
_DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RecursionError)
_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_MAGICS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_TAR_MAGIC = b"ustar"
_BLOCK = 512
_CHUNK = 1 << 20
_SHOWN = 300


def archive_files(
    path: Path, source: str, wanted: Callable[[str], bool], config: IngestConfig
) -> Iterator[tuple[str, bytes]]:
    """Reads a .tar.gz, .tgz or .tar archive in a single pass.

    Args:
        path: the archive.
        source: what to call it in messages.
        wanted: picks members by their names.
        config: the limits `max_archive_bytes` and `max_archive_members`.

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
        limits = _Limits.of(path, config)
        try:
            stream = _Stream(_unpacked(file), source, limits)
            with _open_tar(stream, source) as tar:
                yield from _members(tar, stream, source, wanted, config.max_archive_members)
            stream.check_end()
        except InputError:
            raise
        except _DAMAGED as error:
            raise _damaged(source, str(error)) from error


def _members(
    tar: tarfile.TarFile,
    stream: "_Stream",
    source: str,
    wanted: Callable[[str], bool],
    max_members: int,
) -> Iterator[tuple[str, bytes]]:
    # Of each name its digest: names may be long, and members many.
    seen: set[bytes] = set()
    for count in itertools.count(1):
        stream.start_header()
        if (member := tar.next()) is None:
            return
        # Else it keeps a kilobyte for each member, and all that is said of all of them.
        tar.members.clear()  # type: ignore[attr-defined]
        tar.pax_headers = {}
        name = member.name
        if count > max_members:
            raise InputError(
                f"{source}: holds more than {max_members:,} files and folders; split it, or set"
                " another limit with --set max_archive_members=NUMBER"
            )
        if (problem := _problem(member)) is not None:
            raise InputError(f"{source}: {_shown(name)} {problem}; pack the archive anew")
        if not member.isreg() or not wanted(name):
            continue
        digest = text_digest(name.encode(errors="surrogateescape"))
        if digest in seen:
            raise InputError(f"{source}: {_shown(name)} stands in it twice; pack the archive anew")
        seen.add(digest)
        if member.size > MAX_REVIEW_BYTES:
            raise InputError(f"{source}: {_shown(name)} has {too_large(member.size)}")
        # tarfile stands where the content starts; its own file objects would take a while longer.
        yield name, stream.take(member.size)


def _problem(member: tarfile.TarInfo) -> str | None:
    if len(member.name.encode(errors="surrogateescape")) > MAX_NAME_BYTES:
        return f"has a name of more than {MAX_NAME_BYTES:,} bytes"
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "leads outside the archive's folder"
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "is a link, a device or sparse, not a plain file"
    return f"is said to have {member.size:,} bytes" if member.size < 0 else None


def _shown(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _open_tar(stream: "_Stream", source: str) -> tarfile.TarFile:
    try:
        # _Stream can't seek back, which reading in order never asks for.
        return tarfile.open(fileobj=stream, mode="r:")
    except tarfile.TarError as error:
        raise InputError(
            f"{source}: not a .tar.gz or .tar archive ({error}); give one in aclImdb's layout"
        ) from error


def _unpacked(file: io.BufferedReader) -> io.BufferedReader:
    """The bytes of the tar archive in a file.

    There are two layers where a server packed a .tar.gz once more for its way. What the server says
    of that isn't asked: with the same Content-Encoding another one means the .gz itself.
    """
    for _ in range(2):
        start = file.peek(_BLOCK)
        # The outer buffers spare the many small reads of tarfile a way through Python code.
        if start.startswith(_GZIP_MAGIC):
            file = io.BufferedReader(gzip.GzipFile(fileobj=file, mode="rb"), _CHUNK)
        elif start.startswith(_DEFLATE_MAGICS) and start[257:262] != _TAR_MAGIC:
            file = io.BufferedReader(_Inflated(file), _CHUNK)
    return file


class _Inflated(io.RawIOBase):
    """What is packed by HTTP's content coding "deflate", which is the format of zlib (RFC 1950)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompress = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decompress.eof:
            packed = self._decompress.unconsumed_tail or self._file.read(_CHUNK)
            unpacked = self._decompress.decompress(packed, len(buffer))
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
            if not packed:
                raise EOFError("the compressed data ends too early")
        return 0


def _damaged(source: str, reason: str) -> InputError:
    return InputError(f"{source}: truncated or damaged ({reason}); fetch or pack it anew")


@dataclass(frozen=True, slots=True)
class _Limits:
    """How much an archive may unpack to."""

    size: int
    """In bytes, whatever its own size."""

    by_ratio: int
    """In bytes, by its own size."""

    @classmethod
    def of(cls, path: Path, config: IngestConfig) -> Self:
        by_ratio = max(UNSUSPECTED_BYTES, MAX_RATIO * path.stat().st_size)
        return cls(config.max_archive_bytes, by_ratio)

    def require(self, position: int, source: str) -> None:
        if position > self.size:
            raise InputError(
                f"{source}: unpacks to more than {self.size:,} bytes; split it, or set another"
                " limit with --set max_archive_bytes=NUMBER"
            )
        if position > self.by_ratio:
            raise InputError(
                f"{source}: unpacks to more than {MAX_RATIO} times its size, as no reviews do; pack"
                " the archive anew, or give it unpacked"
            )


class _Stream(io.RawIOBase):
    """An unpacked archive for tarfile to read forward, within limits, and to its proper end."""

    def __init__(self, file: BinaryIO, source: str, limits: _Limits) -> None:
        self._file = file
        self._source = source
        self._limits = limits
        self._position = 0
        self._header_bytes = 0
        self._last = b""

    def start_header(self) -> None:
        """Counts anew what tarfile reads: all that it reads by itself is about one member."""
        self._header_bytes = 0

    def read(self, size: int = -1) -> bytes:
        self._header_bytes += size
        if not 0 <= size <= MAX_HEADER_BYTES or self._header_bytes > MAX_HEADER_BYTES:
            raise _damaged(self._source, f"a header of {self._header_bytes:,} bytes")
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
        self._limits.require(self._position, self._source)
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
