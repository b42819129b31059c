"""The command `task`: one component by itself."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from components.shared.config import EvaluateConfig, IngestConfig, PreprocessConfig, TrainConfig
from pipeline.cli import main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("ingest", IngestConfig),
        ("preprocess", PreprocessConfig),
        ("train", TrainConfig),
        ("export", None),
        ("evaluate", EvaluateConfig),
        ("push", None),
    ],
)
def test_the_help_of_a_task_shows_every_option_with_its_default(
    name: str, config: type | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["task", name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    known = fields(config) if config else ()
    for field in known:
        assert f" --{field.name.replace('_', '-')} " in text
    assert text.count("[default: ") >= len(known)


def test_a_task_gives_its_result_as_json(
    tmp_path: Path, write_reviews: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_reviews(tmp_path / "source", per_class=20)
    command = ["task", "ingest", "--source", str(source), "--reviews", str(tmp_path / "reviews")]
    assert main([*command, "--validation-fraction", "0.5"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["config"]["validation_fraction"] == 0.5
    assert sum(result["splits"].values()) == 80
    assert "ingest      done" in printed.err
    assert (tmp_path / "reviews" / "summary.json").exists()


def test_what_is_there_is_not_replaced(
    tmp_path: Path, write_reviews: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_reviews(tmp_path / "source", per_class=1)
    assert main(["task", "ingest", "--source", str(source), "--reviews", str(tmp_path)]) == 2
    assert "isn't empty" in capsys.readouterr().err
    assert main(["task", "ingest", "--source", str(source), "--reviews", "/proc"]) == 2
    assert "/proc is a mount point" in capsys.readouterr().err
    assert source.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "nowhere"], "Error: nowhere: "),
        (["--source", "bundled", "--test-fraction", "2"], "Error: test_fraction=2"),
        (["--source", "bundled", "--test-fraction", "much"], "Error: test_fraction=much"),
        (["--source", "bundled", "--preset", "none"], "'none' is not one of"),
        ([], "Missing option '--source'"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["task", "ingest", "--reviews", str(tmp_path / "reviews"), *options]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert not list(tmp_path.iterdir())


def test_a_task_runs_without_kfp(tmp_path: Path, write_reviews: Callable[..., Path]) -> None:
    source = write_reviews(tmp_path / "source", per_class=20)
    command = ["task", "ingest", "--source", str(source), "--reviews", str(tmp_path / "reviews")]
    code = f"import sys; from pipeline.cli import main; main({command}); "
    code += "sys.exit('kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
