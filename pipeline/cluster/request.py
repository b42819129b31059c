"""What a run on a cluster is asked for, checked before anything is sent."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from components.shared.errors import InputError
from components.shared.uris import redacted
from pipeline.config import PipelineConfig
from pipeline.plan import BUILT_IN_SOURCES

PIPELINE = "imdb-sentiment"
SWEEP_PIPELINE = "imdb-sentiment-sweep"

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SOURCE_SCHEMES = ("http", "https", "s3", "gs", "az", "file")
_STORE_SCHEMES = ("s3", "gs", "az", "file")
_ROOT_SCHEMES = ("s3", "gs", "minio")
_SECRET_KEY = re.compile(r"sig|token|secret|password|credential|key", re.IGNORECASE)
_SECRET_ARGUMENT = re.compile(r"--\w*(?:secret|password|token|connection_string)", re.IGNORECASE)
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """What to run on a cluster."""

    source: str
    """`bundled`, `tfds`, a URI, or an absolute path in the containers."""

    preset: str

    config: PipelineConfig

    serving_dir: str
    """The registry: a URI, or an absolute path in the containers."""

    pipeline_root: str | None = None
    """Where KFP keeps the outputs of the tasks; None for its own choice."""

    service_account: str | None = None
    """Whom the pods run as; None for KFP's own choice."""

    skip_unchanged: bool = False
    """Whether the run is over after ingest where the champion was made of the same."""

    ui_url: str = ""
    """Where the link in a notification leads to."""

    def __post_init__(self) -> None:
        """Checks what will be sent.

        Raises:
            InputError: a place that a pod can't reach, or a place or an argument that holds a
                secret, which all who may look at the run could read.
        """
        if self.source not in BUILT_IN_SOURCES:
            _check_place("source", self.source, _SOURCE_SCHEMES, "bundled, tfds, ")
        _check_place("serving_dir", self.serving_dir, _STORE_SCHEMES)
        for argument in self.config.preprocess.beam_args:
            if found := _SECRET_ARGUMENT.match(argument):
                raise InputError(
                    f"beam_args {found[0]}...: holds a secret, which all who may look at the run "
                    "could read; leave it out, and give the containers credentials through a "
                    "Kubernetes secret"
                )
        if self.pipeline_root is not None:
            _check_uri("pipeline_root", self.pipeline_root, _ROOT_SCHEMES, "a URI")
        if self.service_account is not None and not _KUBERNETES_NAME.fullmatch(
            self.service_account
        ):
            raise InputError(
                f"service_account {self.service_account!r}: not a name of Kubernetes; it has "
                "small letters, digits, '-' and '.'"
            )

    def arguments(self) -> dict[str, Any]:
        """The parameters of the pipeline."""
        return {
            "source": self.source,
            "preset": self.preset,
            "serving_dir": self.serving_dir,
            "skip_unchanged": self.skip_unchanged,
            "ui_url": self.ui_url,
            **self.config.arguments(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRequest(RunRequest):
    """What to sweep on a cluster."""

    trials: list[dict[str, Any]] = field(default_factory=list)
    """Of each its number, the names of the searched keys, and a TrainConfig as JSON."""

    def arguments(self) -> dict[str, Any]:
        """The parameters of the sweep's pipeline."""
        configs = self.config.arguments()
        return {
            "trials": self.trials,
            "source": self.source,
            "serving_dir": self.serving_dir,
            **{name: configs[name] for name in ("ingest_config", "preprocess_config")},
        }


def default_run_name(preset: str, pipeline: str = PIPELINE) -> str:
    """A name to read, with the time in UTC."""
    return f"{pipeline} {preset} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def _check_place(name: str, text: str, schemes: tuple[str, ...], others: str = "") -> None:
    """Checks a URI, or an absolute path in a volume of the containers."""
    if not text:
        raise InputError(f"{name} is empty: give {others}a URI or an absolute path")
    if not _URI.match(text):
        if not PurePosixPath(text).is_absolute():
            raise InputError(
                f"{name} {text!r}: a path of this machine means nothing on a cluster; give "
                f"{others}a URI ({_shown(schemes)}), or the absolute path of a volume that the "
                "containers have"
            )
        return
    _check_uri(name, text, schemes, f"{others}a URI or an absolute path")


def _check_uri(name: str, text: str, schemes: tuple[str, ...], wanted: str) -> None:
    match = _URI.match(text)
    if match is None:
        raise InputError(
            f"{name} {text!r}: not a URI; on a cluster it has to be one ({_shown(schemes)})"
        )
    if match[1].lower() not in schemes:
        raise InputError(
            f"{name}: unknown scheme {match[1]}://; give {wanted} that begins with "
            f"{_shown(schemes)}"
        )
    place = text.partition("?")[0]
    # A password with an unescaped slash ends the host's part of a URI too early.
    has_user = redacted(place) != place.partition("#")[0]
    try:
        parts = urlsplit(text)
    except ValueError as error:
        # The error's own text quotes what may be the password.
        raise InputError(f"{name}: not a URI; give SCHEME://HOST/PATH") from error
    if has_user or any(_SECRET_KEY.search(key) for key, _ in parse_qsl(parts.query)):
        raise InputError(
            f"{name}: holds a password or signature, which all who may look at the run could "
            "read; leave it out, and give the containers credentials through a Kubernetes secret "
            "(an @ in a path is written %40 after a port)"
        )
    if not parts.netloc and match[1].lower() != "file":
        raise InputError(f"{name} {text!r}: names no bucket or host; give SCHEME://HOST/PATH")


def _shown(schemes: tuple[str, ...]) -> str:
    *most, last = (f"{scheme}://" for scheme in schemes)
    return f"{', '.join(most)} or {last}"
