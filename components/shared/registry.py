"""The model registry: a log in the serving directory, and the SavedModels that it names.

    <serving_dir>/log/00000007.json    entry 7: what was promoted, when, by which run and why
    <serving_dir>/7/saved_model.pb     its SavedModel, as TensorFlow Serving and KServe watch it
    <serving_dir>/.staging-<id>/       a push in flight, or what a crash left of one

Entry 7 is created only if absent, and that is the promotion: it fails where another run promoted
meanwhile, so a candidate never replaces a champion that it was not compared with. The entry names
the staging folder in which the whole candidate already lies, so that whoever comes next can finish
a publication that a crash interrupted. Versions count up from 1, and the highest is served.
"""

import re
import time
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from components.shared.artifacts import directory_sha256
from components.shared.entries import (
    RESTORE,
    Entry,
    Record,
    difference,
    entry_file,
    parse_entry,
)
from components.shared.errors import Failure, InputError
from components.shared.object_storage import ObjectStorage
from components.shared.storage import SAVED_MODEL_FILE, STAGING_PREFIX, LocalStorage, Storage

ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a staging folder that no entry names is no push in flight any more."""


class ChampionChanged(Failure):
    """Another run promoted meanwhile; the message says to judge the candidate anew."""


class Registry:
    """The log and the SavedModels of one serving directory."""

    def __init__(self, storage: Storage) -> None:
        """Keeps the registry in `storage`."""
        self._storage = storage

    @classmethod
    def open(cls, serving_dir: str | Path) -> Self:
        """Opens a local path or a URL; nothing need be there, and nothing is written.

        Raises:
            InputError: it is a file, or a URL that can't be used.
        """
        return cls(_open_storage(serving_dir))

    @property
    def location(self) -> str:
        """The serving directory: an absolute path or a URL."""
        return self._storage.location

    def entries(self) -> list[Entry]:
        """The log, oldest first.

        Raises:
            InputError: an entry is damaged or missing, or a version has none.
        """
        return [self._entry(version) for version in self._versions()]

    def champion(self) -> Entry | None:
        """The newest entry, which the next candidate is judged against; None in an empty log.

        Raises:
            InputError: the entry is damaged, one is missing, or a version has none.
        """
        versions = self._versions()
        return self._entry(versions[-1]) if versions else None

    def served(self) -> Entry | None:
        """The newest entry whose SavedModel is in its place, which servers load.

        Raises:
            InputError: the entry is damaged, one is missing, or a version has none.
        """
        there = (v for v in reversed(self._versions()) if self._storage.published(v))
        version = next(there, None)
        return None if version is None else self._entry(version)

    def promote(
        self, saved_model: str | Path, *, expected_champion: int | None, record: Record
    ) -> Entry:
        """Makes a candidate the champion: stages it, commits the entry, publishes it.

        A run that asks again for what it has already promoted is given that entry.

        Args:
            saved_model: the candidate's folder.
            expected_champion: the version that it was judged against, None where there was none.
            record: what the log keeps of it.

        Raises:
            InputError: the folder is no SavedModel, or the log is damaged.
            ChampionChanged: the champion is another by now.
            StorageFailure, OSError: the storage can't take it. Before the commit nothing of the
                candidate stays; after it, `recover` finishes.
        """
        self.recover()
        manifest = directory_sha256(saved_model)
        if SAVED_MODEL_FILE not in manifest:
            raise InputError(f"{saved_model}: no SavedModel, {SAVED_MODEL_FILE} is missing")
        entries = self.entries()
        for entry in entries:
            if (entry.run_id, entry.manifest) == (record.run_id, manifest):
                return entry
        if expected_champion != (entries[-1].version if entries else None):
            raise self._champion_changed(expected_champion)
        entry = Entry(
            **asdict(record),
            version=len(entries) + 1,
            action="promote",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            compared_with=expected_champion,
            manifest=manifest,
            staging=_new_staging(),
        )
        content = entry.to_json()
        self._storage.stage(Path(saved_model), manifest, entry.staging)
        self._commit(entry, content)
        self._storage.publish(entry.staging, entry.version)
        return entry

    def recover(self, abandoned_after: float = ABANDONED_AFTER) -> list[int]:
        """Finishes publications that a crash interrupted, and clears abandoned staging folders.

        Any process may do so at any time, also while another one promotes.

        Args:
            abandoned_after: the age in seconds from which a staging folder that no entry names is
                removed; a younger one may be of a push in flight.

        Returns:
            The versions that it published.

        Raises:
            InputError: an entry is damaged or missing, or a folder is in a version's place.
        """
        # Listed before the log is read: what is committed in between has its entry there.
        staged = self._storage.staged()
        if not staged:
            return []
        versions = {entry.staging: entry.version for entry in self.entries()}
        named = sorted((versions[name], name) for name in staged.keys() & versions.keys())
        for name in staged.keys() - versions.keys():
            if time.time() - staged[name] >= abandoned_after:
                self._storage.remove(name)
        return [version for version, name in named if self._storage.publish(name, version)]

    def fetch(self, version: int, into: str | Path) -> Path:
        """A local folder with the SavedModel of a version, checked against its manifest.

        Args:
            version: which one.
            into: where a copy goes that has to be downloaded; a local registry needs none.

        Raises:
            InputError: there is no such version, or its files aren't those that were published.
        """
        if version not in self._versions():
            raise InputError(f"{self.location}: the registry has no version {version}")
        manifest = self._entry(version).manifest
        if not self._storage.published(version):
            self.recover()
        # By name alone first: what doesn't belong there need not be downloaded.
        names = self._storage.files(str(version))
        self._require_whole(version, manifest, {name: manifest.get(name, "") for name in names})
        path = self._storage.fetch(version, manifest, Path(into))
        self._require_whole(version, manifest, directory_sha256(path))
        return path

    def _require_whole(self, version: int, manifest: dict[str, str], found: dict[str, str]) -> None:
        if differences := difference(manifest, found):
            raise InputError(
                f"{self.location}/{version}: not as it was published ({differences}); {RESTORE}"
            )

    def _versions(self) -> list[int]:
        """The versions in the log, 1 to the newest."""
        # The folders before the log: what is published in between has its entry there.
        folders = {name for name in self._storage.folders() if re.fullmatch("[0-9]+", name)}
        files = (re.fullmatch(r"(\d{8})\.json", name) for name in self._storage.files("log"))
        versions = sorted(int(match[1]) for match in files if match)
        for expected, version in enumerate(versions, start=1):
            if version != expected:
                raise InputError(f"{self._where(expected)}: this entry is missing; {RESTORE}")
        for name in sorted(folders - {str(version) for version in versions}):
            raise InputError(
                f"{self.location}/{name}: a version that the registry's log doesn't know, and no "
                "candidate was judged against; move it elsewhere, or choose another serving "
                "directory"
            )
        return versions

    def _entry(self, version: int) -> Entry:
        where = self._where(version)
        try:
            content = self._storage.read(entry_file(version))
        except FileNotFoundError as error:
            raise InputError(f"{where}: this entry is missing; {RESTORE}") from error
        return parse_entry(content, version, where)

    def _commit(self, entry: Entry, content: bytes) -> None:
        """Creates the entry, which is the promotion; where it can't, clears the staging folder."""
        try:
            self._storage.create(entry_file(entry.version), content, entry.staging)
        except BaseException as error:
            # An answer may be lost, or a key pressed, once the entry is made, and what an entry
            # names must stay.
            if self._holds(entry.version, content):
                if isinstance(error, Exception):
                    return
                raise
            self._storage.remove(entry.staging)
            if isinstance(error, FileExistsError):
                raise self._champion_changed(entry.compared_with) from error
            raise

    def _holds(self, version: int, content: bytes) -> bool:
        try:
            return self._storage.read(entry_file(version)) == content
        except FileNotFoundError:
            return False

    def _champion_changed(self, expected: int | None) -> ChampionChanged:
        versions = self._versions()
        now = f"version {versions[-1]}" if versions else "none"
        then = "none" if expected is None else f"version {expected}"
        return ChampionChanged(
            f"{self.location}: the champion is {now} by now, and the candidate was judged when it "
            f"was {then}; run the pipeline again to judge it anew"
        )

    def _where(self, version: int) -> str:
        return f"{self.location}/{entry_file(version)}"


def check_writable(serving_dir: str | Path) -> None:
    """Tries whether a candidate could be promoted there, and leaves nothing behind.

    Raises:
        InputError: the serving directory can't be written to, or doesn't keep to the promise that
            a file is created only where there is none.
        StorageFailure: a bucket doesn't answer.
    """
    storage, staging = _open_storage(serving_dir).writable_part(), _new_staging()
    probe = f"{staging}/probe"
    try:
        storage.stage(Path(), [], staging)
        storage.create(probe, b"", staging)
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


def _creates(storage: Storage, name: str, staging: str) -> bool:
    try:
        storage.create(name, b"", staging)
    except FileExistsError:
        return False
    return True


def _open_storage(serving_dir: str | Path) -> Storage:
    text = str(serving_dir)
    if not text:
        raise InputError("serving_dir is empty: give a local path or a URL")
    if text.startswith("file://"):
        return LocalStorage(Path(unquote(urlsplit(text).path)))
    return ObjectStorage.open(text) if "://" in text else LocalStorage(Path(text))


def _new_staging() -> str:
    return f"{STAGING_PREFIX}{uuid.uuid4().hex}"
