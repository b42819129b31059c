"""The checks before a run, which make nothing."""

from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import InputError
from pipeline.config import preset
from pipeline.plan import RunSpec, plan, redacted


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
        ({"source": "x" * 5000}, ["source xxx", "too long"]),
        ({"source": "bad\udcff"}, ["source 'bad\\udcff'", "not UTF-8"]),
        ({"source": "~no-such-user-here/x"}, ["~no-such-user-here"]),
        ({"source": "http://user:secret@[host/"}, ["not a URI"]),
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
    with pytest.raises(InputError) as caught:
        plan_of(**changes)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "secret" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["a-file"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("bundled", "bundled"),
        ("/a/path?b", "/a/path?b"),
        ("https://user:pass@host:8/a.tar.gz?sig=x#y", "https://host:8/a.tar.gz"),
        ("s3://bucket/key", "s3://bucket/key"),
    ],
)
def test_what_is_shown_of_a_source_holds_no_secret(source: str, shown: str) -> None:
    assert redacted(source) == shown
