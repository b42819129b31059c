"""The log of the model registry: `log/00000007.json` and so on, made once and never changed."""

import getpass
import os
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from components.shared.errors import InputError
from components.shared.registry.entries import RESTORE, Entry, Prune, entry_file, parse_entry
from components.shared.registry.storage import Storage, StorageFailure

_PARALLEL_READS = 16
_ATTEMPTS = 10

AnyEntry = TypeVar("AnyEntry", Entry, Prune)


class Log:
    """The entries below `log/` in a storage."""

    def __init__(self, storage: Storage) -> None:
        """Reads and appends to the log in `storage`."""
        self._storage = storage

    def numbers(self) -> list[int]:
        """The numbers of the entries, 1 to the newest.

        Raises:
            InputError: one is missing.
        """
        numbers = self.found()
        for expected, number in enumerate(numbers, start=1):
            if number != expected:
                raise self.missing(expected)
        return numbers

    def found(self) -> list[int]:
        """The numbers of the entries that are there, in order."""
        files = (re.fullmatch(r"(\d{8})\.json", name) for name in self._storage.files("log"))
        return sorted(int(match[1]) for match in files if match)

    def read(self, number: int) -> Entry | Prune:
        """An entry.

        Raises:
            InputError: it is damaged or missing.
        """
        try:
            content = self._storage.read(entry_file(number))
        except FileNotFoundError as error:
            raise self.missing(number) from error
        return parse_entry(content, number, self._where(number))

    def read_all(self) -> list[Entry | Prune]:
        """All entries, oldest first.

        Raises:
            InputError: one is damaged or missing.
        """
        numbers = self.numbers()
        if self._storage.is_local:
            return [self.read(number) for number in numbers]
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            return list(pool.map(self.read, numbers))

    def append(self, staging: str, draft: Callable[[], AnyEntry]) -> AnyEntry:
        """Creates the entry that `draft` makes, in the place that it says.

        It is drafted anew while others take its place. Where it can't be created, its staging
        folder is cleared.

        Args:
            staging: the staging folder that the entry names.
            draft: makes the entry from the log as it is by then, or raises what forbids it.

        Raises:
            StorageFailure, OSError: the storage can't take it.
        """
        entry = None
        try:
            for _ in range(_ATTEMPTS):
                entry = draft()
                try:
                    self._storage.create(entry_file(entry.number), entry.to_json(), staging)
                    return entry
                except FileExistsError:
                    if self._holds(entry):
                        return entry
            raise StorageFailure(
                f"{self._storage.location}/log: takes no new entry; look at it, and run again"
            )
        except BaseException as error:
            # An answer may be lost, or a key pressed, once the entry is made, and what an entry
            # names must stay.
            if entry is not None and self._holds(entry):
                if isinstance(error, Exception):
                    return entry
                raise
            self._storage.remove(staging)
            raise

    def missing(self, number: int) -> InputError:
        """Says that an entry is missing."""
        return InputError(f"{self._where(number)}: this entry is missing; {RESTORE}")

    def _holds(self, entry: Entry | Prune) -> bool:
        try:
            return self._storage.read(entry_file(entry.number)) == entry.to_json()
        except FileNotFoundError:
            return False

    def _where(self, number: int) -> str:
        return f"{self._storage.location}/{entry_file(number)}"


def change_now(staging: str, by: str | None, reason: str) -> dict[str, Any]:
    """The fields of a `Change` that is made now; `by` is user@host where it is None."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "staging": staging,
        "by": _user_and_host() if by is None else by,
        "reason": reason,
    }


def _user_and_host() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # as in a container, whose users need no names
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
