"""Opens serving directories: local paths, and URLs of buckets."""

import uuid
from pathlib import Path

from components.shared.errors import InputError
from components.shared.registry.storage import STAGING_PREFIX, LocalStorage, Storage
from components.shared.uris import local_path

_PROBE = "probe"


def open_storage(serving_dir: str | Path) -> Storage:
    """The storage at a local path or a URL; nothing need be there, and nothing is written.

    Raises:
        InputError: it is a file, or a URL that can't be used.
    """
    text = str(serving_dir)
    if not text:
        raise InputError("serving_dir is empty: give a local path or a URL")
    if (path := local_path(text)) is not None:
        return LocalStorage(path)
    # A local registry has no use for it, and it takes its time to import.
    from components.shared.registry.object_storage import ObjectStorage

    return ObjectStorage.open(text)


def check_writable(serving_dir: str | Path) -> None:
    """Tries whether a candidate could be promoted there, and leaves nothing behind.

    Raises:
        InputError: the serving directory can't be written to, or doesn't keep to the promise that
            a file is created only where there is none.
        StorageFailure: a bucket doesn't answer.
    """
    storage, staging = open_storage(serving_dir).writable_part(), new_staging()
    probe = f"{staging}/{_PROBE}"
    storage.folders()  # a bucket that doesn't answer is said at once
    try:
        storage.stage(Path(), [], staging)
        # No other process has this name: it is there already where a request had to be repeated.
        _creates(storage, probe, staging)
        if _creates(storage, probe, staging):
            raise InputError(
                f"serving_dir {storage.location}: the storage overwrites a file that was to be "
                "created only where there is none, so two runs could promote at once; choose "
                "another serving directory"
            )
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"serving_dir {serving_dir}: cannot be written to ({reason}); choose a directory that "
            "this user may write to"
        ) from error
    finally:
        storage.remove(staging)


def remove_probes(serving_dir: str | Path) -> None:
    """Removes what `check_writable` leaves where it is killed."""
    storage = open_storage(serving_dir)
    for folder in storage.folders():
        if folder.startswith(STAGING_PREFIX) and _PROBE in storage.files(folder):
            storage.remove(folder)


def new_staging() -> str:
    """A name that no staging folder has had."""
    return f"{STAGING_PREFIX}{uuid.uuid4().hex}"


def _creates(storage: Storage, name: str, staging: str) -> bool:
    try:
        storage.create(name, b"", staging)
    except FileExistsError:
        return False
    return True
