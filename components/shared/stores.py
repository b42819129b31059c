"""Opens object stores through obstore, and says in plain words why one can't be used.

Credentials, endpoint and region are those that obstore finds in the environment, in the files
that it names, or by the identity of the machine or the pod.
"""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from components.shared.errors import InputError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CA_VARIABLE = "AWS_CA_BUNDLE"
_ENDPOINT_VARIABLES = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"),
    *("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL"),
)
# An endpoint that refuses is given up after seconds, not after obstore's minutes.
_RETRY: "RetryConfig" = {"max_retries": 5, "retry_timeout": timedelta(minutes=1)}
_METADATA_SERVERS = ("//169.254.", "//metadata.google.internal")
# What object_store's debugging text has of an error that may be gone in a while, and what it has of
# one of these kinds that stays.
_TRANSIENT = re.compile(
    r"status code: (?:408|429|500|502|503|504)\b|kind: (?:Connect|Request|Timeout|Interrupted)\b"
)
_PERMANENT = re.compile(
    "InvalidCertificate|InvalidContentType|InvalidMessage|CorruptMessage|HTTP request to an HTTPS"
)
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3, GOOGLE_APPLICATION_CREDENTIALS for "
    "GCS, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY for Azure, or give the machine "
    "or the pod an identity"
)
# What servers say in the code of their answer, and what libraries say in their debugging text.
_CODES = {
    "NoSuchBucket": "there is no such bucket; make it, or correct the URL",
    "ContainerNotFound": "there is no such container; make it, or correct the URL",
    "InvalidAccessKeyId": f"the server doesn't know this access key; {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is wrong; {_CREDENTIALS}",
    "ExpiredToken": f"the credentials have expired; {_CREDENTIALS}",
    "AccessDenied": "access denied; give credentials that may read, write, list and delete there",
    "EntityTooLarge": "the server takes no object as large",
}
_CAUSES = {
    r"Account must be specified": "no account; set AZURE_STORAGE_ACCOUNT_NAME",
    r"InvalidCertificate\(\s*(\w+)": "the server's TLS certificate isn't trusted ({0}); give its "
    f"CA by {CA_VARIABLE} or SSL_CERT_FILE",
    r"InvalidContentType|InvalidMessage|CorruptMessage": "the server doesn't speak TLS; write "
    "http:// for the endpoint",
    r"HTTP request to an HTTPS server": "the server speaks TLS; write https:// for the endpoint",
    r"dns error": "no host of the endpoint's name is known; correct it",
    r"ConnectionRefused|Connection refused": "nothing answers at the endpoint; check its address "
    "and the network",
    r"TimedOut|[Tt]imed? ?out": "the endpoint doesn't answer in time; check its address and the "
    "network",
}


def open_store(url: str) -> ObjectStore:
    """Opens the store of a URL; it calls nowhere yet.

    An endpoint that is given as http:// is called so. A CA of one's own is that of AWS_CA_BUNDLE,
    beside those that the system and SSL_CERT_FILE name.

    Raises:
        InputError: the environment names an endpoint or a CA that can't be used, or the URL holds
            a password.
        BaseError, ValueError: the URL can't be used.
    """
    parts = urlsplit(url)
    if parts.password is not None:
        raise InputError(
            f"{parts.scheme}://: a URL with a password, which logs would show; give the "
            "credentials in the environment"
        )
    for name in _ENDPOINT_VARIABLES:
        if (value := os.environ.get(name)) is not None:
            _check_endpoint(name, value)
    client: ClientConfig = {
        "allow_http": True,
        "connect_timeout": timedelta(minutes=1),
        "read_timeout": timedelta(minutes=3),
        "timeout": timedelta(hours=6),
    }
    if (bundle := certificates()) is not None:
        client["root_certificate"] = bundle
    return from_url(url, client_options=client, retry_config=_RETRY)


def mistake(error: Exception) -> str | None:
    """What a user has to set right before a store can be used; None where it isn't that.

    Neither this nor the other texts here hold a secret.
    """
    text = str(error)
    if any(server in text.partition("\n")[0] for server in _METADATA_SERVERS):
        return f"no credentials; {_CREDENTIALS}"
    if (code := _CODE.search(text)) and code[1] in _CODES:
        return _CODES[code[1]]
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return _CODES["AccessDenied"]
    return None


def trouble(error: Exception) -> str | None:
    """Why a store can't be reached or doesn't do as it is asked; None where that isn't known."""
    text = str(error)
    for pattern, words in _CAUSES.items():
        if match := re.search(pattern, text):
            return words.format(*match.groups())
    if code := _CODE.search(text):
        said = re.search(r"<Message>([^<]*)</Message>", text)
        return f"the server answers {code[1]}{f': {said[1]}' if said else ''}"
    return None


def transient(error: Exception) -> str | None:
    """The reason of an error of obstore that may be gone in a while; None for any other.

    It is one of the network or the server. obstore has repeated the request for a minute by then.
    """
    text = str(error)
    is_transient = (
        isinstance(error, GenericError)
        and mistake(error) is None
        and _TRANSIENT.search(text) is not None
        and _PERMANENT.search(text) is None
    )
    return (trouble(error) or "no answer") if is_transient else None


def first_line(error: Exception) -> str:
    """What an error of obstore says, without its debugging text; of addresses only the path."""
    line = str(error).partition("\n")[0]
    return re.sub(r"\?\S*|(?<=//)[^/@\s]*@", "", line)


def _check_endpoint(name: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    # It isn't shown: it may hold a password.
    if not usable or re.search(r"\s", value):
        raise InputError(f"{name}: not an address; write http://HOST:PORT or https://HOST")


def certificates() -> bytes | None:
    """The PEM certificates of the file that AWS_CA_BUNDLE names, None where it names none.

    Raises:
        InputError: the file can't be read or holds none.
    """
    if not (path := os.environ.get(CA_VARIABLE)):
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{CA_VARIABLE}: {path} can't be read ({error.strerror}); give the path of a file with "
            "CA certificates"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise InputError(f"{CA_VARIABLE}: {path} holds no certificate in PEM; give one that does")
    return content
