"""The environment of TFX, in `build/tfx`: made once, apart from the project's own packages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.harness import ROOT

FOLDER = ROOT / "build" / "tfx"
DRIVER = Path(__file__).with_name("tfx_imdb.py")
_REQUIREMENTS = Path(__file__).with_name("tfx_requirements.txt")


def tfx_command() -> list[str]:
    """The words that start `tfx_imdb.py` in its environment, which is made if need be.

    Raises:
        SystemExit: TFX can't be installed; says why.
    """
    python, done = FOLDER / "bin" / "python", FOLDER / ".installed"
    wanted = _REQUIREMENTS.read_text()
    if not done.is_file() or done.read_text() != wanted:
        print(f"Installing TFX into {FOLDER}", file=sys.stderr, flush=True)
        _install(python)
        done.write_text(wanted)
    return [str(python), str(DRIVER)]


def _install(python: Path) -> None:
    own = sorted(ROOT.glob(".tools/uv-*/bin/uv"))
    uv = str(own[-1]) if own else shutil.which("uv")
    if uv is None:
        sys.exit("TFX, the peer, can't be installed: there is no uv; run `make setup`")
    environment = {**os.environ, **_index(), "UV_HTTP_TIMEOUT": "300"}
    environment.pop("VIRTUAL_ENV", None)
    for words in (
        ["venv", "--clear", "--python", "3.11", str(FOLDER)],
        ["pip", "install", "--python", str(python), "--requirements", str(_REQUIREMENTS)],
    ):
        # The project's own overrides leave packages out that TFX needs.
        made = subprocess.run(
            [uv, *words, "--no-config", "--quiet"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        if made.returncode:
            sys.exit(f"TFX, the peer, can't be installed: {made.stderr.strip()}")


def _index() -> dict[str, str]:
    """The package index and certificates that pip is set up with, which uv doesn't read."""
    found = subprocess.run(
        [sys._base_executable, "-m", "pip", "config", "list"],  # type: ignore[attr-defined]
        capture_output=True,
        text=True,
    )
    settings = dict(re.findall(r"^(?::env:|global|install)\.([\w-]+)='(.*)'$", found.stdout, re.M))
    names = {"UV_DEFAULT_INDEX": "index-url", "SSL_CERT_FILE": "cert"}
    return {
        variable: settings[name]
        for variable, name in names.items()
        if name in settings and variable not in os.environ
    }
