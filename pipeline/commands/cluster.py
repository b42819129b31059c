"""The options of a KFP cluster: where it is, and what signs in to it."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from components.shared.errors import InputError
from pipeline.cluster.options import ClusterOptions

_SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
"""Where KFP's users have the token of a pod mounted."""

ENVIRONMENT_HELP = """\b
An option goes before its environment variable:
  --host        KFP_HOST, KF_PIPELINES_ENDPOINT
  --namespace   KFP_NAMESPACE
  --ui-url      KFP_UI_URL, KF_PIPELINES_UI_ENDPOINT
  --ca-file     KFP_CA_FILE
  --token-file  KFP_TOKEN (the token itself), KFP_TOKEN_FILE
  --cookie-file KFP_COOKIE (NAME=VALUE itself), KFP_COOKIE_FILE

Without a token or cookie, a pod's service account token signs in where it is mounted:
KF_PIPELINES_SA_TOKEN_PATH, or /var/run/secrets/kubeflow/pipelines/token. A file with a token is
read anew for each request."""


def cluster_options(command: Any) -> Any:
    """Gives the command an argument `cluster`, its `ClusterOptions`."""

    @functools.wraps(command)
    def call(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in _NAMES}
        return command(cluster=chosen_cluster(given, os.environ), **arguments)

    decorated: Any = call
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_NAMES = ("host", "namespace", "token_file", "cookie_file", "ca_file", "ui_url")
_OPTIONS = (
    click.option(
        "--host",
        metavar="URL",
        envvar=["KFP_HOST", "KF_PIPELINES_ENDPOINT"],
        help="Where KFP answers; with Kubeflow, https://HOST/pipeline.",
    ),
    click.option(
        "--namespace", envvar="KFP_NAMESPACE", help="That of your profile, in a multi-user KFP."
    ),
    click.option("--token-file", metavar="FILE", help="Holds the bearer token to sign in with."),
    click.option(
        "--cookie-file", metavar="FILE", help="Holds NAME=VALUE of a signed-in browser's cookie."
    ),
    click.option(
        "--ca-file",
        metavar="FILE",
        envvar="KFP_CA_FILE",
        help="Certificates in PEM to hold the server's against.",
    ),
    click.option(
        "--ui-url",
        metavar="URL",
        envvar=["KFP_UI_URL", "KF_PIPELINES_UI_ENDPOINT"],
        help="Where links lead to.  [default: the host]",
    ),
)


def chosen_cluster(
    given: Mapping[str, str | None], environment: Mapping[str, str]
) -> ClusterOptions:
    """The options of a command line, filled up from the environment.

    Raises:
        InputError: no host, or a value that can't be used.
    """
    host = given["host"]
    if not host:
        raise InputError("no host: give the URL of KFP with --host or KFP_HOST")
    token, token_file = _secret("token", given["token_file"], environment)
    cookie, cookie_file = _secret("cookie", given["cookie_file"], environment)
    if cookie_file is not None:
        cookie = _read_cookie(cookie_file)
    if not (token or token_file or cookie):
        token_file = _mounted_token(environment)
    return ClusterOptions(
        host=host.rstrip("/"),
        namespace=given["namespace"] or None,
        token=token,
        token_file=token_file,
        cookie=cookie,
        ca_file=Path(given["ca_file"]).expanduser() if given["ca_file"] else None,
        ui_url=(given["ui_url"] or "").rstrip("/") or None,
    )


def _secret(
    name: str, file: str | None, environment: Mapping[str, str]
) -> tuple[str | None, Path | None]:
    """A secret or the file that holds it: of the option, else the variables, secret before file."""
    variable = f"KFP_{name.upper()}"
    if not file:
        value = environment.get(variable, "").strip()
        if value:
            return value, None
        file = environment.get(f"{variable}_FILE")
    return None, Path(file).expanduser() if file else None


def _read_cookie(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise InputError(f"cookie_file {file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cookie_file {file}: holds no cookie, NAME=VALUE") from error


def _mounted_token(environment: Mapping[str, str]) -> Path | None:
    named = environment.get("KF_PIPELINES_SA_TOKEN_PATH")
    if named:
        return Path(named)
    mounted = Path(_SERVICE_ACCOUNT_TOKEN)
    return mounted if mounted.exists() else None
