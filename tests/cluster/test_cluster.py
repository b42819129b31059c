"""The same commands against a real KFP, that of KFP_HOST and the other KFP_ variables.

What is asked of it is small: the preset `debug` on the bundled reviews. The image, the registry
and the rest come from variables too:

    KFP_TEST_IMAGE         the image of the tasks, which the cluster can pull
    KFP_TEST_SERVING_DIR   a registry that the pods can write to; without it no run is waited for
    KFP_TEST_OPTIONS       more options of submit that the runs need, such as --secret-env ...
    KFP_TEST_TIMEOUT       seconds that a run may take; 3600 unless given
"""

import json
import os
import shlex
import uuid

import pytest

from pipeline.cli import main

REGISTRY = os.environ.get("KFP_TEST_SERVING_DIR")

pytestmark = pytest.mark.skipif(
    not os.environ.get("KFP_HOST"), reason="set KFP_HOST to the URL of a KFP to test against it"
)


def submit(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict, str]:
    image = os.environ.get("KFP_TEST_IMAGE")
    options = shlex.split(os.environ.get("KFP_TEST_OPTIONS", ""))
    common = ["--source", "bundled", "--preset", "debug", "--json", *options]
    status = main(["submit", *common, *(["--image", image] if image else []), *arguments])
    printed = capsys.readouterr()
    return status, json.loads(printed.out or "{}"), printed.err


def test_the_same_content_is_uploaded_once(capsys: pytest.CaptureFixture[str]) -> None:
    # No registry is there: the runs end soon, and badly.
    place = ["--serving-dir", "/nonexistent", "--experiment", f"tests {uuid.uuid4().hex[:8]}"]
    first_status, first, _ = submit(capsys, *place)
    status, second, _ = submit(capsys, *place)
    assert (first_status, status) == (0, 0)
    assert second["version_id"] == first["version_id"] and second["uploaded"] is False
    assert second["experiment_id"] == first["experiment_id"]
    assert second["run_id"] != first["run_id"]


def test_a_wait_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    status, answer, err = submit(
        capsys, "--serving-dir", "/nonexistent", "--wait", "--timeout", "1"
    )
    assert (status, answer["outcome"]) == (4, "running")
    assert "the run goes on" in err


def test_an_unknown_namespace_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = f"nowhere-{uuid.uuid4().hex[:8]}"
    status, _, err = submit(capsys, "--serving-dir", "/nonexistent", "--namespace", nowhere)
    assert status == 2 and "namespace" in err and err.count("\n") == 1


def test_a_token_that_is_none_changes_nothing_or_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A KFP behind a port-forward asks nobody to sign in.
    monkeypatch.setenv("KFP_TOKEN", "not-a-token")
    status, _, err = submit(capsys, "--serving-dir", "/nonexistent")
    assert status == 0 or (status == 2 and "not-a-token" not in err)


@pytest.mark.skipif(not REGISTRY, reason="set KFP_TEST_SERVING_DIR to run the whole pipeline")
def test_the_whole_pipeline_runs_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    timeout = os.environ.get("KFP_TEST_TIMEOUT", "3600")
    status, answer, err = submit(
        capsys, "--serving-dir", REGISTRY or "", "--wait", "--timeout", timeout
    )
    assert status in (0, 3), err
    assert answer["outcome"] == ("pushed" if status == 0 else "not blessed")
    assert answer["tasks"]["ingest"] == "SUCCEEDED"
