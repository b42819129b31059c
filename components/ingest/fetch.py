"""Reads reviews from object stores: an archive, or a folder."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from components.ingest.aclimdb import MAX_REVIEW_BYTES, too_large
from components.ingest.chunks import write_chunks
from components.shared.errors import InputError
from components.shared.retries import retried
from components.shared.stores import first_line, mistake, open_store, transient, trouble
from components.shared.uris import redacted, require_uri

STORE_SCHEMES = ("s3", "gs", "az")

_PAGE = 1000
_PARALLEL_GETS = 16


def download(uri: str, path: Path) -> bool:
    """Streams the object at `uri` to the file `path`.

    Returns:
        Whether there is such an object.

    Raises:
        InputError: it can't be reached.
    """
    store, key = _store(uri)

    with path.open("wb") as file:

        def copy() -> None:
            chunks = store.get(key).stream(min_chunk_size=1 << 20)
            file.seek(0)
            file.truncate()
            write_chunks(chunks, file)

        try:
            retried(copy, transient, redacted(uri))
        except FileNotFoundError:
            return False
        except InputError:
            raise
        except (BaseError, ValueError) as error:
            raise unreachable(uri, error) from None
    return True


def store_files(uri: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Reads the objects below `uri` that `wanted` picks by their keys.

    Raises:
        InputError: the store can't be reached, or an object is too large.
    """
    store, prefix = _store(uri)

    def read(meta: Any) -> tuple[str, bytes]:
        if meta["size"] > MAX_REVIEW_BYTES:
            raise InputError(f"{redacted(uri)}: {meta['path']} has {too_large(meta['size'])}")
        path = meta["path"]
        return path, retried(
            lambda: bytes(store.get(path).bytes()), transient, f"{redacted(uri)}: {path}"
        )

    def listed() -> list[Any]:
        return [meta for page in store.list(prefix, chunk_size=_PAGE) for meta in page]

    try:
        metas = retried(listed, transient, redacted(uri))
    except InputError:
        raise
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise unreachable(uri, error) from None
    if not metas:
        raise unreachable(uri, FileNotFoundError())
    found = [meta for meta in metas if wanted(meta["path"])]
    with ThreadPoolExecutor(_PARALLEL_GETS) as pool:
        for start in range(0, len(found), _PAGE):
            yield from _received(uri, pool.map(read, found[start : start + _PAGE]))


def unreachable(uri: str, error: Exception) -> InputError:
    """Says that a URI can't be reached, without the parts of it that may be secrets."""
    status = re.search(r"status code: (\d{3}[A-Za-z ]*)", str(error))
    if known := mistake(error) or trouble(error):
        reason = known
    elif isinstance(error, FileNotFoundError):
        reason = "there is nothing"
    elif isinstance(error, PermissionDeniedError | UnauthenticatedError):
        reason = f"access refused, {status[1].strip() if status else 'check the credentials'}"
    elif status:
        reason = f"the server answers {status[1].strip()}"
    else:
        reason = "no answer, or the connection broke"
    return InputError(
        f"{redacted(uri)}: can't be reached ({reason}); check the address, the network and the"
        " credentials, or use the source bundled or tfds"
    )


def _store(uri: str) -> tuple[Any, str]:
    """The object store of a URI, and the key in it."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    require_uri("source", uri)
    if not bucket:
        raise InputError(f"{redacted(uri)}: names no host or bucket; write SCHEME://HOST/PATH")
    try:
        return open_store(f"{scheme.lower()}://{bucket}"), key
    except InputError:
        raise
    except (BaseError, ValueError) as error:
        # What follows the first line is the library's own notes for debugging.
        raise InputError(
            f"{redacted(uri)}: can't be opened ({first_line(error)}); correct it"
        ) from None


def _received(uri: str, parts: Iterator[Any]) -> Iterator[Any]:
    """Passes on what a store sends until it fails."""
    try:
        yield from parts
    except InputError:
        raise
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise unreachable(uri, error) from None
