"""Posting to a webhook: a real server on this machine, which answers as it is told."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from components.notify.webhook import ATTEMPTS, post

MESSAGE = {"state": "SUCCEEDED", "text": "größer"}
SECRET = "s3cr3t-token"


class Webhook(http.server.ThreadingHTTPServer):
    """Takes what is posted; answers with `statuses`, one after another, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.posted: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{SECRET}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Webhook)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.posted.append((self.path, self.headers["Content-Type"], body))
        status = server.statuses.pop(0) if server.statuses else 200
        self.send_response(status)
        if status in (301, 302):
            self.send_header("Location", f"{server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def waits() -> list[float]:
    return []


def test_the_message_arrives_as_json(webhook: Webhook, waits: list[float]) -> None:
    assert post(webhook.url, MESSAGE, wait=waits.append) == "SUCCEEDED, told to the webhook"
    ((path, kind, body),) = webhook.posted
    assert (path, kind) == (f"/{SECRET}", "application/json")
    assert json.loads(body) == MESSAGE
    assert waits == []


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(
    webhook: Webhook, waits: list[float], status: int
) -> None:
    webhook.statuses = [status] * 2
    assert post(webhook.url, MESSAGE, wait=waits.append).endswith("told to the webhook")
    assert len(webhook.posted) == 3
    assert waits == [2.0, 4.0]


def test_it_gives_up_and_says_so(
    webhook: Webhook, waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.statuses = [500] * 99
    said = post(webhook.url, MESSAGE, wait=waits.append)
    assert said == "SUCCEEDED, but the webhook wasn't told: it answered 500"
    assert len(webhook.posted) == ATTEMPTS == len(waits) + 1
    assert SECRET not in said + "".join(capsys.readouterr())


@pytest.mark.parametrize("status", [400, 401, 404, 301, 302])
def test_what_will_not_pass_is_not_tried_again(
    webhook: Webhook, waits: list[float], status: int
) -> None:
    webhook.statuses = [status] * 99
    assert f"it answered {status}" in post(webhook.url, MESSAGE, wait=waits.append)
    assert len(webhook.posted) == 1 and waits == []


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://127.0.0.1/{SECRET}",
        f"file:///etc/{SECRET}",
        SECRET,
        f"https:///{SECRET}",
        f"http://[{SECRET}/",
        f"http://127.0.0.1:port/{SECRET}",
        f"http://127.0.0.1:1/{SECRET} with a space",
        f"http://127.0.0.1:1/{SECRET}\n",
        f"http://127.0.0.1:1/{SECRET}ü",
        f"http://127.0.0.1:1/{SECRET}",
    ],
)
def test_a_url_that_leads_nowhere_is_never_shown(
    url: str, waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    said = post(url, MESSAGE, wait=waits.append)
    assert "the webhook wasn't told" in said
    assert SECRET not in said + "".join(capsys.readouterr())


def test_a_server_that_hangs_up_is_reported(waits: list[float]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up() -> None:
            for _ in range(ATTEMPTS):
                connection, _ = server.accept()
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        said = post(f"http://127.0.0.1:{port}/{SECRET}", MESSAGE, wait=waits.append)
        thread.join()
    assert "it doesn't answer" in said and SECRET not in said
