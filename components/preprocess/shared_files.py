"""The files of a Beam pipeline: in the task's own folders, or where the workers of a cluster see
them, too: in a bucket, or on a volume that is mounted everywhere.

A location is a path or the URL of an object.
"""

import functools
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from components.shared import events
from components.shared.errors import Failure, InputError

if TYPE_CHECKING:
    from components.shared.registry.object_storage import ObjectStorage


@dataclass(frozen=True, slots=True)
class Locations:
    """What a pipeline reads and where it writes, as its workers see it."""

    reviews: dict[str, list[str]]
    """The TFRecord files of each split."""
    examples: str
    """The folder of the examples."""
    vocabulary: str
    """The folder of the vocabulary."""
    statistics: str
    """The folder of the statistics."""


@contextmanager
def shared(local: Locations, shared_dir: str | None) -> Iterator[Locations]:
    """Puts the files of a pipeline where its workers see them, and brings back what they made.

    What was put below `shared_dir` is removed at the end, also after an error.

    Args:
        local: paths, of folders that are there.
        shared_dir: a URL, or a path; None where the workers see `local`.

    Raises:
        InputError: `shared_dir` can't be used.
        StorageFailure: the bucket doesn't answer.
    """
    if shared_dir is None:
        yield local
        return
    folder = _open(shared_dir, f"preprocess-{uuid.uuid4().hex}")
    try:
        yield _put(local, folder)
        _bring_back(local, folder)
    finally:
        _remove(folder)


def _put(local: Locations, folder: "_Folder") -> Locations:
    events.progress(f"putting the reviews into {folder.location}")
    reviews = {
        split: [folder.put(Path(file), f"reviews/{Path(file).name}") for file in files]
        for split, files in local.reviews.items()
    }
    names = ("examples", "vocabulary", "statistics")
    return Locations(reviews, *(f"{folder.location}/{name}" for name in names))


def _bring_back(local: Locations, folder: "_Folder") -> None:
    events.progress(f"bringing the examples back from {folder.location}")
    for name in ("examples", "vocabulary", "statistics"):
        for file in folder.files(name):
            target = Path(getattr(local, name)) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.get(f"{name}/{file}", target)


def _remove(folder: "_Folder") -> None:
    try:
        folder.remove()
    except (OSError, InputError, Failure) as error:
        events.progress(f"{folder.location} is left behind, remove it by hand: {error}")


@contextmanager
def reading(location: str) -> Iterator[Path]:
    """A local file with the content of `location`, for as long as the block lasts."""
    if "://" not in location:
        yield Path(location)
        return
    folder, _, name = location.rpartition("/")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        _bucket(folder).download(name, path)
        yield path


@contextmanager
def writing(location: str) -> Iterator[Path]:
    """A local file to write, which is at `location`, whole, when the block ends without an error.

    Another worker may write the same: a runner repeats what it holds for lost.
    """
    if "://" in location:
        folder, _, name = location.rpartition("/")
        with tempfile.TemporaryDirectory() as directory:
            yield Path(directory) / name
            _bucket(folder).upload(Path(directory) / name, name)
        return
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class _Folder(Protocol):
    location: str

    def put(self, source: Path, name: str) -> str:
        """Copies a local file into the folder; returns its location."""

    def get(self, name: str, target: Path) -> None:
        """Copies a file of the folder to a local path."""

    def files(self, name: str) -> list[str]:
        """The files below a folder of the folder, relative to it."""

    def remove(self) -> None:
        """Removes the folder."""


class _BucketFolder:
    def __init__(self, bucket: "ObjectStorage", name: str) -> None:
        self._bucket, self._name, self._empty = bucket, name, True
        self.location = f"{bucket.location}/{name}"

    def put(self, source: Path, name: str) -> str:
        self._bucket.upload(source, f"{self._name}/{name}")
        self._empty = False
        return f"{self.location}/{name}"

    def get(self, name: str, target: Path) -> None:
        self._bucket.download(f"{self._name}/{name}", target)

    def files(self, name: str) -> list[str]:
        return self._bucket.files(f"{self._name}/{name}")

    def remove(self) -> None:
        # A bucket that took nothing need not be asked to remove it: it may not even be there.
        if not self._empty:
            self._bucket.remove(self._name)


class _MountedFolder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.location = str(path)

    def put(self, source: Path, name: str) -> str:
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return str(target)

    def get(self, name: str, target: Path) -> None:
        shutil.copyfile(self._path / name, target)

    def files(self, name: str) -> list[str]:
        top = self._path / name
        return sorted(p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file())

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path)


def _open(shared_dir: str, name: str) -> _Folder:
    if "://" in shared_dir:
        return _BucketFolder(_bucket(shared_dir), name)
    path = Path(shared_dir).absolute()
    if not path.is_dir():
        raise InputError(
            f"beam_shared_dir={shared_dir}: no such folder here; mount it in this task and in "
            "every Beam worker, or give a URL of s3://, gs:// or az://"
        )
    return _MountedFolder(path / name)


@functools.cache
def _bucket(url: str) -> "ObjectStorage":
    # Not needed by the in-process runner, and it takes its time to import.
    from components.shared.registry.object_storage import ObjectStorage

    try:
        return ObjectStorage.open(url)
    except InputError as error:
        raise InputError(str(error).replace("serving_dir ", "beam_shared_dir=", 1)) from None
