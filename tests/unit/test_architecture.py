"""Who may import whom."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from components.shared.image import DEFAULT_IMAGE

ROOT = Path(__file__).parents[2]
TASKS = (
    "prepare",
    "ingest",
    "preprocess",
    "train",
    "export",
    "evaluate",
    "push",
    "notify",
    "compare",
)
FILES = [*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("components/**/*.py")]


def imports(path: Path) -> set[str]:
    """The dotted names that a file imports, at the top or within a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def importing(package: str) -> set[str]:
    """The files, relative to the root, that import a package."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if any(name == package or name.startswith(f"{package}.") for name in imports(path))
    }


def test_tasks_import_shared_code_and_their_own_alone() -> None:
    for path in FILES:
        _, folder, *_ = parts = path.relative_to(ROOT).parts
        for name in imports(path):
            if not name.startswith("components."):
                assert parts[0] == "pipeline" or not name.startswith("pipeline"), path
                continue
            owner = name.split(".")[1]
            if parts == ("pipeline", "commands", "task.py"):
                # Runs a task by itself, without KFP.
                assert owner == "shared" or name.split(".")[2] == owner, (path, name)
            elif parts[0] == "pipeline":
                assert owner == "shared" or name.split(".")[2:3] == ["component"], (path, name)
            else:
                assert owner in ("shared", folder), (path, name)


def test_only_the_wiring_knows_kfp() -> None:
    components = {f"components/{task}/component.py" for task in TASKS}
    assert {p for p in importing("kfp") if not p.startswith("pipeline/")} == components


def test_only_preprocessing_knows_beam() -> None:
    allowed = ("components/ingest/", "components/preprocess/")
    assert all(path.startswith(allowed) for path in importing("apache_beam"))
    assert importing("apache_beam")


@pytest.mark.parametrize(
    "module",
    [
        "components.ingest.ingest",
        "components.push.push",
        "components.notify.webhook",
        "components.ingest.unchanged",
        "components.evaluate.gate",
        "components.compare.compare",
        "components.shared.registry.registry",
        "components.shared.config",
        "pipeline.cli",
    ],
)
def test_what_needs_no_tensorflow_does_not_import_it(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_functions_are_small() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 60, f"{path}: {node.name} has {lines} lines"


def test_the_images_tag_is_the_version_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"imdb-pipeline-python:{version}" == DEFAULT_IMAGE
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "docker/Dockerfile"):
        tags = re.findall(r"imdb-pipeline-python:(\d[\d.]*\d)", page.read_text())
        assert set(tags) <= {version}, page
