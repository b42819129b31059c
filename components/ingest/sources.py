"""What a source may be, and the reader that each kind gets; none falls back to another."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from components.ingest import fetch, web
from components.ingest.aclimdb import folder_files, is_review, parse_reviews, printable
from components.ingest.archive import archive_files
from components.ingest.bundled import bundled_reviews
from components.ingest.spool import RawReview
from components.ingest.tfds_imdb import tfds_reviews
from components.shared.config import IngestConfig
from components.shared.errors import InputError
from components.shared.paths import require_file_or_folder
from components.shared.uris import WEB_SCHEMES, local_path, redacted, scheme_of

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
    return printable(redacted(source))


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
    scheme = scheme_of(source)
    name = display_name(source)
    if scheme in WEB_SCHEMES + fetch.STORE_SCHEMES:
        return parse_reviews(_remote_files(source, name, download, config), name)
    if scheme not in (None, "file"):
        schemes = ", ".join(("file", *WEB_SCHEMES, *fetch.STORE_SCHEMES))
        raise InputError(f"{name}: unknown scheme {scheme}://; the schemes are {schemes}")
    return parse_reviews(_local_files(source, name, config), name)


def _local_files(source: str, name: str, config: IngestConfig) -> Iterator[tuple[str, bytes]]:
    path = local_path(source)
    assert path is not None
    # A name that begins with ~ need not be that of a user with a home.
    with suppress(RuntimeError):
        path = path.expanduser()
    require_file_or_folder(path, name, ADVICE)
    if path.is_dir():
        return folder_files(path)
    return archive_files(path, name, is_review, config)


def _remote_files(
    uri: str, name: str, download: Path, config: IngestConfig
) -> Iterator[tuple[str, bytes]]:
    if scheme_of(uri) in WEB_SCHEMES:
        web.download(uri, download)
    elif uri.endswith("/") or not fetch.download(uri, download):
        return fetch.store_files(uri, is_review)
    return archive_files(download, name, is_review, config)
