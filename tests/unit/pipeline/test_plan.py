"""The checks before a run, which make nothing."""

import os
from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import InputError
from pipeline.config import preset
from pipeline.plan import RunSpec, plan


def plan_of(**changes: Any) -> RunSpec:
    values = {"source": "bundled", "serving_dir": "serving", "pipeline_root": "runs"}
    return plan(**{**values, "preset": "debug", "config": preset("debug"), **changes})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plan_names_every_place_in_full_and_makes_none(folder: Path) -> None:
    spec = plan_of()
    assert spec.serving_dir == str(folder / "serving")
    assert spec.run_dir == folder / "runs" / spec.run_id
    assert not list(folder.iterdir())


def test_no_two_runs_have_the_same_id() -> None:
    assert len({plan_of().run_id for _ in range(50)}) == 50


def test_a_local_source_is_found_from_wherever_a_task_runs(folder: Path) -> None:
    (folder / "reviews").mkdir()
    assert plan_of(source="reviews").source == str(folder / "reviews")


@pytest.mark.parametrize("source", ["tfds", "https://host/a.tar.gz", "s3://bucket/reviews/"])
def test_other_sources_stay_as_they_are(source: str) -> None:
    assert plan_of(source=source).source == source


def test_the_pipeline_gets_every_configuration_and_place() -> None:
    spec = plan_of()
    arguments = spec.arguments()
    assert arguments["train_config"] == spec.config.to_mapping()["train"]
    assert Path(arguments["workspace"]) == spec.run_dir
    assert (arguments["image"], arguments["skip_unchanged"]) == ("", False)
    assert {"ingest_config", "preprocess_config", "evaluate_config"} < arguments.keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "nowhere.tar.gz"}, ["'nowhere.tar.gz'", "bundled, tfds"]),
        ({"source": ""}, ["source is empty"]),
        ({"source": "x" * 5000}, ["source 'xxx", "too long"]),
        ({"source": "bad\udcff"}, ["source 'bad\\udcff'", "not UTF-8"]),
        ({"source": "~no-such-user-here/x"}, ["~no-such-user-here"]),
        ({"source": "http://user:secret@[host/"}, ["not a URI"]),
        ({"source": "http://user:secret/more@host/a.tar.gz"}, ["http://***@host/a.tar.gz", "%2F"]),
        ({"source": "http://user:secret@ho\u2100st/a.tar.gz"}, ["not a URI"]),
        ({"source": "a-fifo"}, ["'a-fifo'", "a FIFO", "bundled, tfds"]),
        ({"source": "/dev/null"}, ["'/dev/null'", "a device"]),
        ({"source": "a-file/below"}, ["'a-file/below'", "no such file"]),
        ({"serving_dir": "x" * 5000}, ["serving_dir", "too long"]),
        ({"pipeline_root": "x" * 5000}, ["pipeline_root", "too long"]),
        ({"serving_dir": ""}, ["serving_dir is empty"]),
        ({"serving_dir": "a-file"}, ["serving_dir", "a-file"]),
        ({"serving_dir": "a-file/below"}, ["serving_dir", "a-file"]),
        ({"serving_dir": "/proc/serving"}, ["serving_dir /proc/serving", "cannot be written"]),
        ({"pipeline_root": ""}, ["pipeline_root is empty"]),
        ({"pipeline_root": "a-file"}, ["pipeline_root", "a-file", "Not a directory"]),
        ({"pipeline_root": "/proc/runs/here"}, ["pipeline_root /proc/runs/here", "cannot be"]),
        ({"pipeline_root": "s3://bucket/runs"}, ["pipeline_root s3://bucket/runs", "not a local"]),
    ],
)
def test_bad_input_is_named_before_anything_is_made(
    folder: Path, changes: dict[str, str], words: list[str]
) -> None:
    (folder / "a-file").write_text("a file")
    os.mkfifo(folder / "a-fifo")
    with pytest.raises(InputError) as caught:
        plan_of(**changes)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "secret" not in str(caught.value)
    assert {path.name for path in folder.iterdir()} == {"a-file", "a-fifo"}
