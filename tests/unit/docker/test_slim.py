"""What is taken out of the image's packages, and that what is left works."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def slim() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slim", ROOT / "docker" / "slim.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def library(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec and spec.origin
    return Path(spec.origin)


def test_a_stripped_library_is_smaller_and_works(slim: ModuleType, tmp_path: Path) -> None:
    path = Path(shutil.copy(library("yaml._yaml"), tmp_path))
    before = path.stat().st_size
    cut = slim.strip(path)
    assert cut > before / 2
    assert path.stat().st_size == before - cut
    code = (
        "import sys; from importlib.util import module_from_spec, spec_from_file_location as at; "
        "spec = at('_yaml', sys.argv[1]); module = module_from_spec(spec); "
        "spec.loader.exec_module(module); assert module.get_version()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(path)]
    assert subprocess.run(command).returncode == 0
    assert slim.strip(path) == 0, "there is nothing left to cut off"


def test_what_follows_the_sections_is_kept(slim: ModuleType, tmp_path: Path) -> None:
    path = Path(shutil.copy(library("yaml._yaml"), tmp_path))
    with path.open("ab") as file:
        file.write(b"an archive that the program unpacks")
    content = path.read_bytes()
    assert slim.strip(path) == 0
    assert path.read_bytes() == content


def test_other_files_are_no_binaries(slim: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\x7fEL")
    (tmp_path / "empty").touch()
    assert list(slim.binaries(tmp_path)) == []


def test_makefile_and_dockerfile_name_the_same_uv() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    makefile = (ROOT / "Makefile").read_text()
    in_dockerfile = re.findall(r"ARG UV_VERSION=(\S+)", dockerfile)
    assert in_dockerfile == re.findall(r"UV_VERSION := (\S+)", makefile)
