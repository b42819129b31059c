"""Artifacts on disk: they appear whole or not at all, and the same content gives the same bytes."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.shared.errors import InputError


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Gives a staging directory that becomes `path` when the block ends without an error.

    An earlier `path` is replaced; what a killed attempt left in the staging place is removed.
    """
    path = Path(path)
    staging = path.with_name(f".{path.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if path.exists():
            shutil.rmtree(path)
        staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as JSON with sorted keys; the file appears whole or not at all."""
    path = Path(path)
    staging = path.with_name(f".{path.name}.partial")
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    try:
        staging.write_text(text + "\n", encoding="utf-8")
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing or holds no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; run the task that writes it") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a JSON file ({error}); write it anew") from error


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_sha256(path: str | Path) -> dict[str, str]:
    """The SHA-256 of each file below `path`, by its relative POSIX path, in sorted order."""
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {file.relative_to(root).as_posix(): file_sha256(file) for file in files}
