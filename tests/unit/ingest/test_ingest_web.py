"""Every way in which an HTTP server may send an archive, from real servers on loopback."""

import gzip
import http.server
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.ingest import web
from components.shared.errors import InputError

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "PAUSES", (0.0, 0.0))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers each request in another way, the last one for good; its base URL."""
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            (left.pop(0) if len(left) > 1 else left[0])(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Nothing: clients that don't like the certificate break off."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def answer(status: int, body: bytes = b"", sent: int | None = None, **headers: str) -> Answer:
    """Sends the first `sent` bytes of a body, None for all; the headers are those given alone."""

    def send(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body[:sent])

    return send


def whole(body: bytes, **headers: str) -> Answer:
    return answer(200, body, None, Content_Length=str(len(body)), **headers)


def in_chunks(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    parts = [body[start : start + 700] for start in range(0, len(body), 700)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


@pytest.fixture
def archive(corpus) -> bytes:
    return corpus.archive(corpus.files()).read_bytes()


@pytest.fixture
def expected(corpus, archive) -> str:
    return corpus.ingest(corpus.path / "reviews.tar.gz")["fingerprint"]


def test_a_body_is_framed_in_any_way(corpus, archive, expected) -> None:
    for frame in (
        answer(200, archive),  # ends with the connection
        answer(200, in_chunks(archive), Transfer_Encoding="chunked"),
        answer(200, in_chunks(archive), Transfer_Encoding="chunked", Content_Encoding="gzip"),
        whole(archive),
    ):
        with serving(frame) as url:
            assert corpus.ingest(f"{url}/a")["fingerprint"] == expected


@pytest.mark.parametrize("coding", ["", "gzip", "x-gzip", "deflate", "identity"])
def test_the_bytes_decide_how_often_a_body_is_decoded(corpus, archive, expected, coding) -> None:
    """Servers call a .tar.gz encoded by gzip which is one, and which they packed once more."""
    tar = gzip.decompress(archive)
    headers = {"Content_Encoding": coding} if coding else {}
    for body in (archive, gzip.compress(archive), zlib.compress(archive), zlib.compress(tar), tar):
        with serving(whole(body, **headers)) as url:
            assert corpus.ingest(f"{url}/a.tar.gz")["fingerprint"] == expected


def test_a_coding_that_cannot_be_read_is_named(corpus) -> None:
    with (
        serving(whole(b"packed", Content_Encoding="br")) as url,
        pytest.raises(InputError, match=r"encodes it as br"),
    ):
        corpus.ingest(f"{url}/a.tar.gz")


@pytest.mark.parametrize("location", ["/b?sig=x", "http://localhost:{port}/b", "../b"])
def test_redirects_are_followed(corpus, archive, expected, location) -> None:
    def redirect(handler: http.server.BaseHTTPRequestHandler) -> None:
        port = handler.headers["Host"].rpartition(":")[2]
        answer(302, Location=location.format(port=port), Content_Length="0")(handler)

    with serving(redirect, whole(archive)) as url:
        assert corpus.ingest(f"{url}/a/a")["fingerprint"] == expected


def test_a_body_that_is_cut_off_goes_on_where_it_ended(corpus, archive, expected) -> None:
    asked = []

    def rest(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append((handler.headers["Range"], handler.headers["If-Range"]))
        place = f"bytes 900-{len(archive) - 1}/{len(archive)}"
        length = str(len(archive) - 900)
        answer(206, archive[900:], Content_Range=place, Content_Length=length)(handler)

    length = str(len(archive))
    with serving(answer(200, archive, 900, Content_Length=length, ETag='"1"'), rest) as url:
        assert corpus.ingest(f"{url}/a")["fingerprint"] == expected
    assert asked == [("bytes=900-", '"1"')]


@pytest.mark.parametrize("etag", [None, 'W/"1"', '"1"'])
def test_a_body_that_is_cut_off_begins_anew_where_the_server_sends_all(
    corpus, archive, expected, etag
) -> None:
    headers = {"ETag": etag} if etag else {}
    cut = answer(200, archive, 900, Content_Length=str(len(archive)), **headers)
    with serving(cut, answer(503), whole(archive, **headers)) as url:
        assert corpus.ingest(f"{url}/a")["fingerprint"] == expected


def test_another_part_than_the_rest_is_not_taken(corpus, archive, expected) -> None:
    cut = answer(200, archive, 900, Content_Length=str(len(archive)), ETag='"1"')
    wrong = answer(206, archive, Content_Range=f"bytes 0-9/{len(archive)}", Content_Length="10")
    with serving(cut, wrong, whole(archive)) as url:
        assert corpus.ingest(f"{url}/a")["fingerprint"] == expected


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"Content_Length": "{length}"}, "the connection broke after 900 bytes"),
        ({"Transfer_Encoding": "chunked"}, "the connection broke after"),
        ({}, "truncated or damaged"),  # which only the archive itself shows
    ],
)
def test_a_body_that_is_always_cut_off_is_an_error(corpus, archive, frame, words) -> None:
    headers = {name: value.format(length=len(archive)) for name, value in frame.items()}
    body = in_chunks(archive) if "Transfer_Encoding" in frame else archive
    with serving(answer(200, body, 900, **headers)) as url:
        with pytest.raises(InputError, match=words) as caught:
            corpus.ingest(f"{url}/a.tar.gz?sig=SECRET")
        assert f"{url}/a.tar.gz" in str(caught.value) and "SECRET" not in str(caught.value)
    assert list(corpus.output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "can't be fetched (there is nothing, the server answers 404 Not Found)"),
        (410, "can't be fetched (there is nothing, the server answers 410 Gone)"),
        (401, "can't be fetched (access refused, the server answers 401 Unauthorized)"),
        (403, "can't be fetched (access refused, the server answers 403 Forbidden)"),
        (400, "can't be fetched (the server answers 400 Bad Request)"),
        (304, "can't be fetched (the server answers 304 Not Modified)"),
        (429, "can't be fetched (the server answers 429 Too Many Requests)"),
        (503, "can't be fetched (the server answers 503 Service Unavailable)"),
        (599, "can't be fetched (the server answers 599)"),
    ],
)
def test_a_status_is_shown(corpus, status, words) -> None:
    with serving(answer(status, Content_Length="0", Retry_After="0")) as url:
        message = refused(corpus, f"{url}/a")
    assert words in message and "bundled or tfds" in message


def refused(corpus, uri: str) -> str:
    before = list(corpus.output.parent.iterdir())
    with pytest.raises(InputError) as caught:
        corpus.ingest(uri)
    assert list(corpus.output.parent.iterdir()) == before
    return str(caught.value)


def test_an_overloaded_server_is_asked_again(corpus, archive, expected) -> None:
    with serving(answer(503), answer(429, Content_Length="0"), whole(archive)) as url:
        assert corpus.ingest(f"{url}/a")["fingerprint"] == expected


def test_what_keeps_a_connection_from_being_made_is_told(corpus, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        silent = f"http://127.0.0.1:{port}/a"
        monkeypatch.setattr(web, "_READ_SECONDS", 0.01)
        assert "(no answer within 0.01 s)" in refused(corpus, silent)
    assert "can't be reached (connection refused)" in refused(corpus, silent)
    nowhere = refused(corpus, "http://no-such-host.invalid/a")
    assert "no-such-host.invalid: no host of this name is known" in nowhere
    monkeypatch.setenv("http_proxy", f"http://me:SECRET@127.0.0.1:{port}")
    behind = refused(corpus, "http://no-such-host.invalid/a")
    assert "(the proxy, connection refused)" in behind and "SECRET" not in behind


def test_redirects_without_end_and_elsewhere_are_refused(corpus) -> None:
    for location, words in (("/", "more than 10 redirects"), ("ftp://a/b", "no web address")):
        with serving(answer(302, Location=location, Content_Length="0", Connection="close")) as url:
            assert words in refused(corpus, f"{url}/a")


def test_a_server_that_is_none_of_http_is_refused(corpus) -> None:
    def mail(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"220 mail.example ESMTP\r\n")

    with serving(mail) as url:
        assert "the connection broke before an answer" in refused(corpus, f"{url}/a")


def test_tls_is_checked(
    corpus, archive, expected, certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(whole(archive), tls=context) as url:
        message = refused(corpus, f"{url}/a")
        assert "certificate isn't trusted, self" in message and "AWS_CA_BUNDLE" in message
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert corpus.ingest(f"{url}/a")["fingerprint"] == expected
        plain = refused(corpus, f"{url.replace('https', 'http')}/a")
        assert re.search("connection broke|400", plain)
    with serving(whole(archive)) as url:
        assert "TLS fails, wrong version number" in refused(
            corpus, f"{url.replace('http', 'https')}/a"
        )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a key and a certificate of 127.0.0.1 that is signed with it."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
