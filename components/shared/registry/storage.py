"""Where a registry keeps its files: a local directory, or a bucket of S3, GCS or Azure.

Both kinds give the registry the same three promises. A file is created only if it is absent, and
then whole. A SavedModel is published whole: by one rename in a directory, with `saved_model.pb`
last in a bucket. What is staged is on stable storage before it can be published.
"""

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from components.shared.errors import Failure, InputError

SAVED_MODEL_FILE = "saved_model.pb"
STAGING_PREFIX = ".staging-"
MODEL_FOLDER = "model"


class StorageFailure(Failure):
    """The storage doesn't do what it is asked; the message says so to a user."""


class Storage(Protocol):
    """Files below one root, named by relative POSIX paths.

    A folder whose name begins with `STAGING_PREFIX` is a staging folder: of one push, with the
    SavedModel below `model/`.
    """

    location: str
    """The root, as a user would write it."""

    is_local: bool
    """Whether it is read from a disk, and not over a network."""

    def folders(self) -> list[str]:
        """The names of the folders directly below the root."""

    def files(self, folder: str) -> list[str]:
        """The files below `folder`, relative to it, sorted; none where it doesn't exist."""

    def read(self, name: str) -> bytes:
        """The content of a file; raises FileNotFoundError."""

    def create(self, name: str, content: bytes, staging: str) -> None:
        """Makes the file, whole and durably, or raises FileExistsError where there is one.

        It belongs to the push whose staging folder is given.
        """

    def stage(self, saved_model: Path, files: Iterable[str], staging: str) -> None:
        """Copies `files` of a SavedModel into a staging folder, or leaves nothing."""

    def staged(self) -> dict[str, float]:
        """When each staging folder last changed, in seconds since the epoch."""

    def publish(self, staging: str, version: int) -> bool:
        """Makes a staged SavedModel version `version`; False if another process already had."""

    def published(self, version: int) -> bool:
        """Whether the whole of a version is in its place."""

    def withdraw(self, version: int) -> None:
        """Removes a version, which at no time looks whole without being so; there may be none."""

    def fetch(self, version: int, files: Iterable[str], into: Path) -> Path:
        """A local folder with `files` of a published version: itself, or a copy below `into`."""

    def remove(self, folder: str) -> None:
        """Removes a folder; there may be none."""

    def writable_part(self) -> "Storage":
        """What is there already of this storage, to try writing to."""


class LocalStorage:
    """A directory. It need not exist to be read; writing makes it."""

    is_local = True

    def __init__(self, root: Path) -> None:
        """Opens `root`; raises InputError where it is no directory."""
        self._root = root.absolute()
        self.location = str(self._root)
        try:
            usable = self._root.is_dir() or not self._root.exists()
        except OSError as error:
            raise InputError(f"serving_dir {root}: cannot be read ({error.strerror})") from error
        if not usable:
            raise InputError(f"serving_dir {root}: a file; give the path of a directory")

    def folders(self) -> list[str]:
        if not self._root.exists():
            return []
        with _readable():
            return sorted(path.name for path in self._root.iterdir() if path.is_dir())

    def files(self, folder: str) -> list[str]:
        top = self._root / folder
        # Several times as fast as rglob; a log may have thousands.
        found = []
        for parent, folders, names in os.walk(top, onerror=_require_absent):
            below = Path(parent).relative_to(top)
            # A link to a folder counts as a file: what it leads to isn't below this folder.
            links = [name for name in folders if Path(parent, name).is_symlink()]
            found += [(below / name).as_posix() for name in names + links]
        return sorted(found)

    def read(self, name: str) -> bytes:
        with _readable():
            return (self._root / name).read_bytes()

    def create(self, name: str, content: bytes, staging: str) -> None:
        # A link appears in one step, fails where there is a file, and, unlike a file that is
        # opened exclusively, brings its content along.
        draft, target = self._root / staging / "entry", self._root / name
        # Without its staging folder, which may have been cleared as abandoned, it fails here.
        _write(draft, io.BytesIO(content))
        target.parent.mkdir(exist_ok=True)
        target.hardlink_to(draft)
        _sync(target.parent)
        _sync(self._root)

    def stage(self, saved_model: Path, files: Iterable[str], staging: str) -> None:
        fresh = not self._root.exists()
        model = self._root / staging / MODEL_FOLDER
        try:
            model.mkdir(parents=True)
            for name in saved_model_file_last(files):
                (model / name).parent.mkdir(parents=True, exist_ok=True)
                with (saved_model / name).open("rb") as content:
                    _write(model / name, content)
            for path in (*model.rglob("*"), model, model.parent, self._root):
                if path.is_dir():
                    _sync(path)
        except BaseException:
            self.remove(staging)
            if fresh:
                with suppress(OSError):
                    self._root.rmdir()
            raise

    def staged(self) -> dict[str, float]:
        times = {}
        for name in self.folders():
            if name.startswith(STAGING_PREFIX):
                folder = self._root / name
                # A push that ends meanwhile takes its folder away.
                with suppress(FileNotFoundError):
                    paths = (folder, *folder.rglob("*"))
                    times[name] = max(path.stat().st_mtime for path in paths)
        return times

    def publish(self, staging: str, version: int) -> bool:
        source, target = self._root / staging / MODEL_FOLDER, self._root / str(version)
        try:
            source.rename(target)
            moved = True
        except OSError as error:
            if source.exists() and target.exists():
                raise InputError(
                    f"{target}: in the way of the version {version} that the log names; move it "
                    "elsewhere and run again"
                ) from error
            if not self.published(version):
                raise
            moved = False
        _sync(self._root)
        self.remove(staging)
        return moved

    def published(self, version: int) -> bool:
        with _readable():
            return (self._root / str(version) / SAVED_MODEL_FILE).is_file()

    def withdraw(self, version: int) -> None:
        # By one rename, too: a server that looks finds the whole version, or none.
        removed = removed_folder(version)
        self.remove(removed)
        with suppress(FileNotFoundError):
            (self._root / str(version)).rename(self._root / removed)
            _sync(self._root)
        self.remove(removed)

    def fetch(self, version: int, files: Iterable[str], into: Path) -> Path:
        return self._root / str(version)

    def remove(self, folder: str) -> None:
        path = self._root / folder
        if path.is_symlink():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)

    def writable_part(self) -> "LocalStorage":
        parts = (self._root, *self._root.parents)
        return LocalStorage(next(part for part in parts if part.exists()))


def removed_folder(version: int) -> str:
    """Where a directory puts a version that is being removed, out of a server's sight."""
    return f".removed-{version}"


def saved_model_file_last(files: Iterable[str]) -> list[str]:
    """Servers take a folder with `saved_model.pb` for a whole SavedModel."""
    return sorted(files, key=lambda name: (name == SAVED_MODEL_FILE, name))


@contextmanager
def _readable() -> Iterator[None]:
    """Says of what can't be read that it can't; what isn't there is the caller's matter."""
    try:
        yield
    except OSError as error:
        _require_absent(error)
        raise


def _require_absent(error: OSError) -> None:
    # A log that can't be read must never pass for an empty one.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise StorageFailure(
            f"{error.filename}: can't be read ({error.strerror}); see to it that this user may, "
            "and that the disk is sound"
        ) from error


def _write(target: Path, content: IO[bytes]) -> None:
    """Writes a file onto stable storage: a power cut leaves no empty one behind."""
    try:
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or str(target)
        raise


def _sync(folder: Path) -> None:
    """Brings a folder's list of names onto stable storage."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
