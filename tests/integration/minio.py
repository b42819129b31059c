"""A real S3 server on loopback: MinIO, which .ci/peers builds."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "loopback-user", "planted-secret"
BUCKET = "models"
ABSENT = "no MinIO server is here to test with: put `minio` on PATH, or build it by .ci/peers"


def executable() -> str | None:
    """Where MinIO is: on PATH, or where `go install` puts it; None if it isn't."""
    gopath = os.environ.get("GOPATH") or str(Path.home() / "go")
    return shutil.which("minio") or shutil.which("minio", path=f"{gopath}/bin")


@dataclass(frozen=True)
class Server:
    """A running server with the bucket `models`."""

    endpoint: str

    def environment(self, **changes: str | None) -> dict[str, str]:
        """The environment of a program that uses it; None takes a variable away."""
        cleared = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
        }
        given = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            **changes,
        }
        return cleared | {name: value for name, value in given.items() if value is not None}


@contextmanager
def serving(program: str, folder: Path, certificates: Path | None = None) -> Iterator[Server]:
    """Runs a server on a free port, by TLS where there is a folder of certificates."""
    (folder / "data" / BUCKET).mkdir(parents=True)
    port, console = _free_port(), _free_port()
    options = ["--certs-dir", str(certificates)] if certificates else []
    with subprocess.Popen(
        [program, "server", "--address", f"127.0.0.1:{port}",
         "--console-address", f"127.0.0.1:{console}", *options, str(folder / "data")],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "MINIO_UPDATE": "off",
             "MINIO_BROWSER": "off", "MINIO_ROOT_USER": ACCESS_KEY,
             "MINIO_ROOT_PASSWORD": SECRET_KEY},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("API: "):  # once it answers
                    break
            else:
                raise RuntimeError(f"MinIO ended: {''.join(said)}")
            yield Server(f"{'https' if certificates else 'http'}://127.0.0.1:{port}")
        finally:
            process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
