"""What became of each version, as far as the log tells."""

from collections.abc import Collection, Iterable
from typing import Literal

from components.shared.registry.entries import Entry, Prune

State = Literal["champion", "superseded", "rolled back", "pruned"]


class Lineage:
    """The versions that the log tells of, in order."""

    def __init__(self, changes: Iterable[Entry | Prune]) -> None:
        """Reads the changes, oldest first."""
        self.changes = list(changes)
        self.entries = [change for change in self.changes if isinstance(change, Entry)]
        self.pruned = {
            version: change
            for change in self.changes
            if isinstance(change, Prune)
            for version in change.removed
        }
        """The change that removed each version that was removed."""

    @property
    def stagings(self) -> set[str]:
        """The staging folders that the log names."""
        return {change.staging for change in self.changes}

    @property
    def champion(self) -> Entry | None:
        """The newest version; None where there is none."""
        return self.entries[-1] if self.entries else None

    def get(self, version: int) -> Entry | None:
        """The entry of a version; None if there is no such version."""
        return next((entry for entry in self.entries if entry.version == version), None)

    def state(self, version: int) -> State:
        """What became of a version."""
        if version in self.pruned:
            return "pruned"
        if self.champion is not None and version == self.champion.version:
            return "champion"
        return "rolled back" if version in self._rolled_back() else "superseded"

    def rollback_target(self, there: Collection[int]) -> Entry | None:
        """The version that a rollback goes back to if it isn't told which.

        It is the newest before the champion, or before the version that the champion restores, so
        that a second rollback goes further back. One that was rolled back itself is passed over.

        Args:
            there: the versions whose SavedModel is in its place.
        """
        if self.champion is None:
            return None
        passed_over = self._rolled_back()
        for entry in reversed(self.entries):
            usable = entry.version in there and entry.version not in passed_over
            if usable and entry.version < self.champion.origin:
                return entry
        return None

    def prunable(self, keep: int, there: Collection[int]) -> list[int]:
        """The versions beyond the newest `keep`, oldest first.

        Args:
            keep: how many stay, the champion among them.
            there: the versions whose SavedModel is in its place, whole or not.
        """
        versions = [entry.version for entry in self.entries if entry.version in there]
        return versions[: max(len(versions) - keep, 0)]

    def _rolled_back(self) -> set[int]:
        """The versions that a rollback went past, on its way to an older one."""
        return {
            entry.version
            for back in self.entries
            for entry in self.entries
            if back.origin < entry.version < back.version and entry.origin != back.origin
        }
