"""The model registry: a log in the serving directory, and the SavedModels that it names.

    <serving_dir>/log/00000007.json    entry 7: what was changed, when, by whom and why
    <serving_dir>/7/saved_model.pb     its SavedModel, as TensorFlow Serving and KServe watch it
    <serving_dir>/.staging-<id>/       a change in flight, or what a crash left of one

An entry is created only if absent, and that is the change: it fails where another process changed
the registry meanwhile, so a candidate never replaces a champion that it was not compared with.
The entry of a promotion or a rollback is a version: it names the staging folder in which the whole
SavedModel already lies, so that whoever comes next can finish a publication that a crash
interrupted. A prune is an entry, too, without a SavedModel, so versions count up with gaps. The
highest is served: a rollback publishes an old version's files anew.
"""

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Self

from components.shared.artifacts import directory_sha256
from components.shared.errors import Failure, InputError
from components.shared.registry.entries import Entry, Prune, Record, difference
from components.shared.registry.lineage import Lineage
from components.shared.registry.log import Log, change_now
from components.shared.registry.serving_dir import new_staging, open_storage
from components.shared.registry.storage import SAVED_MODEL_FILE, Storage, removed_folder

ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a staging folder that no entry names is no change in flight any more."""

RESTORE_VERSION = (
    "restore it from a backup, or go to another version: imdb-pipeline models rollback "
    "[--to VERSION]"
)
"""What a user can do about a version whose files were lost or changed."""

UNKNOWN_VERSION = (
    "a version that the registry's log doesn't know, and no candidate was judged against; move it "
    "elsewhere, or choose another serving directory"
)
"""What is to be said of a folder that is named like a version."""


class RegistryChanged(Failure):
    """Another process changed the registry meanwhile; the message says what to do."""


class ChampionChanged(RegistryChanged):
    """The champion is another by now; the message says to judge the candidate anew."""


class Registry:
    """The log and the SavedModels of one serving directory."""

    def __init__(self, storage: Storage) -> None:
        """Keeps the registry in `storage`."""
        self.storage = storage
        self.log = Log(storage)

    @classmethod
    def open(cls, serving_dir: str | Path) -> Self:
        """Opens a local path or a URL; nothing need be there, and nothing is written.

        Raises:
            InputError: it is a file, or a URL that can't be used.
        """
        return cls(open_storage(serving_dir))

    @property
    def location(self) -> str:
        """The serving directory: an absolute path or a URL."""
        return self.storage.location

    def entries(self) -> list[Entry]:
        """The versions in the log, oldest first.

        Raises:
            InputError: an entry is damaged or missing, or a version has none.
        """
        return self.lineage().entries

    def lineage(self) -> Lineage:
        """What the whole log tells of the versions.

        Raises:
            InputError: an entry is damaged or missing, or a version has none.
        """
        self._numbers()
        return Lineage(self.log.read_all())

    def champion(self) -> Entry | None:
        """The newest version, which the next candidate is judged against; None in an empty log.

        Raises:
            InputError: its entry is damaged, one is missing, or a version has none.
        """
        return self._newest(lambda entry: True)

    def served(self) -> Entry | None:
        """The newest version whose SavedModel is in its place, which servers load.

        Raises:
            InputError: its entry is damaged, one is missing, or a version has none.
        """
        return self._newest(lambda entry: self.storage.published(entry.version))

    def there(self) -> set[int]:
        """The versions of which there is a folder, whole or not."""
        return {int(name) for name in self.storage.folders() if re.fullmatch("[1-9][0-9]*", name)}

    def promote(
        self,
        saved_model: str | Path,
        *,
        expected_champion: int | None,
        record: Record,
        by: str | None = None,
    ) -> Entry:
        """Makes a candidate the champion: stages it, commits the entry, publishes it.

        A run that asks again for what it has already promoted is given that entry.

        Args:
            saved_model: the candidate's folder.
            expected_champion: the version that it was judged against, None where there was none.
            record: what the log keeps of it.
            by: who promotes; user@host if None.

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
        for entry in self.entries():
            promoted = (entry.action, entry.run_id, entry.manifest)
            if promoted == ("promote", record.run_id, manifest):
                return entry
        self._require_champion(expected_champion)

        def draft(staging: str) -> Entry:
            # The number first: whoever promotes after that takes it.
            number = self.next_number()
            self._require_champion(expected_champion)
            return Entry(
                **asdict(record),
                **change_now(staging, by, "the gate blessed it"),
                version=number,
                action="promote",
                compared_with=expected_champion,
                manifest=manifest,
            )

        return self.publish(Path(saved_model), manifest, draft)

    def publish(
        self, saved_model: Path, manifest: dict[str, str], draft: Callable[[str], Entry]
    ) -> Entry:
        """Stages a SavedModel, commits its entry and puts it into its place.

        Args:
            saved_model: its folder.
            manifest: the SHA-256 of each of its files.
            draft: makes the entry, given the staging folder, or raises what forbids it.
        """
        staging = new_staging()
        self.storage.stage(saved_model, manifest, staging)
        entry = self.log.append(staging, lambda: draft(staging))
        self.storage.publish(staging, entry.version)
        return entry

    def recover(self, abandoned_after: float = ABANDONED_AFTER) -> list[int]:
        """Finishes what a crash interrupted, and clears abandoned staging folders.

        Any process may do so at any time, also while another one changes the registry.

        Args:
            abandoned_after: the age in seconds from which a staging folder that no entry names is
                removed; a younger one may be of a change in flight.

        Returns:
            The versions that it published.

        Raises:
            InputError: an entry is damaged or missing, or a folder is in a version's place.
        """
        # Listed before the log is read: what is committed in between has its entry there.
        staged, folders = self.storage.staged(), set(self.storage.folders())
        lineage = self.lineage()
        published = []
        for name in staged.keys() - lineage.stagings:
            if time.time() - staged[name] >= abandoned_after:
                self.storage.remove(name)
        for change in lineage.changes:
            if change.staging in staged:
                if isinstance(change, Prune) or change.version in lineage.pruned:
                    self.storage.remove(change.staging)
                elif self.storage.publish(change.staging, change.version):
                    published.append(change.version)
        for version in lineage.pruned:
            if folders & {str(version), removed_folder(version)}:
                self.storage.withdraw(version)
        return published

    def fetch(self, version: int, into: str | Path) -> Path:
        """A local folder with the SavedModel of a version, checked against its manifest.

        Args:
            version: which one.
            into: where a copy goes that has to be downloaded; a local registry needs none.

        Raises:
            InputError: there is no such version, or its files aren't those that were published.
        """
        entry = self.log.read(version) if version in self._numbers() else None
        if not isinstance(entry, Entry):
            raise InputError(f"{self.location}: the registry has no version {version}")
        if not self.storage.published(version):
            self.recover()
            if removal := self.lineage().pruned.get(version):
                raise InputError(
                    f"{self.location}: version {version} was pruned ({removal.created}, by "
                    f"{removal.by}); choose one that is still there: imdb-pipeline models list"
                )
        # By name alone first: what doesn't belong there need not be downloaded.
        self._require_whole(entry, self.difference_by_name(entry))
        path = self.storage.fetch(version, entry.manifest, Path(into))
        self._require_whole(entry, difference(entry.manifest, directory_sha256(path)))
        return path

    def difference_by_name(self, entry: Entry) -> str:
        """What is missing from a version or in excess there; empty where nothing is."""
        names = self.storage.files(str(entry.version))
        return difference(entry.manifest, {name: entry.manifest.get(name, "") for name in names})

    def difference_by_content(self, entry: Entry, into: str | Path) -> str:
        """What is missing, changed or in excess; what has to be downloaded goes below `into`."""
        path = self.storage.fetch(entry.version, entry.manifest, Path(into))
        return difference(entry.manifest, directory_sha256(path))

    def next_number(self) -> int:
        """The number of the next entry."""
        return len(self._numbers()) + 1

    def _require_whole(self, entry: Entry, differences: str) -> None:
        if differences:
            raise InputError(
                f"{self.location}/{entry.version}: not as it was published ({differences}); "
                f"{RESTORE_VERSION}"
            )

    def _require_champion(self, expected: int | None) -> None:
        champion = self.champion()
        if expected != (champion.version if champion else None):
            now = f"version {champion.version}" if champion else "none"
            then = "none" if expected is None else f"version {expected}"
            raise ChampionChanged(
                f"{self.location}: the champion is {now} by now, and the candidate was judged when "
                f"it was {then}; run the pipeline again to judge it anew"
            )

    def _newest(self, accepted: Callable[[Entry], bool]) -> Entry | None:
        """The newest version that is accepted."""
        for number in reversed(self._numbers()):
            entry = self.log.read(number)
            if isinstance(entry, Entry) and accepted(entry):
                return entry
        return None

    def _numbers(self) -> list[int]:
        """The numbers in the log, 1 to the newest, after a check that it knows all versions."""
        # The folders before the log: what is published in between has its entry there.
        folders = {name for name in self.storage.folders() if re.fullmatch("[0-9]+", name)}
        numbers = self.log.numbers()
        for name in sorted(folders - {str(number) for number in numbers}):
            raise InputError(f"{self.location}/{name}: {UNKNOWN_VERSION}")
        return numbers
