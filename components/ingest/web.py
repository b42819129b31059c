"""Downloads over HTTP, with any framing of the body, resumption, and errors in plain words."""

import http.client
import ssl
import urllib.request
from base64 import b64encode
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)

from components.ingest.chunks import write_chunks
from components.shared.errors import InputError
from components.shared.retries import retried, task_pauses
from components.shared.stores import CA_VARIABLE, certificates
from components.shared.uris import redacted, require_uri

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts, before those of `task_pauses`."""

_CHUNK = 1 << 20
_CONNECT_SECONDS = 30
_READ_SECONDS = 120
_MAX_REDIRECTS = 10
_MISSING = (404, 410)
_REFUSED = (401, 403, 407)
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
# Content codings that weren't asked for; gzip and deflate are undone where the archive is read.
_UNREADABLE = {"br", "compress", "zstd"}


class _Passing(Exception):
    """Something is wrong that may pass; the message says what."""

    def __init__(self, words: str, verb: Literal["reached", "fetched"] = "fetched") -> None:
        """`verb` is what can't be done."""
        super().__init__(words)
        self.verb = verb


def download(uri: str, path: Path) -> None:
    """Writes the body at a web address to a file, as it arrives: no content coding is undone.

    A connection that fails and a server that is overloaded are tried again, from where the last
    attempt ended where a strong ETag shows that the content is still the same.

    Args:
        uri: http or https. Its user and password are sent as Basic authentication, and not to
            another host that this one redirects to.
        path: the file to make.

    Raises:
        InputError: there is no such address, the server refuses, or the body ends too early, as far
            as a Content-Length or the last chunk shows it.
    """
    require_uri("source", uri)
    with path.open("wb") as file:
        body = _Body(uri, file)
        try:
            retried(body.receive, _transient, redacted(uri), chain(PAUSES, task_pauses()))
        except _Passing as error:
            advice = "check the address and the network"
            raise _failed(uri, error.verb, str(error), advice) from error


def _transient(error: Exception) -> str | None:
    return str(error) if isinstance(error, _Passing) else None


class _Body:
    """The body at a web address, on its way to a file."""

    def __init__(self, uri: str, file: BinaryIO) -> None:
        """Connects to nothing yet; raises InputError where `uri` names no host."""
        parts = urlsplit(uri)
        if not parts.hostname:
            raise InputError(f"{redacted(uri)}: names no host or bucket; write SCHEME://HOST/PATH")
        self._uri = uri
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        self._file = file
        self._etag = ""
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "imdb-pipeline"}
        if parts.username is not None:
            self._headers["Authorization"] = _basic(parts)
        self._pool = _pool(parts)

    def receive(self) -> None:
        """Receives the body, or the rest of it.

        Raises:
            _Passing: it may arrive at another attempt.
            InputError: it won't.
        """
        try:
            response = self._request()
        except HTTPError as error:
            raise _plain(self._uri, error) from error
        with response:
            self._check(response)
            if response.status != http.client.PARTIAL_CONTENT:
                self._file.seek(0)
                self._file.truncate()
            self._etag = response.headers.get("ETag", "")
            chunks = response.stream(_CHUNK, decode_content=False)
            try:
                write_chunks(chunks, self._file)
            except HTTPError as error:
                raise _Passing(f"the connection broke after {self._file.tell():,} bytes") from error

    def _request(self) -> urllib3.BaseHTTPResponse:
        headers = dict(self._headers)
        # A weak ETag stays the same where bytes change.
        if self._etag and not self._etag.startswith("W/"):
            headers |= {"Range": f"bytes={self._file.tell()}-", "If-Range": self._etag}
        return self._pool.request(
            "GET",
            self._url,
            headers=headers,
            preload_content=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=urllib3.Retry(
                connect=0,
                read=0,
                status=0,
                other=0,
                redirect=_MAX_REDIRECTS,
                respect_retry_after_header=False,
            ),
        )

    def _check(self, response: urllib3.BaseHTTPResponse) -> None:
        """Raises _Passing or InputError unless the body of a response is what was asked for."""
        status = response.status
        words = f"the server answers {status} {http.client.responses.get(status, '')}".strip()
        place = response.headers.get("Content-Range", "")
        if status == http.client.PARTIAL_CONTENT:
            if not place.startswith(f"bytes {self._file.tell()}-"):
                self._etag = ""
                raise _Passing("the server sends another part than it was asked for")
        elif status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._etag = ""
            raise _Passing(words)
        elif status in _TEMPORARY:
            raise _Passing(words)
        elif status in _MISSING:
            raise _unusable(self._uri, f"there is nothing, {words}", "check the address")
        elif status in _REFUSED:
            raise _unusable(self._uri, f"access refused, {words}", "check the credentials")
        elif not 200 <= status < 300:
            raise _unusable(self._uri, words, "check the address")
        coding = response.headers.get("Content-Encoding", "").lower()
        if coding in _UNREADABLE:
            raise _unusable(
                self._uri, f"the server encodes it as {coding}", "have the server send it as it is"
            )


