"""`submit` against the stand-in, and what a client of it needs."""

import datetime
import functools
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline import compile
from pipeline.cli import main

VARIABLES = [
    "KFP_HOST",
    "KF_PIPELINES_ENDPOINT",
    "KFP_NAMESPACE",
    "KFP_UI_URL",
    "KF_PIPELINES_UI_ENDPOINT",
    "KFP_CA_FILE",
    "KFP_TOKEN",
    "KFP_TOKEN_FILE",
    "KFP_COOKIE",
    "KFP_COOKIE_FILE",
    "KF_PIPELINES_SA_TOKEN_PATH",
    "KFP_PIPELINE_ROOT",
    "KFP_EXPERIMENT",
    "KFP_SERVICE_ACCOUNT",
]


class Called(NamedTuple):
    """What a command ended with, and printed."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Keeps what was compiled, which takes a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compile, "compiled_pipeline", functools.cache(compile.compiled_pipeline))
        yield


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes away what the environment says of a cluster."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def submit(kfp_server: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """`submit(*arguments, host=...)` calls the command; the host is the stand-in unless given."""

    def call(*arguments: str, host: str | None = kfp_server.url) -> Called:
        capsys.readouterr()
        where = ["--host", host] if host is not None else []
        status = main(["submit", *where, "--serving-dir", "s3://bucket/models", *arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Called(status, printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key, as PEM."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "tls.crt", folder / "tls.key"
