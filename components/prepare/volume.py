"""The mode of a volume's root folder, which on most block storage belongs to root alone."""

from pathlib import Path

_WRITABLE = 0o777


def make_writable(folder: str | Path) -> str:
    """Lets every user write into a folder, where this user may change its mode.

    A mode that can't be changed is no error: a file system group may let the other tasks write.

    Args:
        folder: the root of a volume that one run has for itself.

    Returns:
        The outcome, for a log.
    """
    path = Path(folder)
    mode = path.stat().st_mode & 0o7777
    if mode & _WRITABLE == _WRITABLE:
        return "writable as it is"
    try:
        path.chmod(mode | _WRITABLE)
    except OSError as error:
        return f"left at mode {mode:o} ({error.strerror})"
    return f"mode {mode:o} changed to {mode | _WRITABLE:o}"
