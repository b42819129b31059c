"""What goes wrong between here and KFP, each in one line."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import kfp_server_api
import urllib3

from components.shared.errors import Failure, InputError
from pipeline.cluster.options import ClusterOptions
from pipeline.console import printable

_SIGN_IN = (
    "a token (KFP_TOKEN, or --token-file) or a cookie of a signed-in browser (KFP_COOKIE, or "
    "--cookie-file)"
)
_LONGEST = 600
"""Characters of the server's own words that are shown."""


class NotAnApi(Exception):
    """The answer isn't one of KFP's API."""


@contextmanager
def api_errors(options: ClusterOptions) -> Iterator[None]:
    """Turns what a request may end with into one line.

    Raises:
        InputError: the host, what signs in to it, or what was asked for isn't right.
        Failure: nobody answers, or the server fails; later it may not.
    """
    try:
        yield
    except NotAnApi as error:
        raise InputError(_no_api(options)) from error
    except kfp_server_api.ApiException as error:
        raise translated(options, error) from error
    except urllib3.exceptions.HTTPError as error:
        raise _network_error(options, error) from error


def translated(options: ClusterOptions, error: Any) -> InputError | Failure:
    """An answer that isn't a success, as an error for the user.

    Args:
        options: where it comes from.
        error: a `kfp_server_api.ApiException`.
    """
    host, reason = options.host, server_reason(error.body)
    # KFP tells who isn't signed in what came with the request.
    reason = reason and options.hidden(reason)
    said = f": {reason}" if reason else ""
    if 300 <= error.status < 400:
        return _redirected(options, (error.headers or {}).get("location") or "")
    if error.status == 401:
        if options.signed_in:
            return InputError(
                f"{host}: doesn't take the token or cookie (401{said}), which may have expired; "
                f"give {_SIGN_IN}"
            )
        return InputError(f"{host}: asks to sign in (401{said}); give {_SIGN_IN}")
    if error.status == 403:
        where = f"in namespace {options.namespace}" if options.namespace else "there"
        return InputError(
            f"{host}: not allowed {where} (403{said}); check that the namespace exists and that "
            "your user or service account may create runs in it"
            + ("" if options.signed_in else f", and give {_SIGN_IN}")
        )
    if error.status == 404 and reason is None:
        return InputError(_no_api(options))
    # Servers of before 2.5 give a pipeline that they refuse the status of a failure of theirs.
    refused = re.search("invalid ?input", reason or "", re.IGNORECASE)
    if (error.status >= 500 and not refused) or error.status in (408, 429):
        return Failure(f"{host}: the server fails ({error.status}{said}); try again later")
    return InputError(f"{host}: refused ({error.status}{said})")


def server_reason(body: str | None) -> str | None:
    """The server's own words on one line, None where it isn't KFP that speaks."""
    try:
        answer = json.loads(body or "")
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    for key in ("message", "error_message", "error"):
        text = answer.get(key)
        if isinstance(text, str) and text.strip():
            # A stack may follow.
            line = printable(" ".join(text.strip().splitlines()[0].split()))
            return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return None


def old_api(options: ClusterOptions) -> InputError:
    """Says that KFP is too old."""
    return InputError(
        f"{options.host}: this KFP speaks v1beta1 alone, the API of KFP 1; KFP 2 is needed"
    )


def _no_api(options: ClusterOptions) -> str:
    return (
        f"{options.host}: answers, but not as KFP's API does: a sign-in page, or no KFP; if it "
        f"asks to sign in, give {_SIGN_IN}; if not, check the URL (Kubeflow has KFP under "
        "https://HOST/pipeline)"
    )


def _redirected(options: ClusterOptions, location: str) -> InputError:
    here, there = urlsplit(options.host), urlsplit(location)
    if here.scheme == "http" and there.scheme == "https" and here.hostname == there.hostname:
        return InputError(
            f"{options.host}: asks for https; give https://{there.netloc.rpartition('@')[2]}"
            f"{here.path}"
        )
    expired = "; what was given may have expired" if options.signed_in else ""
    return InputError(f"{options.host}: leads to a sign-in page; give {_SIGN_IN}{expired}")


def _network_error(options: ClusterOptions, error: Exception) -> InputError | Failure:
    host = options.host
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, urllib3.exceptions.SSLError):
        return InputError(f"{host}: {_tls(str(cause), options)}")
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        name = urlsplit(host).hostname
        return Failure(f"{host}: cannot be reached, the name {name} isn't known; check the host")
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        match = re.search(r"\[Errno -?\d+\] ([^)'>]+)", str(cause))
        why = match[1] if match else "no connection"
        return Failure(
            f"{host}: cannot be reached ({why}); check the host and port, and that a port-forward "
            "to it, if there is one, still runs"
        )
    if isinstance(cause, urllib3.exceptions.TimeoutError):
        return Failure(f"{host}: no answer in time; check the host, or try again later")
    if isinstance(cause, urllib3.exceptions.LocationParseError):
        return InputError(f"{host}: not a URL; give it as https://HOST[:PORT][/PATH]")
    return Failure(
        f"{host}: broke off the connection; check that it speaks {urlsplit(host).scheme}, or try "
        "again later"
    )


def _tls(text: str, options: ClusterOptions) -> str:
    """What is wrong with a connection that should be safe."""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        match = re.search(r"certificate verify failed: ([^(]+)", text)
        why = match[1].strip() if match else "not verified"
        if "expired" in why or "ostname mismatch" in why or "IP address mismatch" in why:
            return f"its certificate isn't right ({why}); check the host, or have it renewed"
        other = "another file" if options.ca_file else "the file of its CA's certificate"
        return f"its certificate isn't trusted ({why}); give {other} with --ca-file or KFP_CA_FILE"
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return "doesn't speak TLS there; try http:// in place of https://, or another port"
    return f"no TLS connection ({' '.join(text.split())[:200]})"
