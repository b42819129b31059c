"""URIs told from paths, and what is shown of them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import InputError
from components.shared.uris import local_path, redacted, require_uri, scheme_of

_HOSTS = ("host", "host:8080", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443")


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("bundled", "bundled"),
        ("/a/path?b", "/a/path?b"),
        ("a@b:c#d", "a@b:c#d"),
        ("file:///a?b#c@d", "file:///a?b#c@d"),
        ("s3://bucket/key@2", "s3://bucket/key@2"),
        ("https://host/@scope/a@1.tar.gz", "https://host/@scope/a@1.tar.gz"),
        ("http://[::1]:8000/a@1.tar.gz", "http://[::1]:8000/a@1.tar.gz"),
        ("https://user:pass@host:8/a.tar.gz?sig=x#y", "https://host:8/a.tar.gz"),
        ("HTTPS://user@host/a", "HTTPS://host/a"),
        ("https://token@[::1]:8/a", "https://[::1]:8/a"),
        ("https://u:p@h", "https://h"),
        ("https://h/x?X-Amz-Signature=s&X-Amz-Credential=a@b", "https://h/x"),
        ("https://h#sig=s", "https://h"),
        ("https://u:p/w@h/x", "https://***@h/x"),
        ("https://u:1/w@h/x", "https://***@h/x"),
        ("https://u:p@w/x@h/y", "https://***@h/y"),
        ("https://u:p@w@h/y", "https://h/y"),
        ("https://u:p/w@[::1]/x", "https://***@[::1]/x"),
        ("https://u:p?w@h/x", "https://***"),
        ("https://u:p#w@h/x", "https://***"),
        ("https://u:p#w@h/x?sig=s", "https://***"),
        ("https://u:p@h/x?sig=a@b", "https://***"),
        ("https://u:p%2Fw@h/x", "https://h/x"),
        ("https://u:p%zz@h/x", "https://h/x"),
        ("https://user:pass/x", "https://***"),
        ("https://u:p\\w\n@h/x", "https://h/x"),
    ],
)
def test_what_is_shown_of_a_location_holds_no_secret(location: str, shown: str) -> None:
    assert redacted(location) == shown


@given(
    st.sampled_from(["http", "https", "s3", "ftp"]),
    st.text("ab/@#?%:[]\\ \n\u00e9", max_size=8),
    st.sampled_from(_HOSTS),
    st.sampled_from(["", "?X-Amz-Signature=hidden", "?sig=hid@den", "#hidden"]),
)
def test_no_part_of_a_password_is_shown(scheme: str, part: str, host: str, query: str) -> None:
    shown = redacted(f"{scheme}://name:s3cr{part}3t@{host}/place{query}")
    assert not any(secret in shown for secret in ("name", "s3cr", "3t", "hid", "den"))
    assert shown in (f"{scheme}://{host}/place", f"{scheme}://***@{host}/place", f"{scheme}://***")


@pytest.mark.parametrize(
    "uri",
    ["http://u:s3/cr@h/", "http://u:s3cr@[h/", "http://u:s3cr@h\u2100/", "http://u:s3cr@h:0/"],
)
def test_a_malformed_uri_is_refused_without_its_secrets(uri: str) -> None:
    with pytest.raises(InputError, match=r"source http://.*not a URI.*%2F") as caught:
        require_uri("source", uri)
    assert "s3" not in str(caught.value)


def test_paths_and_words_have_no_scheme() -> None:
    words = ("bundled", "/a/b", "a:/b", "/a://b", "")
    assert [scheme_of(word) for word in words] == [None] * len(words)
    assert (scheme_of("S3://b"), scheme_of("FILE:///b")) == ("s3", "file")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("serving", "serving"),
        ("/a/b://c", "/a/b:/c"),
        ("file:///a%20b/c", "/a b/c"),
        ("file://localhost/a", "/a"),
        ("file:///a?b#c%23", "/a?b#c#"),
        ("gs://bucket/a", None),
    ],
)
def test_local_locations(location: str, path: str | None) -> None:
    assert local_path(location) == (Path(path) if path else None)


def test_a_file_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match=r"file://\*\*\*: is on another machine|another machine"):
        local_path("file://u:p@host/a")
