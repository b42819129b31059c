"""Where the cluster is and how to sign in to it."""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from components.shared.errors import InputError

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_COOKIE = re.compile(r"[\x21-\x3c\x3e-\x7e]+=[\x20-\x7e]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterOptions:
    """Where Kubeflow Pipelines answers, and what it asks for; what may be secret isn't shown."""

    host: str
    """The URL under which `/apis/v2beta1` is, without a slash at its end."""

    namespace: str | None = None
    """The namespace of a user's runs; None where KFP has but one user."""

    token: str | None = field(default=None, repr=False)
    """A bearer token."""

    token_file: Path | None = None
    """Holds a bearer token, and is read anew for each request; `token` goes before it."""

    cookie: str | None = field(default=None, repr=False)
    """The cookie of a signed-in browser, `NAME=VALUE`."""

    ca_file: Path | None = None
    """The certificates, as PEM, that the server's is held against; None for the usual ones."""

    ui_url: str | None = None
    """Where links lead to; None for `host`."""

    def __post_init__(self) -> None:
        """Checks all of it.

        Raises:
            InputError: a URL that is none, a token or cookie that can't be sent, no certificate.
        """
        _check_url("host", self.host)
        if self.ui_url is not None:
            _check_url("ui_url", self.ui_url)
        if self.token is not None and not _HEADER_VALUE.fullmatch(self.token):
            raise InputError("KFP_TOKEN: not a token; give it on one line and without blanks")
        if self.cookie is not None and not _COOKIE.fullmatch(self.cookie):
            raise InputError("the cookie: not NAME=VALUE; copy it from a signed-in browser")
        if self.ca_file is not None:
            _check_certificates(self.ca_file)
        self.bearer()

    @property
    def signed_in(self) -> bool:
        """Whether a token or a cookie goes with each request."""
        return any((self.token, self.token_file, self.cookie))

    @property
    def shared_ui_url(self) -> str:
        """Where a link leads to that others get; empty where this machine alone gets there."""
        host = urlsplit(self.host).hostname or ""
        forwarded = host in ("localhost", "::1") or host.startswith("127.")
        return self.ui_url or ("" if forwarded else self.host)

    def bearer(self) -> str | None:
        """The token of this moment, None without one.

        Raises:
            InputError: the file can't be read, or holds no token.
        """
        if self.token or self.token_file is None:
            return self.token
        try:
            text = self.token_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise InputError(
                f"token_file {self.token_file}: cannot be read ({error.strerror})"
            ) from error
        except UnicodeDecodeError:
            text = ""
        if not _HEADER_VALUE.fullmatch(text):
            raise InputError(
                f"token_file {self.token_file}: holds no token; it has to hold one and nothing else"
            )
        return text

    def hidden(self, text: str) -> str:
        """The text without the token and the cookie."""
        for secret in (self.bearer(), self.cookie, (self.cookie or "").partition("=")[2]):
            text = text.replace(secret, "***") if secret else text
        return text

    def run_link(self, run_id: str, multi_user: bool) -> str:
        """The page of a run."""
        return self._link(f"/runs/details/{run_id}", multi_user)

    def recurring_run_link(self, recurring_run_id: str, multi_user: bool) -> str:
        """The page of a recurring run."""
        return self._link(f"/recurringrun/details/{recurring_run_id}", multi_user)

    def _link(self, page: str, multi_user: bool) -> str:
        base = (self.ui_url or self.host).rstrip("/")
        if not multi_user or self.namespace is None:
            return f"{base}/#{page}"
        # Kubeflow's dashboard, which chooses the namespace, has the pages of KFP under another path
        # than KFP itself.
        base = re.sub(r"(?<!/_)/pipeline$", "/_/pipeline", base)
        return f"{base}/?ns={self.namespace}#{page}"


def _check_url(name: str, text: str) -> None:
    # A URL that isn't one may still hold a password.
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"{name}: not a URL; give it as https://HOST[:PORT][/PATH]") from error
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"{name}: holds a user or password, which KFP doesn't take; leave it out, and sign in "
            "with a token or a cookie"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", text):
        raise InputError(f"{name} {text!r}: not a URL; give it as https://HOST[:PORT][/PATH]")
    if parts.query or parts.fragment:
        raise InputError(
            f"{name} {parts.scheme}://{parts.netloc}{parts.path}: leave out what follows the path, "
            "the query and the part after '#'"
        )


def _check_certificates(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise InputError(f"ca_file {path}: holds no certificate; give a file in PEM") from error
    except OSError as error:
        raise InputError(f"ca_file {path}: cannot be read ({error.strerror})") from error
