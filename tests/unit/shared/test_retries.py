"""Calls that are repeated while a service doesn't answer: a real HTTP server refuses some."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from components.ingest import fetch, web
from components.shared import retries
from components.shared.errors import InputError
from components.shared.registry.serving_dir import open_storage
from components.shared.registry.storage import StorageFailure
from components.shared.retries import SECONDS_VARIABLE, retried, task_pauses


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def failing(times: int) -> Callable[[], str]:
    """Fails so often, then doesn't."""
    left = [times]

    def call() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError("away")
        return "done"

    return call


def never(seconds: float) -> None:
    pytest.fail(f"waited for {seconds} s")


def is_connection(error: Exception) -> str | None:
    return "away" if isinstance(error, ConnectionError) else None


def test_pauses_grow_and_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setenv(SECONDS_VARIABLE, "300")

    def run(times: int) -> str:
        clock.now, clock.pauses = 0.0, []
        pauses = task_pauses(lambda: clock.now)
        return retried(failing(times), is_connection, "store", pauses, sleep=clock.sleep)

    assert run(4) == "done"
    assert clock.pauses == [5, 10, 20, 40]
    with pytest.raises(ConnectionError):
        run(100)
    assert sum(clock.pauses) == 300 and max(clock.pauses) == 60


def test_the_time_counts_from_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setenv(SECONDS_VARIABLE, "300")
    fail = failing(1)

    def long_download() -> str:
        clock.now += 2_000
        return fail()

    pauses = task_pauses(lambda: clock.now)
    assert retried(long_download, is_connection, "web", pauses, sleep=clock.sleep) == "done"


@pytest.mark.parametrize("seconds", [None, "0", ""])
def test_without_time_nothing_is_repeated(
    monkeypatch: pytest.MonkeyPatch, seconds: str | None
) -> None:
    monkeypatch.delenv(SECONDS_VARIABLE, raising=False)
    if seconds is not None:
        monkeypatch.setenv(SECONDS_VARIABLE, seconds)
    with pytest.raises(ConnectionError):
        retried(failing(1), is_connection, "store", sleep=never)


@pytest.mark.parametrize("seconds", ["soon", "-1", "1.5"])
def test_a_time_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, seconds)
    with pytest.raises(InputError, match=f"TASK_RETRY_SECONDS={seconds}: not a number"):
        retried(failing(0), is_connection, "store", sleep=never)


def test_what_will_not_pass_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "300")

    def mistaken() -> None:
        raise InputError("yours")

    with pytest.raises(InputError):
        retried(mistaken, is_connection, "store", sleep=never)


class Store:
    """An S3 server of one object, which answers as it is told."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.requests = 0
        self.url = ""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    state = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            status = state.answers.pop(0) if state.answers else 200
            body = {200: b"content", 403: b"<Code>AccessDenied</Code>"}.get(status, b"")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.01)
    # Of obstore's own attempts, of which each counts, none.
    monkeypatch.setattr("components.shared.stores._RETRY", {"max_retries": 0})
    yield state
    server.shutdown()
    server.server_close()


def test_a_store_that_answers_again_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "600")
    store.answers = [503, 500, 429]
    storage = open_storage("s3://bucket/models")
    assert storage.read("log/00000001.json") == b"content"
    assert store.requests == 4


def test_a_store_that_refuses_is_not_asked_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "600")
    store.answers = [403, 403]
    with pytest.raises(InputError, match="access denied"):
        open_storage("s3://bucket/models").read("log/00000001.json")
    assert store.requests == 1


def test_a_user_at_a_terminal_does_not_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECONDS_VARIABLE, raising=False)
    store.answers = [503] * 9
    with pytest.raises(StorageFailure):
        open_storage("s3://bucket/models").read("log/00000001.json")
    assert store.requests == 1


def test_a_source_in_a_store_that_answers_again_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "600")
    store.answers = [503, 503]
    assert fetch.download("s3://bucket/reviews.tar.gz", tmp_path / "archive")
    assert (tmp_path / "archive").read_bytes() == b"content"
    assert store.requests == 3


def test_a_web_address_that_answers_again_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "600")
    monkeypatch.setattr(web, "PAUSES", ())
    store.answers = [503, 503]
    web.download(f"{store.url}/reviews.tar.gz", tmp_path / "archive")
    assert (tmp_path / "archive").read_bytes() == b"content"
    store.answers, store.requests = [404], 0
    with pytest.raises(InputError, match="there is nothing"):
        web.download(f"{store.url}/reviews.tar.gz", tmp_path / "archive")
    assert store.requests == 1
