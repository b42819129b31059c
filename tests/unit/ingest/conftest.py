"""Reviews that are made up for the tests, in aclImdb's layout."""

import grp
import io
import pwd
import random
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components.ingest.ingest import ingest
from components.shared import reviews
from components.shared.config import IngestConfig

Files = dict[str, bytes]

_WORDS = ["plot", "acting", "score", "scene", "camera", "ending", "pace", "humour", "dull"]


class Corpus:
    """Makes reviews up, packs them, ingests them and reads them back, all below one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.output = path / "work" / "out"
        self.output.parent.mkdir()

    def files(self, per_class: int = 40, unlabelled: int = 0) -> Files:
        """Reviews by their path in aclImdb, no text twice."""
        draw = random.Random(0)
        folders = dict.fromkeys(("train/neg", "train/pos", "test/neg", "test/pos"), per_class)
        return {
            f"{folder}/{number}_{draw.randint(1, 10)}.txt": (
                f"{' '.join(draw.choices(_WORDS, k=9))}<br />naïve № {folder} {number}".encode()
            )
            for folder, count in (folders | {"train/unsup": unlabelled}).items()
            for number in range(count)
        }

    def folder(self, files: Mapping[str, bytes], name: str = "folder") -> Path:
        """Writes the files as a folder."""
        for file, content in files.items():
            path = self.path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.path / name

    def archive(
        self,
        files: Mapping[str, bytes],
        name: str = "reviews.tar.gz",
        *,
        root: str = "aclImdb/",
        others: Iterable[tarfile.TarInfo] = (),
        time: int = 1_000_000_000,
    ) -> Path:
        """Packs the files below `root`, and then members without content."""
        mode = "w" if name.endswith(".tar") else "w:gz"
        with tarfile.open(self.path / name, mode) as tar:  # type: ignore[call-overload]
            for file, content in files.items():
                member = tarfile.TarInfo(root + file)
                member.size, member.mtime = len(content), time
                tar.addfile(member, io.BytesIO(content))
            for member in others:
                tar.addfile(member)
        return self.path / name

    def ingest(self, source: str | Path, **options: Any) -> dict[str, Any]:
        """Ingests into `self.output`."""
        config = IngestConfig(**options.pop("config", {}))
        return ingest(str(source), config, self.output, **options)

    def rows(self, split: str) -> list[tuple[str, bytes, int]]:
        """Id, text and label of each review of a split, through its shards and `parse_review`."""
        shards = [str(path) for path in reviews.split_shards(self.output, split)]
        rows: list[tuple[str, bytes, int]] = []
        for batch in tf.data.TFRecordDataset(shards).batch(64).map(reviews.parse_review):
            ids, texts, labels = (batch[name].numpy() for name in ("id", "text", "label"))
            rows += zip([id_.decode() for id_ in ids], texts, labels.tolist(), strict=True)
        return rows

    def texts(self, split: str) -> list[tuple[bytes, int]]:
        """Text and label of each review of a split, sorted."""
        return sorted(row[1:] for row in self.rows(split))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Made-up reviews, and the ways to bring them in."""
    return Corpus(tmp_path)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user and a group without an entry in /etc/passwd and /etc/group, as containers have."""

    def unknown(number: int) -> None:
        raise KeyError(f"no entry for {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(grp, "getgrgid", unknown)
