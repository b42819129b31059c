"""A split for choosing models by: reviews of other films, from the train reviews of aclImdb alone.

    python tests/benchmarks/development_split.py aclImdb_v1.tar.gz development.tar.gz

In aclImdb the films of test are others than those of train, and a model that knows a film by the
names in it is right more often than it will be on test: carved out of train by text, validation
says two points too much. What is written here has a sixth of train's films as its test split and
the other train reviews as train; the unlabelled reviews stay, the real test split is left out.
"""

import argparse
import hashlib
import io
import sys
import tarfile
from pathlib import Path

SHARE = 0.16
"""Of the films."""


def main() -> int:
    """Writes the archive."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("development", type=Path)
    options = parser.parse_args()
    reviews, urls = read(options.archive)
    held_out = 0
    with tarfile.open(options.development, "w:gz", compresslevel=1) as archive:
        for (label, name), text in sorted(reviews.items()):
            # Line n of a list of URLs has the film of the review whose name begins with n.
            film = label != "unsup" and is_held_out(urls[label][int(name.split("_")[0])])
            held_out += film
            member = tarfile.TarInfo(f"{'test' if film else 'train'}/{label}/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    print(f"{options.development}: {held_out:,} of {len(reviews):,} reviews held out")
    return 0


def read(archive: Path) -> tuple[dict[tuple[str, str], bytes], dict[str, list[str]]]:
    """The train reviews by label and name, and by label the lists of their films' URLs."""
    reviews, urls = {}, {}
    with tarfile.open(archive) as files:
        for member in files:
            parts = member.name.split("/")
            file = files.extractfile(member)
            if file is None or "train" not in parts:
                continue
            if parts[-2] in ("neg", "pos", "unsup"):
                reviews[parts[-2], parts[-1]] = file.read()
            elif parts[-1].startswith("urls_"):
                urls[parts[-1][len("urls_") : -len(".txt")]] = file.read().decode().split()
    return reviews, urls


def is_held_out(url: str) -> bool:
    """Whether the reviews of a film are in the development split's test."""
    film = url.partition("/title/")[2].partition("/")[0]
    return int.from_bytes(hashlib.sha256(film.encode()).digest()[:8], "big") / 2**64 < SHARE


if __name__ == "__main__":
    sys.exit(main())
