"""The source `tfds`: TFDS's own builder, download manager and checksums.

The real download is out of reach of a test, so TFDS is told another address (a loopback server)
and another checksum (that of a made-up archive); all else is TFDS's own. The refusal of a file
with another content is tested against the checksum that TFDS really has.
"""

import functools
import hashlib
import http.server
import socket
import threading

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.datasets.imdb_reviews import imdb_reviews_dataset_builder as imdb

from components.shared.errors import InputError


@pytest.fixture
def point_tfds_at(monkeypatch):
    """Gives TFDS another address and checksum for imdb_reviews."""

    def point(url, content):
        info = UrlInfo(
            size=tfds.core.utils.Size(len(content)),
            checksum=hashlib.sha256(content).hexdigest(),
            filename="aclImdb_v1.tar.gz",
        )
        monkeypatch.setattr(imdb, "_DOWNLOAD_URL", url)
        monkeypatch.setattr(tfds.builder_cls("imdb_reviews"), "url_infos", {url: info})

    return point


@pytest.fixture
def address(corpus):
    """Serves the directory of the test over HTTP."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(corpus.path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/aclImdb_v1.tar.gz"
        running.shutdown()
        thread.join()


def test_download_prepare_and_read(corpus, address, point_tfds_at):
    archive = corpus.archive(corpus.files(unlabelled=20), "aclImdb_v1.tar.gz")
    point_tfds_at(address, archive.read_bytes())
    data_dir = corpus.path / "tfds"
    first = corpus.ingest("tfds", data_dir=data_dir)
    assert first["source"] == first["kind"] == "tfds"
    assert first["splits"]["test"] == 80
    assert first["splits"]["unsupervised"] == 20
    # The same reviews as an archive are the same data set.
    assert first["fingerprint"] == corpus.ingest(archive)["fingerprint"]

    archive.unlink()
    assert corpus.ingest("tfds", data_dir=data_dir) == first  # prepared before: no download

    with pytest.raises(InputError, match=r"can't be reached.*404"):
        corpus.ingest("tfds", data_dir=corpus.path / "another")


def test_checksum_of_a_download(corpus, address, point_tfds_at):
    archive = corpus.archive(corpus.files(), "aclImdb_v1.tar.gz")
    point_tfds_at(address, b"something else")
    with pytest.raises(InputError, match=r"(?i)tfds: .*checksum.*source bundled.*URI"):
        corpus.ingest("tfds", data_dir=corpus.path / "tfds")
    assert archive.is_file()
    assert list(corpus.output.parent.iterdir()) == []


def test_checksum_that_tfds_really_has(corpus):
    manual = corpus.path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    corpus.archive(corpus.files(), "aclImdb_v1.tar.gz").rename(manual / "aclImdb_v1.tar.gz")
    with pytest.raises(InputError, match=r"(?i)tfds: .*checksum"):
        corpus.ingest("tfds", data_dir=corpus.path / "tfds")


def test_unreachable(corpus, point_tfds_at):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    point_tfds_at(f"http://127.0.0.1:{port}/aclImdb_v1.tar.gz", b"")
    with pytest.raises(InputError, match=r"can't be reached.*source bundled, or the path or URI"):
        corpus.ingest("tfds", data_dir=corpus.path / "tfds")
    assert list(corpus.output.parent.iterdir()) == []
