"""aclImdb's layout: `{train,test}/{neg,pos}/*.txt` and `train/unsup/*.txt`, below any folder.

Labels come from the folders; ratings in file names and all other files are ignored.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.ingest.spool import RawReview
from components.shared.errors import InputError
from components.shared.reviews import NEGATIVE, POSITIVE, TEST, TRAIN, UNLABELLED, UNSUPERVISED

MAX_REVIEW_BYTES = 64 << 20
"""The size of one review."""

LAYOUT = "train/neg, train/pos, test/neg and test/pos, each with a .txt file for each review"

_FOLDERS = {
    ("train", "neg"): (TRAIN, NEGATIVE),
    ("train", "pos"): (TRAIN, POSITIVE),
    ("train", "unsup"): (UNSUPERVISED, UNLABELLED),
    ("test", "neg"): (TEST, NEGATIVE),
    ("test", "pos"): (TEST, POSITIVE),
}


def is_review(name: str) -> bool:
    """Whether a file of this name, its folders included, is a review."""
    _, folder, file = _split(name)
    # Names that start with a dot are an operating system's own notes on a file.
    return folder in _FOLDERS and file.lower().endswith(".txt") and not file.startswith(".")


def parse_reviews(files: Iterable[tuple[str, bytes]], source: str) -> Iterator[RawReview]:
    """Turns the files that `is_review` picked into reviews.

    Args:
        files: name and content of each.
        source: what to call them in messages.

    Raises:
        InputError: a file is not UTF-8, or the files are those of two data sets.
    """
    first_root: str | None = None
    for name, content in files:
        root, folder, _ = _split(name)
        first_root = root if first_root is None else first_root
        if root != first_root:
            both = " and ".join(printable(one) or "its top" for one in (first_root, root))
            raise InputError(f"{source}: holds two data sets, in {both}; give each on its own")
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{source}: {printable(name)} is not UTF-8 (byte {error.start}: {error.reason});"
                " convert it to UTF-8 or leave it out"
            ) from None
        yield RawReview(*_FOLDERS[folder], content)


def folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Reads the reviews of a folder that holds train/ and test/, or of a sub-folder that does.

    Yields:
        Name, relative to `folder`, and content of each.

    Raises:
        InputError: a review can't be read, is too large or is a link that leads outside.
    """
    try:
        roots = ["", *sorted(f"{path.name}/" for path in folder.iterdir() if path.is_dir())]
        for prefix in (f"{root}{split}/{kind}" for root in roots for split, kind in _FOLDERS):
            directory = folder / prefix
            entries = os.scandir(directory) if directory.is_dir() else ()
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_review(f"{prefix}/{entry.name}"):
                    yield f"{prefix}/{entry.name}", _read_file(entry, folder)
    except OSError as error:
        place = printable(str(error.filename or folder))
        raise InputError(f"{place}: can't be read ({error.strerror}); make it readable") from error


def printable(name: str) -> str:
    """A file name as text for any log or terminal, whatever bytes it has on disk."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _read_file(entry: os.DirEntry[str], folder: Path) -> bytes:
    path, size = Path(entry.path), entry.stat().st_size
    if entry.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        problem = "is a link that leads outside; copy the file there instead"
    elif not entry.is_file():
        problem = "is not a file; remove it"
    elif size > MAX_REVIEW_BYTES:
        problem = f"has {too_large(size)}"
    else:
        return path.read_bytes()
    raise InputError(f"{printable(entry.path)}: {problem}")


def too_large(size: int) -> str:
    """Says that a review of `size` bytes is over the limit."""
    return f"{size:,} bytes, more than the {MAX_REVIEW_BYTES:,} a review may have; cut or remove it"


def _split(name: str) -> tuple[str, tuple[str, str], str]:
    """A name's leading folders, its last two folders and its last part."""
    root, split, kind, file = f"///{name}".rsplit("/", 3)
    return root[3:], (split, kind), file
