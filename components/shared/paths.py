"""Paths that a user gives."""

import stat
from pathlib import Path

from components.shared.errors import InputError

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_file_or_folder(path: Path, name: str, advice: str) -> None:
    """Checks what is at a path that is to be read.

    Args:
        path: the path; a link is followed.
        name: what messages call it.
        advice: what to give instead.

    Raises:
        InputError: there is nothing, something that is neither a file nor a folder, or a path that
            can't be looked up.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{name}: there is no such file or folder; {advice}") from error
    except (OSError, ValueError) as error:
        # Python itself refuses a path with a NUL.
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name}: can't be read ({reason}); {advice}") from error
    if kind := _KINDS.get(stat.S_IFMT(mode)):
        raise InputError(f"{name}: {kind}, neither a file nor a folder; {advice}")
