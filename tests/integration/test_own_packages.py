"""Other packages that are called `pipeline` or `components`: the project's own are run."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("pipeline", "components")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with packages whose import ends the process with 77."""
    for name in NAMES:
        package = tmp_path / "elsewhere" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("import os\nos._exit(77)\n")
    return tmp_path / "elsewhere"


def run(start: list[str], *words: str, paths: list[Path], cwd: Path) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    environment.pop("PYTHONSAFEPATH", None)
    result = subprocess.run(
        [sys.executable, *start, *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return result.returncode, result.stdout


def console_script() -> list[str]:
    """What the script holds that an installer writes, for the interpreter to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["imdb-pipeline"].split(":")
    # The folder of a script stands first in the path, as the working directory does for -c.
    return ["-P", "-c", f"import sys; from {module} import {function}; sys.exit({function}())"]


def bad_run(folder: Path) -> list[str]:
    """A run whose first task finds the source to be bad."""
    (folder / "reviews.tar.gz").write_bytes(b"none")
    places = [f"--{name}={folder / name}" for name in ("serving-dir", "pipeline-root")]
    return ["run", "--preset=debug", f"--source={folder / 'reviews.tar.gz'}", *places]


def test_the_console_script_and_its_tasks_run_the_own_packages(
    tmp_path: Path, elsewhere: Path
) -> None:
    status, shown = run(
        console_script(), *bad_run(tmp_path), paths=[elsewhere, ROOT], cwd=elsewhere
    )
    assert (status, "not a .tar.gz" in shown) == (2, True), shown


def test_the_module_and_its_tasks_run_the_own_packages(tmp_path: Path, elsewhere: Path) -> None:
    """A package `pipeline` that Python itself finds first can't be helped."""
    (elsewhere / "pipeline").rename(tmp_path / "pipeline")
    status, shown = run(
        ["-m", "pipeline"], *bad_run(tmp_path), paths=[ROOT, elsewhere], cwd=elsewhere
    )
    assert (status, "not a .tar.gz" in shown) == (2, True), shown
    status, shown = run(
        ["-m", "pipeline"], "models", "list", "--serving-dir=none", paths=[elsewhere], cwd=ROOT
    )
    assert (status, "no version yet" in shown) == (0, True), shown


def test_a_trial_runs_the_own_packages(tmp_path: Path, elsewhere: Path) -> None:
    code = (
        "from pathlib import Path; from components.train.trial import try_out; import os, sys\n"
        "os.environ['PYTHONPATH'] = sys.argv[1]\n"
        "print(try_out('no-examples', 'no', {'num_epochs': 0}, sys.argv[2], 'none')['error'])"
    )
    status, shown = run(
        ["-P", "-c", code], str(elsewhere), str(tmp_path / "out"), paths=[ROOT], cwd=elsewhere
    )
    assert (status, "num_epochs" in shown) == (0, True), shown
