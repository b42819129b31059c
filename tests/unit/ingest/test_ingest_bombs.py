"""Archives made to fill the memory or the disk end in one message, before they do."""

import gzip
import tarfile
import tracemalloc

import pytest

from components.ingest import archive
from components.shared.errors import InputError

BLOCK = 512


@pytest.fixture
def refused(corpus):
    """Ingests a source that must be refused, with 64 MB at most; gives the message."""

    def ingest(source, **config):
        tracemalloc.start()
        try:
            with pytest.raises(InputError) as caught:
                corpus.ingest(source, config=config)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
        assert list(corpus.output.parent.iterdir()) == []
        message = str(caught.value)
        assert str(source) in message and "\n" not in message and len(message) < 1000
        return message

    return ingest


def header(name, kind=tarfile.REGTYPE, size=0):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content):
    return content + bytes(-len(content) % BLOCK)


def extended(kind, name, content):
    """A member that says something about the next one."""
    return header(name, kind, len(content)) + padded(content)


def pax_record(key, value):
    body = f" {key}={value}\n"
    length = len(body)
    while len(f"{length}{body}") != length:
        length = len(f"{length}{body}")
    return f"{length}{body}".encode()


def packed(corpus, parts, name="bomb.tar.gz"):
    path = corpus.path / name
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
        file.write(bytes(2 * BLOCK))
    return path


def test_size_and_members(corpus, refused):
    source = corpus.archive(corpus.files())
    size = len(gzip.decompress(source.read_bytes()))
    assert "--set max_archive_bytes=" in refused(source, max_archive_bytes=size - 1)
    assert "--set max_archive_members=" in refused(source, max_archive_members=159)
    corpus.ingest(source, config={"max_archive_bytes": size, "max_archive_members": 160})


def test_ratio(corpus, refused, monkeypatch):
    """Zeros in a member that nobody wants, and in one that is a review."""
    monkeypatch.setattr(archive, "UNSUSPECTED_BYTES", 1 << 20)
    zeros = bytes(1 << 20)
    for name in ("notes", "train/pos/1_9.txt"):
        source = packed(corpus, [header(name, size=8 << 20), *[zeros] * 8])
        assert source.stat().st_size < 64 << 10
        assert f"more than {archive.MAX_RATIO} times its size" in refused(source)


def test_a_ratio_that_reviews_may_have(corpus):
    """Tiny reviews are mostly headers and padding, which shrink a lot, in a small archive."""
    corpus.ingest(corpus.archive(corpus.files()))


def test_a_huge_member(corpus, refused):
    source = packed(corpus, [header("train/pos/1_9.txt", size=7 << 30), bytes(BLOCK)])
    assert "more than the 67,108,864 a review may have" in refused(source)


@pytest.mark.parametrize("size", [-1, -512, -(1 << 40)])
def test_a_negative_size(corpus, refused, size):
    """Of the header itself or of a PAX record, where -1 would be all that there is to read."""
    zeros = [bytes(1 << 20)] * 100
    name = "train/pos/1_9.txt"
    record = extended(tarfile.XHDTYPE, "pax", pax_record("size", size))
    binary = bytearray(header(name))
    binary[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big")
    binary[148:156] = b"%06o\0 " % (sum(binary[:148]) + sum(binary[156:]) + 8 * 32)
    for first in (record + header(name), bytes(binary)):
        message = refused(packed(corpus, [first, *zeros]))
        assert f"{size:,} bytes" in message or "damaged" in message


@pytest.mark.parametrize(
    ("size", "content", "count"), [(8 << 30, 0, 1), (200 << 10, 200 << 10, 2000)]
)
def test_long_names(corpus, refused, size, content, count):
    """Neither a name said to be 8 GB long nor a name for a name, and so on."""
    one = header("././@LongLink", tarfile.GNUTYPE_LONGNAME, size) + bytes(content)
    assert "damaged" in refused(packed(corpus, [one] * count))


def test_a_name_longer_than_any_file_has(corpus, refused):
    name = f"train/pos/{'x' * 5000}_9.txt".encode()
    long_name = extended(tarfile.GNUTYPE_LONGNAME, "././@LongLink", name + b"\0")
    assert "a name of more than 4,096 bytes" in refused(packed(corpus, [long_name, header("x")]))


def test_deep_folders(corpus, refused):
    name = "d/" * 3000 + "train/pos/1_9.txt"
    long_name = extended(tarfile.GNUTYPE_LONGNAME, "././@LongLink", name.encode() + b"\0")
    assert "a name of more than 4,096 bytes" in refused(packed(corpus, [long_name, header("x")]))


def test_pax_records(corpus, refused):
    """One larger than any need be; and smaller ones for all members, ever more of them."""
    large = extended(tarfile.XHDTYPE, "pax", pax_record("comment", "x" * (300 << 10)))
    assert "damaged" in refused(packed(corpus, [large, header("x")]))
    many = (
        extended(tarfile.XGLTYPE, "pax", pax_record(f"key{number}", "x" * (200 << 10)))
        + header("notes")
        for number in range(600)
    )
    assert "holds no review" in refused(packed(corpus, many))
    chain = (extended(tarfile.XGLTYPE, "pax", pax_record("k", "x")) for _ in range(5000))
    assert "damaged" in refused(packed(corpus, chain))


def test_sparse_members(corpus, refused):
    """A map of holes that goes on from block to block, and sparse members of either format."""
    first = bytearray(header("train/pos/1_9.txt", tarfile.GNUTYPE_SPARSE))
    first[482] = 1  # the map goes on
    first[148:156] = b"%06o\0 " % (sum(first[:148]) + sum(first[156:]) + 8 * 32)
    entry = b"00000000001\0" * 2
    block = (entry * 21 + b"\1").ljust(BLOCK, b"\0")
    assert "damaged" in refused(packed(corpus, [bytes(first), *[block] * 20_000]))
    small = header("train/pos/1_9.txt", tarfile.GNUTYPE_SPARSE)
    assert "sparse" in refused(packed(corpus, [small, bytes(BLOCK)]))
    records = pax_record("GNU.sparse.major", 1) + pax_record("GNU.sparse.minor", 0)
    counted = padded(b"1000000000\n")
    pax = extended(tarfile.XHDTYPE, "pax", records) + header("train/pos/1_9.txt", size=1 << 30)
    assert "damaged" in refused(packed(corpus, [pax, counted, *[b"1\n" * 256] * 20_000]))


def test_a_nested_archive_is_no_review(corpus, refused):
    inner = corpus.archive(corpus.files()).read_bytes()
    source = packed(corpus, [header("train/pos/1.tar.gz", size=len(inner)), padded(inner)])
    assert "holds no review" in refused(source)
