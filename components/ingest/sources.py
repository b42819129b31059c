"""What a source may be, and the reader that each kind gets; none falls back to another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from components.ingest import fetch
from components.ingest.aclimdb import folder_files, is_review, parse_reviews, printable
from components.ingest.archive import archive_files
from components.ingest.bundled import bundled_reviews
from components.ingest.spool import RawReview
from components.ingest.tfds_imdb import tfds_reviews
from components.shared.config import IngestConfig
from components.shared.errors import InputError

Kind = Literal["bundled", "tfds", "archive"]
BUNDLED: Kind = "bundled"
TFDS: Kind = "tfds"
ARCHIVE: Kind = "archive"
ADVICE = "the sources are bundled, tfds, and the path or URI of an archive or folder"


def kind_of(source: str) -> Kind:
    """The kind of a source; any word but two is a path or URI."""
    return BUNDLED if source == BUNDLED else TFDS if source == TFDS else ARCHIVE


def display_name(source: str) -> str:
    """The source as messages and summaries may show it, without the secrets in a URI."""
    return printable(fetch.redacted(source) if fetch.scheme_of(source) else source)


def raw_reviews(
    source: str, download: Path, config: IngestConfig, data_dir: str | Path | None = None
) -> Iterator[RawReview]:
    """Reads a source, once and in its own order.

    Args:
        source: `bundled`, `tfds`, or the path or URI of an archive or folder in aclImdb's layout.
        download: the file to which a remote archive is fetched; the caller removes it.
        config: the limits of an archive.
        data_dir: where TFDS keeps its downloads; None for its own default.

    Raises:
        InputError: the source can't be reached or read, or is not what it should be.
    """
    if not source.strip():
        raise InputError(f"source: is empty; {ADVICE}")
    if source == BUNDLED:
        return bundled_reviews()
    if source == TFDS:
        return tfds_reviews(data_dir)
    scheme = fetch.scheme_of(source)
    name = display_name(source)
    if scheme in fetch.WEB_SCHEMES + fetch.STORE_SCHEMES:
        return parse_reviews(_remote_files(source, name, download, config), name)
    if scheme not in (None, "file"):
        schemes = ", ".join(("file", *fetch.WEB_SCHEMES, *fetch.STORE_SCHEMES))
        raise InputError(f"{name}: unknown scheme {scheme}://; the schemes are {schemes}")
    path = _path_of_uri(source, name) if scheme else Path(source).expanduser()
    return parse_reviews(_local_files(path, name, config), name)


def _local_files(path: Path, name: str, config: IngestConfig) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        return folder_files(path)
    if path.is_file():
        return archive_files(path, name, is_review, config)
    raise InputError(f"{name}: there is no such file or folder; {ADVICE}")


def _remote_files(
    uri: str, name: str, download: Path, config: IngestConfig
) -> Iterator[tuple[str, bytes]]:
    is_web = fetch.scheme_of(uri) in fetch.WEB_SCHEMES
    if (is_web or not uri.endswith("/")) and fetch.download(uri, download):
        return archive_files(download, name, is_review, config)
    if is_web:
        raise fetch.unreachable(uri, FileNotFoundError())
    return fetch.store_files(uri, is_review)


def _path_of_uri(uri: str, name: str) -> Path:
    host, _, path = uri.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise InputError(f"{name}: is on another machine; write file:///PATH")
    return Path("/", unquote(path))
