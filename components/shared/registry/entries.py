"""The entries of the model registry's log, and the manifests that they carry."""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import PurePosixPath
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from components.shared.errors import InputError

RESTORE = "restore it from a backup, or choose another serving directory"
"""What a user can do about a log whose files were lost or changed."""

_SHA256 = re.compile("[0-9a-f]{64}")


# None of these has slots: Entry is both a Record and a Change, which slots don't allow.
@dataclass(frozen=True, kw_only=True)
class Record:
    """What the log keeps of a candidate beside its files.

    A field with a default may be missing from an entry that an earlier program wrote.
    """

    run_id: str
    """The run that made it."""

    source: str
    """Where the reviews are from."""

    preset: str
    """The name of the run's configuration."""

    fingerprint: str
    """The fingerprint of the reviews."""

    config: dict[str, Any]
    """The run's whole configuration."""

    metrics: dict[str, Any]
    """Its figures on the test reviews."""

    reasons: list[Any]
    """Why the gate blessed it."""

    test_fingerprint: str = ""
    """The fingerprint of the test reviews that `metrics` is of; empty where it isn't known."""

    image: str = ""
    """The image that the run's tasks ran in; empty where it isn't known."""

    statistics: dict[str, Any] | None = None
    """Of the reviews that it was trained on: lengths, labels, unknown tokens; None if not known."""

    devices: dict[str, Any] | None = None
    """What it was trained on: `kind`, `count` and `name`; None if not known."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What every entry of the log tells: that the registry was changed, when, by whom and why."""

    created: str
    """When: UTC, ISO 8601."""

    staging: str
    """The staging folder of the change; no other entry names the same."""

    by: str = ""
    """Who: user@host, or what the command was told."""

    reason: str = ""
    """Why, in words."""

    @property
    def number(self) -> int:
        """Its place in the log, from 1."""
        raise NotImplementedError

    def to_json(self) -> bytes:
        """The entry as the content of its file; the same entry gives the same bytes."""
        values = asdict(self)
        text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Reads JSON values; keys of a later version of this program are passed over.

        Raises:
            ValueError: a field without a default is missing, or one has the wrong type.
        """
        types = _TYPES[cls]
        given = {}
        for field in fields(cls):
            if field.name not in values and field.default is not MISSING:
                continue
            if not isinstance(values.get(field.name, ...), types[field.name]):
                raise ValueError(f"{field.name} is missing or of the wrong type")
            given[field.name] = values[field.name]
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Entry(Record, Change):
    """A version of the model: the entry that made it the champion."""

    version: int

    action: Literal["promote", "rollback"]

    compared_with: int | None
    """The version of the champion that it took the place of; None where there was none."""

    manifest: dict[str, str]
    """The SHA-256 of each file of its SavedModel, by relative POSIX path."""

    restores: int | None = None
    """The promoted version that a rollback made the champion again; None for a promotion."""

    @property
    def number(self) -> int:
        """Its place in the log, which is the version."""
        return self.version

    @property
    def origin(self) -> int:
        """The promoted version whose SavedModel it is."""
        return self.version if self.restores is None else self.restores


@dataclass(frozen=True, kw_only=True)
class Prune(Change):
    """The removal of versions' SavedModels. Its number is that of no version."""

    entry: int
    """Its number in the log."""

    action: Literal["prune"] = "prune"

    keep: int
    """How many versions were to stay."""

    removed: list[int]
    """The versions whose SavedModels it removed; their entries stay."""

    @property
    def number(self) -> int:
        """Its place in the log."""
        return self.entry


def entry_file(number: int) -> str:
    """Where the log keeps an entry, relative to the serving directory."""
    return f"log/{number:08d}.json"


def read_entry(content: bytes) -> Entry | Prune:
    """Reads what `to_json` made.

    Raises:
        ValueError: the content is no entry.
    """
    values = json.loads(content)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    action = values.get("action", ...)
    if not isinstance(action, str):
        raise ValueError("action is missing or of the wrong type")
    if action == "prune":
        return _checked_prune(Prune.from_mapping(values))
    if action not in ("promote", "rollback"):
        raise ValueError(f"the action {action!r} is unknown")
    return _checked_entry(Entry.from_mapping(values))


def parse_entry(content: bytes, number: int, where: str) -> Entry | Prune:
    """Reads the entry of `number`; `where` names its file in messages.

    Raises:
        InputError: the entry is damaged.
    """
    try:
        entry = read_entry(content)
        if entry.number != number:
            raise ValueError(f"it is the entry of version {entry.number}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: a damaged entry ({error}); {RESTORE}") from error
    return entry


def difference(manifest: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Names each file that is missing, changed or there in excess; empty where none is."""
    changed = {name for name in manifest.keys() & found.keys() if manifest[name] != found[name]}
    kinds = {
        "missing": manifest.keys() - found.keys(),
        "changed": changed,
        "not part of it": found.keys() - manifest.keys(),
    }
    return "; ".join(
        f"{kind}: {', '.join(sorted(names))}" for kind, names in kinds.items() if names
    )


def _types(hint: Any) -> tuple[type, ...]:
    """The classes of the JSON values that a field of this type may have."""
    if get_origin(hint) is Literal:
        return tuple({type(value) for value in get_args(hint)})
    if get_origin(hint) in (Union, UnionType):
        return tuple(get_origin(choice) or choice for choice in get_args(hint))
    return (get_origin(hint) or hint,)


def _checked_entry(entry: Entry) -> Entry:
    if not 0 < entry.origin <= entry.version:
        raise ValueError("restores is no earlier version")
    for path, digest in entry.manifest.items():
        if not _is_below(path) or not _SHA256.fullmatch(str(digest)):
            raise ValueError(f"the manifest's {path!r} is no file with a SHA-256")
    return entry


def _checked_prune(prune: Prune) -> Prune:
    if not all(isinstance(version, int) and 0 < version < prune.entry for version in prune.removed):
        raise ValueError("removed holds what is no earlier version")
    return prune


def _is_below(path: str) -> bool:
    """Whether a relative path stays within its folder."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and pure.as_posix() == path != "."


_TYPES: dict[type, dict[str, tuple[type, ...]]] = {
    entry: {name: _types(hint) for name, hint in get_type_hints(entry).items()}
    for entry in (Entry, Prune)
}
"""The classes of the JSON values that each field may have."""
