"""What a user reads of an operating system's error."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.shared.errors import storage_message

ROOT = Path(__file__).parents[3]

_TRY = """
import sys
from components.shared.errors import storage_message
try:
    open(sys.argv[1], sys.argv[2]).close()
except OSError as error:
    print(storage_message(error))
"""


def message_without_rights(path: Path, mode: str) -> str:
    """What is said where a user opens a path without the rights of root."""
    command = [sys.executable, "-c", _TRY, str(path), mode]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read and write everything, and there is no setpriv to prevent it")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_a_file_that_may_not_be_read_is_not_said_to_be_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o000)
    message = message_without_rights(secret, "rb")
    assert message.startswith(f"cannot read {secret}: permission denied") and "writ" not in message


def test_a_folder_that_may_not_be_written_to_is_said_to_be_so(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    message = message_without_rights(folder / "new", "wb")
    assert message.startswith(f"cannot write {folder / 'new'}: permission denied: choose")


@pytest.mark.parametrize("mode", ["rb", "wb"])
def test_nothing_is_guessed_of_what_lies_in_a_closed_folder(tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o000)
    message = message_without_rights(folder / "file", mode)
    assert message.startswith(f"cannot access {folder / 'file'}: permission denied: give")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("while running\n/a/vocabulary.txt; Permission denied"),
        PermissionError(errno.EACCES, "Permission denied"),
        PermissionError(errno.EPERM, "Operation not permitted"),
    ],
)
def test_denied_access_without_a_path_does_not_blame_the_disk(error: Exception) -> None:
    message = storage_message(error)
    assert message is not None and message.startswith("access is denied (")
    assert str(error).splitlines()[-1] in message
    assert "writ" not in message and "director" not in message


def test_a_full_disk_is_said_whatever_carries_it() -> None:
    words = "the disk is full"
    assert words in str(storage_message(OSError(errno.ENOSPC, "No space left on device", "a")))
    assert words in str(storage_message(RuntimeError("a; No space left on device")))
    assert storage_message(RuntimeError("")) is None
