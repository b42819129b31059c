"""URIs: told from paths, and shown without the secrets in them."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.shared.errors import InputError

WEB_SCHEMES = ("http", "https")

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_HIDDEN = "***"


def scheme_of(location: str) -> str | None:
    """The scheme of a URI in lower case, None for a path or a word."""
    match = _URI.match(location)
    return match[1].lower() if match else None


def redacted(location: str) -> str:
    """A URI without user, password, query and fragment, which may be secrets.

    A password with an unescaped `/`, `?` or `#` ends the host's part of a URI too early. Where an
    `@` after that may belong to a password, all that precedes it is replaced by `***`, and all but
    the scheme where it may belong to a query instead. A path, a word and the URI of a local file
    are returned as they are.
    """
    match = _URI.match(location)
    if match is None or location[:8].lower() == "file:///":
        return location
    scheme, rest = match.groups()
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    has_user = host != authority or (":" in authority and not authority.startswith("["))
    before, at, after = rest[len(authority) :].rpartition("@")
    if has_user and at:
        shown = _HIDDEN if re.search("[?#]", before) else f"{_HIDDEN}@{after}"
    elif not _has_port(host):
        shown = _HIDDEN
    else:
        shown = host + rest[len(authority) :]
    return f"{scheme}://{re.split('[?#]', shown, maxsplit=1)[0]}"


def require_uri(name: str, uri: str) -> None:
    """Checks the syntax of a URI.

    Args:
        name: of the option or the like that it is the value of.
        uri: which has a scheme.

    Raises:
        InputError: it can't be taken apart. The message holds no secret.
    """
    try:
        parts = urlsplit(uri)
        usable = parts.port != 0
    except ValueError:
        # The error's own text quotes what may be the password.
        usable = False
    if not usable:
        raise InputError(
            f"{name} {redacted(uri)}: not a URI; give SCHEME://HOST/PATH, with each / ? # @ and % "
            "of a user or password percent-encoded, as in %2F"
        )


def local_path(location: str) -> Path | None:
    """The path of a location on this machine, None for a location elsewhere.

    A file URI has neither query nor fragment.

    Raises:
        InputError: a file URI of another machine.
    """
    scheme = scheme_of(location)
    if scheme is None:
        return Path(location)
    if scheme != "file":
        return None
    host, _, path = location.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise InputError(f"{redacted(location)}: is on another machine; write file:///PATH")
    return Path("/", unquote(path))


def _has_port(host: str) -> bool:
    """Whether what follows the host's colon, if any does, is a port."""
    _, colon, port = re.sub(r"^\[[^]]*\]?", "", host).rpartition(":")
    return not colon or re.fullmatch("[0-9]*", port) is not None