def _pool(parts: SplitResult) -> urllib3.PoolManager:
    """Connections by the proxy, and with the certificates, that the environment names."""
    context = ssl.create_default_context()
    if (bundle := certificates()) is not None:
        try:
            context.load_verify_locations(cadata=bundle.decode("ascii", "ignore"))
        except ssl.SSLError as error:
            raise InputError(f"{CA_VARIABLE}: holds a damaged certificate; correct it") from error
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return urllib3.PoolManager(ssl_context=context)
    try:
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        headers = {"Proxy-Authorization": _basic(address)} if address.username else None
        url = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(url, proxy_headers=headers, ssl_context=context)
    except (ValueError, HTTPError) as error:
        raise InputError(f"{parts.scheme}_proxy: not an address; write http://HOST:PORT") from error


def _basic(parts: SplitResult) -> str:
    """The header for the user and password that stand, percent-encoded, in a URL."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def _plain(uri: str, error: HTTPError) -> Exception:
    """What it says, in plain words, where no response came; without what may be a secret."""
    host = urlsplit(uri).hostname
    reason: BaseException | None = error
    proxy = ""
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    if isinstance(reason, ProxyError):
        proxy, reason = "the proxy, ", reason.original_error
    if isinstance(reason, SSLError):
        return _tls(uri, reason)
    if isinstance(reason, NameResolutionError):
        return _Passing(f"{proxy or host}: no host of this name is known", "reached")
    if isinstance(reason, LocationValueError):
        return _unusable(uri, "it, or where it redirects to, is no web address", "correct it")
    if isinstance(reason, ResponseError):
        return _unusable(uri, f"more than {_MAX_REDIRECTS} redirects", "check the address")
    if isinstance(reason, ReadTimeoutError):
        return _Passing(f"{proxy}no answer within {_READ_SECONDS} s")
    if isinstance(reason, NewConnectionError):
        cause = reason.__cause__
        text = cause.strerror if isinstance(cause, OSError) and cause.strerror else "no connection"
        return _Passing(f"{proxy}{text.lower()}", "reached")
    if isinstance(reason, ConnectTimeoutError):  # a base class of NewConnectionError
        return _Passing(f"{proxy}no connection within {_CONNECT_SECONDS} s", "reached")
    return _Passing(f"{proxy}the connection broke before an answer")


def _tls(uri: str, error: SSLError) -> InputError:
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _unreachable(
            uri,
            f"the server's TLS certificate isn't trusted, {cause.verify_message}",
            f"give its CA by {CA_VARIABLE} or SSL_CERT_FILE",
        )
    words = cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else "no handshake"
    return _unreachable(
        uri, f"TLS fails, {words.replace('_', ' ').lower()}", "check that the server speaks TLS"
    )


def _unreachable(uri: str, reason: str, advice: str = "") -> InputError:
    return _failed(uri, "reached", reason, advice or "check the address and the network")


def _unusable(uri: str, reason: str, advice: str) -> InputError:
    return _failed(uri, "fetched", reason, advice)


def _failed(uri: str, verb: str, reason: str, advice: str) -> InputError:
    return InputError(
        f"{redacted(uri)}: can't be {verb} ({reason}); {advice}, or use the source bundled or tfds"
    )
