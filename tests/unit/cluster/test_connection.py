"""The way to KFP: who is asked, who asks, and what is said when it fails."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import Failure, InputError
from pipeline.cluster.connection import connect
from pipeline.cluster.errors import server_reason
from pipeline.cluster.options import ClusterOptions
from pipeline.commands.cluster import chosen_cluster

TOKEN = "t0ken.of-a.user"
COOKIE = "authservice_session=c00kie"


def test_the_host_comes_from_the_environment_and_the_option_goes_before_it(
    submit: Any, kfp_server: Any, start_kfp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start_kfp()
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", other.url)
    assert submit(host=None).status == 0 and len(other.runs) == 1
    monkeypatch.setenv("KFP_HOST", kfp_server.url)
    assert submit(host=None).status == 0 and len(kfp_server.runs) == 1
    assert submit(host=f"{other.url}/").status == 0 and len(other.runs) == 2


def test_a_host_is_needed(submit: Any) -> None:
    status, _, err = submit(host=None)
    assert status == 2 and "give the URL of KFP with --host or KFP_HOST" in err


def test_the_rest_comes_from_the_environment_too(
    submit: Any, kfp_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_server.multi_user = True
    for name, value in {
        "KFP_NAMESPACE": "team-b",
        "KFP_UI_URL": "https://ui.example",
        "KFP_EXPERIMENT": "from the environment",
        "KFP_SERVICE_ACCOUNT": "trainer",
        "KFP_PIPELINE_ROOT": "gs://bucket/root",
    }.items():
        monkeypatch.setenv(name, value)
    assert "https://ui.example/?ns=team-b#/runs/" in submit().out
    (run,) = kfp_server.runs.values()
    assert (run.service_account, run.runtime_config.pipeline_root) == (
        "trainer",
        "gs://bucket/root",
    )
    (experiment,) = kfp_server.experiments.values()
    assert (experiment.display_name, experiment.namespace) == ("from the environment", "team-b")
    submit("--namespace", "team-a", "--experiment", "given")
    assert [e.namespace for e in kfp_server.experiments.values()] == ["team-b", "team-a"]


@pytest.mark.parametrize("way", ["KFP_TOKEN", "KFP_TOKEN_FILE", "--token-file", "mounted"])
def test_a_token_signs_in(
    submit: Any, kfp_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    kfp_server.token = TOKEN
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    if way.startswith("KFP"):
        monkeypatch.setenv(way, TOKEN if way == "KFP_TOKEN" else str(file))
    if way == "mounted":
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    assert submit(*(["--token-file", str(file)] if way[0] == "-" else [])).status == 0
    # Every request, the upload too.
    sent = [headers.get("authorization") for _, _, headers in kfp_server.requests]
    assert set(sent) == {f"Bearer {TOKEN}"} and len(sent) > 5


@pytest.mark.parametrize("way", ["KFP_COOKIE", "KFP_COOKIE_FILE", "--cookie-file"])
def test_a_cookie_signs_in(
    submit: Any, kfp_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    kfp_server.cookie, kfp_server.sign_in = COOKIE, "redirect"
    file = tmp_path / "cookie"
    file.write_text(f"{COOKIE}\n")
    if way.startswith("KFP"):
        monkeypatch.setenv(way, COOKIE if way == "KFP_COOKIE" else str(file))
    assert submit(*(["--cookie-file", str(file)] if way[0] == "-" else [])).status == 0


def test_which_of_several_secrets_signs_in(tmp_path: Path) -> None:
    for name in ("option", "variable", "mounted"):
        (tmp_path / name).write_text(name)
    given: dict[str, str | None] = dict.fromkeys(
        ["host", "namespace", "token_file", "cookie_file", "ca_file", "ui_url"]
    )
    given["host"] = "http://localhost"
    mounted = {"KF_PIPELINES_SA_TOKEN_PATH": str(tmp_path / "mounted")}
    file = {**mounted, "KFP_TOKEN_FILE": str(tmp_path / "variable")}
    token = {**file, "KFP_TOKEN": "value"}
    option = {**given, "token_file": str(tmp_path / "option")}
    assert chosen_cluster(option, token).bearer() == "option"
    assert chosen_cluster(given, token).bearer() == "value"
    assert chosen_cluster(given, file).bearer() == "variable"
    assert chosen_cluster(given, mounted).bearer() == "mounted"
    assert chosen_cluster(given, {**mounted, "KFP_COOKIE": COOKIE}).bearer() is None
    assert chosen_cluster(given, {}).signed_in is False


def test_a_token_file_is_read_for_each_request(kfp_server: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for token in ("first", "second"):
        kfp_server.token = token
        file.write_text(token)
        options = ClusterOptions(host=kfp_server.url, token_file=file)
        assert connect(options).multi_user is False
    connection = connect(options)
    kfp_server.token = "third"
    file.write_text("third")
    assert connection.runs.run_service_list_runs().runs is None


@pytest.mark.parametrize(
    ("behaviour", "status", "words"),
    [
        ({"token": "x"}, 2, "asks to sign in (401); give a token (KFP_TOKEN, or --token-file)"),
        ({"token": "x", "sign_in": "redirect"}, 2, "leads to a sign-in page; give a token"),
        ({"token": "x", "sign_in": "page"}, 2, "a sign-in page, or no KFP; if it asks"),
        ({"forbidden": True}, 2, "not allowed there (403)"),
        ({"html": True}, 2, "not as KFP's API does"),
        ({"v1_only": True}, 2, "speaks v1beta1 alone, the API of KFP 1; KFP 2 is needed"),
        ({"failures": 1}, 1, "the server fails (503); try again later"),
    ],
)
def test_what_the_server_says_is_one_line(
    submit: Any, kfp_server: Any, behaviour: dict[str, Any], status: int, words: str
) -> None:
    for name, value in behaviour.items():
        setattr(kfp_server, name, value)
    called = submit()
    assert (called.status, called.out) == (status, "")
    assert called.err.startswith(f"Error: {kfp_server.url}: ") and called.err.count("\n") == 1
    assert words in called.err and "s3cret" not in called.err


def test_a_token_that_is_not_taken_is_said_to_have_expired_and_not_shown(
    submit: Any, kfp_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_server.token = "another"
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    status, _, err = submit()
    assert status == 2 and "may have expired" in err and TOKEN not in err


def test_a_server_that_repeats_a_secret_is_not_quoted() -> None:
    options = ClusterOptions(host="http://localhost", token=TOKEN, cookie=COOKIE)
    said = options.hidden(f"User identity is empty in [authorization:[Bearer {TOKEN}] c00kie]")
    assert said == "User identity is empty in [authorization:[Bearer ***] ***]"
    assert TOKEN not in repr(options) and "c00kie" not in repr(options)


def test_who_cannot_be_reached(submit: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, _, err = submit(host=f"http://127.0.0.1:{port}")
    assert status == 1 and "cannot be reached (Connection refused)" in err
    status, _, err = submit(host="http://kfp.invalid")
    assert status == 1 and "the name kfp.invalid isn't known" in err


def test_a_connection_that_breaks_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Failure, match="broke off the connection"):
            connect(ClusterOptions(host=f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()


def test_a_certificate_is_held_against_those_of_the_ca_file(
    submit: Any, start_kfp: Callable[..., Any], certificate: tuple[Path, Path]
) -> None:
    server = start_kfp(certificate)
    status, _, err = submit(host=server.url)
    assert status == 2 and "isn't trusted (self-signed certificate)" in err
    assert "--ca-file or KFP_CA_FILE" in err and err.count("\n") == 1
    assert submit("--ca-file", str(certificate[0]), host=server.url).status == 0
    named = server.url.replace("127.0.0.1", "localhost")
    status, _, err = submit("--ca-file", str(certificate[0]), host=named)
    assert status == 2 and "its certificate isn't right (" in err


def test_the_other_scheme_is_advised(
    kfp_server: Any, start_kfp: Callable[..., Any], certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(InputError, match="doesn't speak TLS there; try http://"):
        connect(ClusterOptions(host=kfp_server.url.replace("http", "https")))
    with pytest.raises(Failure, match="check that it speaks http"):
        connect(ClusterOptions(host=start_kfp(certificate).url.replace("https", "http")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "localhost:8888"}, "host 'localhost:8888': not a URL"),
        ({"host": "ftp://h"}, "not a URL"),
        ({"host": "http://"}, "not a URL"),
        ({"host": "http://h:99999"}, "host: not a URL"),
        ({"host": "http://[::1"}, "host: not a URL"),
        ({"host": "http://user:p4ss@h"}, "holds a user or password"),
        ({"host": "http://h/pipeline/#/runs"}, "host http://h/pipeline/: leave out"),
        ({"ui_url": "ui"}, "ui_url 'ui': not a URL"),
        ({"token": "p4ss\nword"}, "KFP_TOKEN: not a token"),
        ({"cookie": "p4ss"}, "the cookie: not NAME=VALUE"),
        ({"token_file": Path("nowhere")}, "token_file nowhere: cannot be read (No such file"),
        ({"token_file": Path("/dev/null")}, "token_file /dev/null: holds no token"),
        ({"ca_file": Path("nowhere")}, "ca_file nowhere: cannot be read (No such file"),
        ({"ca_file": Path(__file__)}, "holds no certificate"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as raised:
        ClusterOptions(**{"host": "http://h", **options})
    assert words in str(raised.value) and "p4ss" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"code":5,"message":"Run X not found","details":[]}', "Run X not found"),
        ('{"error":"old","code":5}', "old"),
        ('{"error_message":"why","error_details":"why\\nstack"}', "why"),
        ('{"message":"Internal error: x\\nmain.go:12"}', "Internal error: x"),
        ('{"message":"a\\u001b[31mb"}', "a [31mb"),
        ("<html>", None),
        ("[]", None),
        ("", None),
        (None, None),
    ],
)
def test_the_reason_of_a_server_is_read_in_all_its_forms(
    body: str | None, reason: str | None
) -> None:
    assert server_reason(body) == reason
    assert len(server_reason('{"message":"' + "x" * 9999 + '"}') or "") == 600
