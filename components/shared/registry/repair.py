"""Finds what a crash or a damage left of a registry, and finishes or removes what it can."""

import re
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from components.shared.errors import InputError
from components.shared.registry.entries import Entry
from components.shared.registry.lineage import Lineage
from components.shared.registry.registry import RESTORE_VERSION, UNKNOWN_VERSION, Registry
from components.shared.registry.storage import removed_folder

MAYBE_IN_FLIGHT = 3600.0
"""Seconds for which a staging folder that no entry names may be of a change in flight."""

Condition = Literal["unpublished", "half copied", "changed", "missing", "damaged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something in a serving directory that isn't as it should be."""

    message: str
    """What it is, and what a repair does about it or a user can do."""

    repair: Callable[[], object] | None = None
    """Finishes or removes it; None where that can't be done."""

    harmless: bool = False
    """Whether it can stay as it is."""

    number: int | None = None
    """The entry that it is about, if any."""

    condition: Condition | None = None
    """The state that it leaves that version in."""


class Inspection:
    """What a registry holds, as far as it can be read. Looking changes nothing."""

    lineage: Lineage
    """Of the entries that can be read."""

    findings: list[Finding]
    """What isn't as it should be."""

    served: int | None
    """The highest version whose SavedModel is in its place."""

    def __init__(
        self,
        registry: Registry,
        *,
        thorough: Container[int] = (),
        in_flight: float = MAYBE_IN_FLIGHT,
    ) -> None:
        """Looks at a registry.

        Args:
            registry: which may be damaged, and change meanwhile.
            thorough: the versions whose files are held to their SHA-256, which reads them all; of
                the others only the names are looked at.
            in_flight: the age in seconds up to which a staging folder that no entry names may be
                of a change in flight.

        Raises:
            InputError, StorageFailure, OSError: the storage can't be read.
        """
        self._registry = registry
        self._thorough = thorough
        # Listed before the log is read: what is committed in between has its entry there.
        self._staged, self._folders = registry.storage.staged(), registry.storage.folders()
        self.lineage, self.findings = self._read_log()
        self._is_damaged = bool(self.findings)
        for find in (self._unknown, self._half_pruned, self._not_whole):
            self.findings.extend(find())
        self.findings.extend(self._staging(in_flight))
        published = (entry.version for entry in self.lineage.entries if self._published(entry))
        self.served = max(published, default=None)

    def repair(self, dry_run: bool = False) -> Iterator[tuple[Finding, str | None]]:
        """Finishes or removes what can be.

        Args:
            dry_run: only tells what it would do.

        Yields:
            Each finding, and what keeps it from being repaired; None where it was.
        """
        for finding in self.findings:
            obstacle = None if finding.repair else finding.message
            if finding.repair and not dry_run:
                try:
                    finding.repair()
                except InputError as error:
                    obstacle = str(error)
            yield finding, obstacle

    def _read_log(self) -> tuple[Lineage, list[Finding]]:
        log = self._registry.log
        changes, damages = [], []
        for number in range(1, max(log.found(), default=0) + 1):
            try:
                changes.append(log.read(number))
            except InputError as error:
                damages.append(Finding(message=str(error), number=number, condition="damaged"))
        return Lineage(changes), damages

    def _unknown(self) -> Iterator[Finding]:
        """Folders named like versions that the log doesn't know, if that can be told."""
        known = {str(entry.version) for entry in self.lineage.entries}
        for name in self._folders:
            if re.fullmatch("[0-9]+", name) and name not in known and not self._is_damaged:
                yield Finding(message=f"{self._registry.location}/{name}: {UNKNOWN_VERSION}")

    def _half_pruned(self) -> Iterator[Finding]:
        for version in sorted(self.lineage.pruned):
            if {str(version), removed_folder(version)} & {*self._folders}:
                yield Finding(
                    message=f"{self._where(version)}: left of a version that was pruned (models "
                    "repair removes it)",
                    repair=partial(self._withdraw, version),
                )

    def _not_whole(self) -> Iterator[Finding]:
        for entry in self.lineage.entries:
            if entry.version in self.lineage.pruned:
                continue
            # A promotion in flight puts its SavedModel into its place between any two looks.
            if not self._published(entry) and entry.staging in self._staged_now():
                yield self._unpublished(entry)
            elif differences := self._differences(entry):
                yield self._broken(entry, differences)

    def _unpublished(self, entry: Entry) -> Finding:
        publish = self._registry.storage.publish
        return Finding(
            message=f"{self._where(entry.version)}: in the log, and not yet in its place (models "
            "repair publishes it)",
            repair=partial(publish, entry.staging, entry.version),
            number=entry.version,
            condition="unpublished",
        )

    def _broken(self, entry: Entry, differences: str) -> Finding:
        condition: Condition = "changed"
        what = f"not as it was published ({differences})"
        if not self._registry.storage.files(str(entry.version)):
            condition, what = "missing", "this version's SavedModel is missing"
        elif "missing: " in differences:
            condition, what = "half copied", f"half copied ({differences})"
        return Finding(
            message=f"{self._where(entry.version)}: {what}; {RESTORE_VERSION}",
            number=entry.version,
            condition=condition,
        )

    def _staging(self, in_flight: float) -> Iterator[Finding]:
        """The staging folders, but for those of versions that are yet to be published."""
        ended = {change.staging for change in self.lineage.changes} - {
            entry.staging
            for entry in self.lineage.entries
            if entry.version not in self.lineage.pruned and not self._published(entry)
        }
        for name, changed in sorted(self._staged.items()):
            remove = partial(self._remove, name)
            where = f"{self._registry.location}/{name}"
            if name in ended:
                yield Finding(
                    message=f"{where}: left of a change that was made (models repair removes it)",
                    repair=remove,
                )
            elif name not in self.lineage.stagings:
                yield self._unnamed(where, time.time() - changed, in_flight, remove)

    def _unnamed(
        self, where: str, age: float, in_flight: float, remove: Callable[[], object]
    ) -> Finding:
        if self._is_damaged:
            message = "it stays, as the entry that can't be read may name it"
        elif age < in_flight:
            message = (
                f"changed {age:.0f} s ago, so it may be of a push in flight; it stays until it is "
                f"{in_flight:.0f} s old (--abandoned-after)"
            )
        else:
            message = "left of a push that never became a version (models repair removes it)"
            return Finding(message=f"{where}: {message}", repair=remove)
        return Finding(message=f"{where}: {message}", harmless=True)

    def _withdraw(self, version: int) -> None:
        self._registry.storage.withdraw(version)
        self._require_gone(str(version), removed_folder(version))

    def _remove(self, folder: str) -> None:
        self._registry.storage.remove(folder)
        self._require_gone(folder)

    def _require_gone(self, *folders: str) -> None:
        for name in {*folders} & {*self._registry.storage.folders()}:
            raise InputError(
                f"{self._registry.location}/{name}: can't be removed; remove it by hand, or run "
                "this as a user who may"
            )

    def _published(self, entry: Entry) -> bool:
        return self._registry.storage.published(entry.version)

    def _staged_now(self) -> set[str]:
        return self._staged.keys() | self._registry.storage.staged().keys()

    def _differences(self, entry: Entry) -> str:
        differences = self._registry.difference_by_name(entry)
        if entry.version in self._thorough and not differences:
            with tempfile.TemporaryDirectory(prefix="imdb-pipeline-") as scratch:
                return self._registry.difference_by_content(entry, scratch)
        return differences

    def _where(self, version: int) -> str:
        return f"{self._registry.location}/{version}"
