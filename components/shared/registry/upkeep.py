"""Changes of the registry that bring no new model: back to an old one, and the removal of some."""

import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from components.shared.errors import InputError
from components.shared.registry.entries import Entry, Prune, Record
from components.shared.registry.lineage import Lineage
from components.shared.registry.log import change_now
from components.shared.registry.registry import Registry, RegistryChanged
from components.shared.registry.serving_dir import new_staging


def rollback(
    registry: Registry, to: int | None = None, *, by: str | None = None, reason: str = ""
) -> Entry:
    """Makes an old version the champion again: publishes its files as the highest version.

    Args:
        registry: where.
        to: the old version; None for the newest whole one that `Lineage.rollback_target` names.
        by: who rolls back; user@host if None.
        reason: why.

    Returns:
        The new version.

    Raises:
        InputError: there is no such version, its files aren't there or aren't those that were
            published, or the log is damaged.
        RegistryChanged: another process changed the registry meanwhile.
        StorageFailure, OSError: the storage can't take it.
    """
    registry.recover()
    number, lineage = registry.next_number(), registry.lineage()
    champion = lineage.champion
    if champion is None:
        raise InputError(f"{registry.location}: holds no model yet; there is nothing to go back to")
    target = _target(registry, lineage, champion, to)

    def draft(staging: str) -> Entry:
        _require_next(registry, number)
        return Entry(
            **{field.name: getattr(target, field.name) for field in fields(Record)},
            **change_now(staging, by, reason),
            version=number,
            action="rollback",
            compared_with=champion.version,
            manifest=target.manifest,
            restores=target.origin,
        )

    with tempfile.TemporaryDirectory(prefix="imdb-pipeline-") as scratch:
        try:
            saved_model = registry.fetch(target.version, scratch)
            return registry.publish(saved_model, target.manifest, draft)
        except FileNotFoundError as error:
            raise RegistryChanged(
                f"{registry.location}: version {target.version} was removed meanwhile; look at "
                "`imdb-pipeline models list` and run again"
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What a prune removed, or would remove."""

    removed: list[int]
    """The versions whose SavedModels it removed, oldest first."""

    kept: list[int]
    """The versions that stay."""

    rollback_target: int | None
    """The version beyond the newest that a rollback would go back to; it stays unless forced."""


def prune(
    registry: Registry,
    keep: int,
    *,
    force: bool = False,
    dry_run: bool = False,
    by: str | None = None,
    reason: str = "",
) -> Pruned:
    """Removes the SavedModels of all but the newest versions. Their entries stay.

    Args:
        registry: where.
        keep: how many versions stay at least; the champion is one of them.
        force: also removes the version that a rollback would go back to, where that isn't among
            the newest.
        dry_run: only tells what would be removed.
        by: who prunes; user@host if None.
        reason: why.

    Raises:
        InputError: `keep` is less than 1, or the log is damaged.
        RegistryChanged: another process changed the registry meanwhile.
        StorageFailure, OSError: the storage can't take it.
    """
    if keep < 1:
        raise InputError(f"--keep {keep}: the champion always stays; give 1 or more")
    if not dry_run:
        registry.recover()
    number, lineage, there = registry.next_number(), registry.lineage(), registry.there()
    removed = lineage.prunable(keep, there)
    needed = _way_back(registry, lineage, there) if removed else None
    target = needed.version if needed and needed.version in removed else None
    if not force:
        removed = [version for version in removed if version != target]
    if removed and not dry_run:
        _remove(registry, Prune(
            **change_now(new_staging(), by, reason), entry=number, keep=keep, removed=removed
        ))  # fmt: skip
    return Pruned(removed=removed, kept=sorted(there - {*removed}), rollback_target=target)


def _way_back(registry: Registry, lineage: Lineage, there: Collection[int]) -> Entry | None:
    """The newest version that a rollback could go back to: one that isn't whole is of no use."""
    usable = {*there}
    with tempfile.TemporaryDirectory(prefix="imdb-pipeline-") as scratch:
        while target := lineage.rollback_target(usable):
            if _is_whole(registry, target, scratch):
                return target
            usable.remove(target.version)
    return None


def _is_whole(registry: Registry, entry: Entry, scratch: str) -> bool:
    try:
        differences = registry.difference_by_name(entry)
        return not (differences or registry.difference_by_content(entry, scratch))
    except FileNotFoundError:  # another process prunes it
        return False


def _remove(registry: Registry, change: Prune) -> None:
    """Commits the change, then carries it out; `Registry.recover` ends what a crash interrupts."""

    def draft() -> Prune:
        _require_next(registry, change.entry)
        return change

    registry.storage.stage(Path(), [], change.staging)
    registry.log.append(change.staging, draft)
    for version in change.removed:
        registry.storage.withdraw(version)
    registry.storage.remove(change.staging)


def _target(registry: Registry, lineage: Lineage, champion: Entry, to: int | None) -> Entry:
    """The version to go back to."""
    there = {version for version in registry.there() if registry.storage.published(version)}
    choice = _choice(there - {champion.version})
    if to is None:
        # Where none is whole, what is wrong with the newest is said when it is fetched.
        target = _way_back(registry, lineage, there) or lineage.rollback_target(there)
        if target is None:
            raise InputError(
                f"{registry.location}: no earlier version is there that version {champion.version} "
                f"could be rolled back to; {choice}"
            )
        return target
    target = lineage.get(to)
    if target is None:
        raise InputError(f"{registry.location}: the registry has no version {to}; {choice}")
    if target == champion:
        raise InputError(f"{registry.location}: version {to} is the champion already; {choice}")
    return target


def _choice(versions: Iterable[int]) -> str:
    listed = ", ".join(map(str, sorted(versions)))
    return f"give one of these by --to: {listed}" if listed else "no other version is there"


def _require_next(registry: Registry, number: int) -> None:
    """Refuses a change that was made up before another one."""
    if registry.next_number() != number:
        newest = registry.log.read(registry.next_number() - 1)
        raise RegistryChanged(
            f"{registry.location}: changed meanwhile (entry {newest.number}: {newest.action}, by "
            f"{newest.by}); nothing was done: look at `imdb-pipeline models list` and run again"
        )
