"""The entries of the model registry's log, and the manifests that they carry."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from types import NoneType
from typing import Any, Literal, Self

from components.shared.errors import InputError

RESTORE = "restore it from a backup, or choose another serving directory"
"""What a user can do about a registry whose files were lost or changed."""

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What the log keeps of a candidate beside its files."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry(Record):
    """One entry of the log."""

    version: int

    action: Literal["promote", "rollback"]

    created: str
    """When: UTC, ISO 8601."""

    compared_with: int | None
    """The version of the champion that it was judged against; None where there was none."""

    manifest: dict[str, str]
    """The SHA-256 of each file of its SavedModel, by relative POSIX path."""

    staging: str
    """The folder that its SavedModel was staged in."""

    def to_json(self) -> bytes:
        """The entry as the content of its file; the same entry gives the same bytes."""
        values = asdict(self)
        text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Reads what `to_json` made; keys of a later version of this program are passed over.

        Raises:
            ValueError: the content is no entry.
        """
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        for name, types in _TYPES.items():
            if not isinstance(values.get(name, ...), types):
                raise ValueError(f"{name} is missing or of the wrong type")
        if values["action"] not in ("promote", "rollback"):
            raise ValueError(f"the action {values['action']!r} is unknown")
        for path, digest in values["manifest"].items():
            if not _is_below(path) or not _SHA256.fullmatch(str(digest)):
                raise ValueError(f"the manifest's {path!r} is no file with a SHA-256")
        return cls(**{field.name: values[field.name] for field in fields(cls)})


_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("run_id", "source", "preset", "fingerprint", "created", "staging"), str),
    **dict.fromkeys(("config", "metrics", "manifest"), dict),
    "reasons": list,
    "version": int,
    "compared_with": (int, NoneType),
    "action": str,
}


def entry_file(version: int) -> str:
    """Where the log keeps the entry of a version, relative to the serving directory."""
    return f"log/{version:08d}.json"


def parse_entry(content: bytes, version: int, where: str) -> Entry:
    """Reads the entry of `version`; `where` names its file in messages.

    Raises:
        InputError: the entry is damaged.
    """
    try:
        entry = Entry.from_json(content)
        if entry.version != version:
            raise ValueError(f"it is the entry of version {entry.version}")
    except ValueError as error:
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


def _is_below(path: str) -> bool:
    """Whether a relative path stays within its folder."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and pure.as_posix() == path != "."
