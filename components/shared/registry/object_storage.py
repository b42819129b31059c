"""A registry's files in a bucket of S3, GCS or Azure, through obstore."""

import functools
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, Self, TypeVar, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from components.shared.artifacts import atomic_directory
from components.shared.errors import InputError
from components.shared.registry.storage import (
    MODEL_FOLDER,
    SAVED_MODEL_FILE,
    STAGING_PREFIX,
    StorageFailure,
    saved_model_file_last,
)
from components.shared.retries import retried
from components.shared.stores import first_line, mistake, open_store, transient, trouble
from components.shared.uris import redacted

_BUCKETS = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")

P = ParamSpec("P")
T = TypeVar("T")


def _in_plain_words(method: Callable[P, T]) -> Callable[P, T]:
    """Repeats a request that isn't answered; turns obstore's errors into words for a user."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        location = cast("ObjectStorage", args[0]).location
        try:
            return retried(lambda: method(*args, **kwargs), transient, location)
        except (BaseError, FileNotFoundError) as error:
            raise _in_words(location, error) from None

    return call


def _in_words(location: str, error: Exception) -> Exception:
    if isinstance(error, AlreadyExistsError):
        return FileExistsError(first_line(error))
    if words := mistake(error):
        return InputError(f"{location}: {words}")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(first_line(error))
    if words := trouble(error):
        return StorageFailure(f"{location}: {words}")
    return StorageFailure(
        f"{location}: {first_line(error)}; check the URL, the endpoint and the network, then run "
        "again"
    )


class ObjectStorage:
    """A prefix of a bucket; credentials and endpoint are those that obstore finds."""

    is_local = False

    def __init__(self, store: ObjectStore, location: str) -> None:
        """Uses `store`, whose paths are relative to the prefix; `location` is for messages."""
        self._store = store
        self.location = location

    @classmethod
    def open(cls, url: str) -> Self:
        """Opens a URL of s3, gs or az.

        Raises:
            InputError: the URL, or what the environment says of it, can't be used.
        """
        location = redacted(url).rstrip("/")
        if url.partition("://")[0] not in _BUCKETS:
            raise InputError(
                f"serving_dir {location}: give a local path, or a URL that begins with s3://, "
                "gs:// or az://"
            )
        try:
            store = open_store(url)
        except InputError:
            raise
        except (BaseError, ValueError) as error:
            words = trouble(error) or first_line(error)
            raise InputError(f"serving_dir {location}: {words}") from error
        return cls(store, location)

    @_in_plain_words
    def folders(self) -> list[str]:
        return sorted(obstore.list_with_delimiter(self._store)["common_prefixes"])

    def files(self, folder: str) -> list[str]:
        return sorted(path.removeprefix(f"{folder}/") for path in self._changed(folder))

    @_in_plain_words
    def _changed(self, folder: str) -> dict[str, float]:
        """When each object below `folder` was written, in seconds since the epoch."""
        objects = obstore.list(self._store, folder).collect()
        return {item["path"]: item["last_modified"].timestamp() for item in objects}

    @_in_plain_words
    def read(self, name: str) -> bytes:
        return obstore.get(self._store, name).bytes().to_bytes()

    @_in_plain_words
    def create(self, name: str, content: bytes, staging: str) -> None:
        obstore.put(self._store, name, content, mode="create")

    def stage(self, saved_model: Path, files: Iterable[str], staging: str) -> None:
        try:
            for name in saved_model_file_last(files):
                self.upload(saved_model / name, f"{staging}/{MODEL_FOLDER}/{name}")
        except BaseException:
            self.remove(staging)
            raise

    @_in_plain_words
    def upload(self, source: Path, target: str) -> None:
        obstore.put(self._store, target, source)

    def staged(self) -> dict[str, float]:
        folders = [name for name in self.folders() if name.startswith(STAGING_PREFIX)]
        times = {name: self._changed(name).values() for name in folders}
        return {name: max(changed) for name, changed in times.items() if changed}

    def publish(self, staging: str, version: int) -> bool:
        moved = not self.published(version)
        if moved:
            try:
                self._copy(f"{staging}/{MODEL_FOLDER}", str(version))
            except FileNotFoundError:
                moved = False
            if not self.published(version):
                raise FileNotFoundError(f"{self.location}/{staging}")
        self.remove(staging)
        return moved

    @_in_plain_words
    def _copy(self, source: str, target: str) -> None:
        for name in saved_model_file_last(self.files(source)):
            obstore.copy(self._store, f"{source}/{name}", f"{target}/{name}")

    def published(self, version: int) -> bool:
        return SAVED_MODEL_FILE in self.files(str(version))

    def withdraw(self, version: int) -> None:
        # Without this file a server takes the rest for no SavedModel.
        self._delete([f"{version}/{SAVED_MODEL_FILE}"])
        self.remove(str(version))

    def fetch(self, version: int, files: Iterable[str], into: Path) -> Path:
        with atomic_directory(into / str(version)) as folder:
            for name in files:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self.download(f"{version}/{name}", target)
        return into / str(version)

    @_in_plain_words
    def download(self, source: str, target: Path) -> None:
        with target.open("wb") as file:
            for chunk in obstore.get(self._store, source).stream():
                file.write(chunk)

    def remove(self, folder: str) -> None:
        self._delete(list(self._changed(folder)))

    @_in_plain_words
    def _delete(self, paths: list[str]) -> None:
        # Another process may be removing the same.
        with suppress(FileNotFoundError):
            obstore.delete(self._store, paths)

    def writable_part(self) -> "ObjectStorage":
        return self
