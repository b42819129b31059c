"""Reviews over the network, from a real HTTP server on loopback."""

import base64
import http.server
import socket
import threading

import pytest
from obstore.store import LocalStore

from components.ingest import fetch, web
from components.shared.artifacts import directory_sha256
from components.shared.errors import InputError

AUTHORIZATION = f"Basic {base64.b64encode(b'ad@a:SEC/RET').decode()}"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(web, "PAUSES", (0.0, 0.0))


@pytest.fixture
def server(corpus):
    """Serves an archive; other paths show what servers do. Gives the base URL."""
    content = corpus.archive(corpus.files()).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path
            if path == "/moved.tar.gz":
                self.answer(302, b"", Location="/a%20b.tar.gz?signature=SECRET")
            elif path.startswith("/broken"):
                self.answer(200, content[:2000], length=len(content))
            elif path in ("/a%20b.tar.gz", "/a%20b.tar.gz?signature=SECRET"):
                self.answer(200, content)
            elif path == "/protected":
                known = self.headers["Authorization"] == AUTHORIZATION
                self.answer(*((200, content) if known else (401, b"")))
            elif path == "/elsewhere":
                elsewhere = self.headers["Host"].replace("127.0.0.1", "localhost")
                self.answer(302, b"", Location=f"http://{elsewhere}/open")
            elif path == "/open":
                self.answer(*((403, b"") if self.headers["Authorization"] else (200, content)))
            elif path == "/page":
                self.answer(200, b"<html>please log in</html>")
            else:
                self.answer({"/403": 403, "/503": 503}.get(path, 404), b"")

        def answer(self, status, body, length=None, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_user_and_password_are_sent_and_shown_nowhere(corpus, server, capsys):
    address = server.removeprefix("http://")
    summary = corpus.ingest(f"http://ad%40a:SEC%2FRET@{address}/protected")
    assert summary["source"] == f"{server}/protected"
    # Another host gets no password that wasn't meant for it.
    corpus.ingest(f"HTTP://ad%40a:SEC%2FRET@{address}/elsewhere")
    with pytest.raises(InputError, match="access refused") as refused:
        corpus.ingest(f"http://ada:SECRET@{address}/protected")
    shown = f"{summary}{capsys.readouterr()}{refused.value}"
    assert not any(part in shown for part in ("ad%40a", "ada", "SEC"))


@pytest.mark.parametrize("path", ["a%20b.tar.gz", "a%20b.tar.gz?signature=SECRET", "moved.tar.gz"])
def test_archive_over_http(corpus, server, path, capsys):
    local = corpus.ingest(corpus.path / "reviews.tar.gz")
    expected = directory_sha256(corpus.output / "reviews")
    remote = corpus.ingest(f"{server}/{path}")
    assert remote["fingerprint"] == local["fingerprint"]
    assert directory_sha256(corpus.output / "reviews") == expected
    assert [path.name for path in corpus.output.parent.iterdir()] == ["out"]
    assert "SECRET" not in f"{remote}{capsys.readouterr()}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("missing.tar.gz", "there is nothing"),
        ("", "there is nothing"),
        ("403", "403 Forbidden"),
        ("503", "503 Service Unavailable"),
        ("broken.tar.gz", "connection broke"),
        ("page", "not a .tar.gz or .tar archive"),
    ],
)
def test_what_servers_do(corpus, server, path, expected):
    with pytest.raises(InputError) as caught:
        corpus.ingest(
            f"{server}/{path}?signature=SECRET" if path == "missing.tar.gz" else f"{server}/{path}"
        )
    message = str(caught.value)
    assert f"{server}/{path}" in message and expected in message
    assert "SECRET" not in message
    if path != "page":
        assert "bundled" in message and "tfds" in message
    assert list(corpus.output.parent.iterdir()) == []


def test_nobody_listens(corpus):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match=r"can't be reached.* bundled or tfds") as caught:
        corpus.ingest(f"http://me:SECRET@127.0.0.1:{port}/a.tar.gz")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["http://", "s3://", "gs:///key", "http://[::1", "s3://bad bucket/k"]
)
def test_not_an_address(corpus, source):
    with pytest.raises(InputError, match=r"write SCHEME|can't be opened|not a URI"):
        corpus.ingest(source)


@pytest.mark.parametrize("prefix", ["a folder", "a folder/", "a folder/aclImdb", ""])
def test_folder_in_an_object_store(corpus, prefix, monkeypatch):
    """Obstore's store on a local disk plays the part of its store for S3."""
    files = corpus.files()
    folder = corpus.folder(files, "bucket/a folder/aclImdb")
    local = corpus.ingest(folder)
    store = LocalStore(corpus.path / "bucket")
    monkeypatch.setattr(fetch, "open_store", lambda _: store)
    remote = corpus.ingest(f"s3://bucket/{prefix}")
    assert remote["fingerprint"] == local["fingerprint"]
    assert remote["source"] == f"s3://bucket/{prefix}"
    with pytest.raises(InputError, match="there is nothing"):
        corpus.ingest("s3://bucket/nothing")
    monkeypatch.setattr(fetch, "MAX_REVIEW_BYTES", 10)
    with pytest.raises(InputError, match="more than"):
        corpus.ingest(f"s3://bucket/{prefix}")
