"""Submitting, by the command line, against a stand-in for KFP."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.shared.image import DEFAULT_IMAGE
from pipeline.cli import main
from pipeline.cluster.connection import connect
from pipeline.cluster.content import uploaded, version_name
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.submit import without_cache
from pipeline.compile import compiled_pipeline
from pipeline.config import preset
from pipeline.kubernetes import KubernetesOptions

VERSIONS = "/apis/v2beta1/pipelines/upload_version"


@pytest.fixture(scope="module")
def package() -> bytes:
    return compiled_pipeline(KubernetesOptions())


def only(store: dict[str, Any]) -> Any:
    (item,) = store.values()
    return item


def test_a_run_is_started_with_its_parameters(submit: Any, kfp_server: Any) -> None:
    options = ["--preset", "debug", "--set", "num_epochs=3", "--source", "bundled"]
    places = ["--pipeline-root", "s3://bucket/root", "--service-account", "trainer"]
    names = ["--experiment", "nightly", "--run-name", "a try", "--skip-unchanged"]
    status, out, err = submit(*options, *places, *names, "--ui-url", "https://ui.example/")
    assert (status, err) == (0, "")
    run = only(kfp_server.runs)
    assert f"Run {run.run_id}, a try\nhttps://ui.example/#/runs/details/{run.run_id}\n" in out
    given = run.runtime_config.parameters
    train = preset("debug").override({"num_epochs": 3}).to_mapping()["train"]
    assert given["train_config"] == train and train["num_epochs"] == 3
    assert {given[name] for name in ("source", "preset", "serving_dir")} == {
        "bundled",
        "debug",
        "s3://bucket/models",
    }
    assert (given["skip_unchanged"], given["ui_url"]) == (True, "https://ui.example")
    assert run.runtime_config.pipeline_root == "s3://bucket/root"
    assert (run.service_account, run.display_name) == ("trainer", "a try")
    assert only(kfp_server.experiments).display_name == "nightly"
    assert run.experiment_id in kfp_server.experiments
    version = only(kfp_server.versions)
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id


def test_the_same_content_is_uploaded_once(submit: Any, kfp_server: Any, package: bytes) -> None:
    first, second = json.loads(submit("--json").out), json.loads(submit("--json").out)
    assert (first["uploaded"], second["uploaded"]) == (True, False)
    assert first["version_id"] == second["version_id"] and first["run_id"] != second["run_id"]
    assert first["version"] == version_name(package)
    assert only(kfp_server.packages) == package
    assert only(kfp_server.pipelines).name == "imdb-sentiment"
    assert kfp_server.asked("POST", VERSIONS) == 1
    # Other parameters are no other pipeline; another image is.
    submit("--preset", "debug")
    assert len(kfp_server.versions) == 1
    assert submit("--image", "registry.example/it@sha256:" + "0" * 64).status == 0
    assert len(kfp_server.versions) == 2 and len(kfp_server.pipelines) == 1


def test_of_two_that_upload_at_once_the_later_takes_the_version_of_the_other(
    kfp_server: Any, package: bytes
) -> None:
    both = threading.Barrier(2)
    kfp_server.before_upload = lambda: both.wait(30)
    found: list[Any] = []

    def upload() -> None:
        found.append(uploaded(connect(ClusterOptions(host=kfp_server.url)), package))

    threads = [threading.Thread(target=upload) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {version.version_id for version in found} == set(kfp_server.versions)
    assert sorted(version.made for version in found) == [False, True]
    assert kfp_server.asked("POST", VERSIONS) == 2


def test_a_version_is_found_among_more_than_a_page_of_them(kfp_server: Any, package: bytes) -> None:
    connection = connect(ClusterOptions(host=kfp_server.url))
    mine = uploaded(connection, package)
    for number in range(5):
        uploaded(connection, package + b"\n" * (number + 1))
    assert len(kfp_server.versions) == 6 > kfp_server.page_limit
    assert uploaded(connection, package).version_id == mine.version_id


def test_without_the_cache_no_task_takes_from_it(
    submit: Any, kfp_server: Any, package: bytes
) -> None:
    assert submit("--no-cache").status == 0
    pipeline, platform = yaml.safe_load_all(only(kfp_server.packages))
    assert "enableCache" not in json.dumps(pipeline) and "enableCache" in package.decode()
    before, platform_before = yaml.safe_load_all(package)
    assert platform == platform_before
    for spec in (pipeline, before):
        for body in (spec["root"], *spec["components"].values()):
            for task in body.get("dag", {}).get("tasks", {}).values():
                task.pop("cachingOptions", None)
    assert pipeline == before
    assert without_cache(package) == without_cache(without_cache(package))


def test_an_image_that_no_cluster_can_pull_is_told_of(submit: Any) -> None:
    out = submit().out
    assert f"image {DEFAULT_IMAGE}: names no registry" in out and "give --image" in out
    assert "registry" not in submit("--image", "r.example/imdb:1").out


def test_the_name_of_a_run_tells_what_and_when(submit: Any, kfp_server: Any) -> None:
    submit("--preset", "debug")
    name = only(kfp_server.runs).display_name
    assert re.fullmatch(r"imdb-sentiment debug \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "reviews"], "source 'reviews': a path of this machine means nothing"),
        (["--source", "~/reviews"], "source '~/reviews': a path of this machine"),
        (["--source", "ftp://h/x"], "source: unknown scheme ftp://"),
        (["--source", "https://u:p4ss@h/x"], "source: holds a password or signature"),
        (["--source", "https://u:p4ss/w@h/x"], "source: holds a password or signature"),
        (["--source", "https://u:p4ss?w@h/x"], "source: holds a password or signature"),
        (["--source", "https://u:p4ss#w@h/x"], "source: holds a password or signature"),
        (["--source", "https://u:p4ss@ho\u2100st/x"], "source: "),
        (["--serving-dir", "s3://u:p4ss/w@bucket/x"], "serving_dir: holds a password"),
        (["--source", "https://h/x?X-Amz-Signature=p4ss"], "source: holds a password"),
        (["--set", "beam_args=--s3_secret_access_key=p4ss"], "beam_args --s3_secret...: holds a"),
        (["--source", "https://[p4ss"], "source: not a URI"),
        (["--source", ""], "source is empty"),
        (["--source", "s3:///x"], "names no bucket"),
        (["--serving-dir", "serving"], "serving_dir 'serving': a path of this machine"),
        (["--serving-dir", "http://h/x"], "serving_dir: unknown scheme http://"),
        (["--pipeline-root", "runs"], "pipeline_root 'runs': not a URI"),
        (["--pipeline-root", "/mnt/runs"], "pipeline_root '/mnt/runs': not a URI"),
        (["--service-account", "Some One"], "not a name of Kubernetes"),
        (["--set", "num_epoch=3"], "did you mean 'num_epochs'?"),
        (["--set", "num_epochs=0"], "num_epochs=0: out of range"),
        (["--preset", "huge"], "'huge' is not one of"),
        (["--experiment", " "], "experiment is blank"),
        (["--run-name", ""], "run_name is blank"),
        (["--timeout", "5"], "--timeout goes with --wait"),
        (["--wait", "--timeout", "0"], "not in the range x>=1"),
        (["--wait", "--timeout", "nan"], "not a valid integer"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(
    submit: Any, kfp_server: Any, arguments: list[str], words: str
) -> None:
    status, out, err = submit(*arguments)
    assert (status, out) == (2, "")
    assert words in err and "p4ss" not in err
    assert kfp_server.requests == []


def test_absolute_paths_of_mounted_volumes_are_taken(submit: Any, kfp_server: Any) -> None:
    assert submit("--source", "/mnt/reviews", "--serving-dir", "/mnt/models").status == 0
    assert only(kfp_server.runs).runtime_config.parameters["serving_dir"] == "/mnt/models"


def test_a_registry_has_to_be_named(kfp_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--host", kfp_server.url]) == 2
    assert "Missing option '--serving-dir'" in capsys.readouterr().err


def test_a_rejected_pipeline_gives_the_reason_of_the_server(submit: Any, kfp_server: Any) -> None:
    kfp_server.rejected = "KFP only supports schema version 2.1.0"
    status, out, err = submit()
    assert (status, out) == (2, "")
    assert f"refused (400: {kfp_server.rejected})" in err and err.count("\n") == 1
    assert not kfp_server.runs


def test_an_archived_experiment_is_no_place_for_a_run(submit: Any, kfp_server: Any) -> None:
    submit()
    only(kfp_server.experiments).storage_state = "ARCHIVED"
    status, _, err = submit()
    assert status == 2 and "experiment imdb-sentiment: is archived" in err
    assert len(kfp_server.runs) == 1


def test_a_failure_with_json_is_an_object_too(submit: Any, kfp_server: Any) -> None:
    kfp_server.failures = 1
    status, out, err = submit("--json")
    answer = json.loads(out)
    assert (status, answer["run_id"], answer["input_error"]) == (1, None, False)
    assert answer["error"] in err and "(503)" in err


def test_namespaces_are_those_of_a_server_with_many_users(submit: Any, kfp_server: Any) -> None:
    kfp_server.multi_user = True
    status, out, _ = submit("--namespace", "team-a", "--ui-url", "https://kf.example/pipeline")
    run = only(kfp_server.runs)
    link = f"https://kf.example/_/pipeline/?ns=team-a#/runs/details/{run.run_id}"
    assert status == 0 and link in out
    assert only(kfp_server.experiments).namespace == "team-a"
    assert only(kfp_server.pipelines).namespace == "team-a"
    status, _, err = submit("--namespace", "nowhere")
    assert status == 2 and "not allowed in namespace nowhere (403" in err
    assert "check that the namespace exists" in err
    status, _, err = submit()
    assert status == 2 and "give the namespace of your profile" in err
    kfp_server.multi_user = False
    status, _, err = submit("--namespace", "team-a")
    assert status == 2 and "single-user mode" in err


def test_what_a_submission_leaves_on_the_machine(
    submit: Any, kfp_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert submit().status == 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def waited(submit: Any, kfp_server: Any) -> Callable[..., Any]:
    """Submits and waits, the run going through the given states."""

    def call(*steps: dict[str, Any], more: tuple[str, ...] = ()) -> Any:
        kfp_server.progress = list(steps)
        return submit("--wait", *more)

    return call


ALL = {"ingest": "SUCCEEDED", "train": "SUCCEEDED", "evaluate": "SUCCEEDED"}


@pytest.mark.parametrize(
    ("last", "status", "words"),
    [
        ({"state": "SUCCEEDED", "tasks": {**ALL, "push": "SUCCEEDED"}}, 0, "is pushed"),
        ({"state": "SUCCEEDED", "tasks": {**ALL, "condition-2": "SKIPPED"}}, 3, "NOT_BLESSED"),
        ({"state": "SUCCEEDED", "tasks": {"ingest": "SUCCEEDED"}}, 0, "Nothing has changed"),
        ({"state": "FAILED", "tasks": {"ingest": "FAILED"}, "error": "why"}, 1, "in ingest (why)"),
        ({"state": "FAILED"}, 1, "The run failed: http"),
        ({"state": "CANCELED"}, 1, "was canceled"),
        ({"state": "SUCCEEDED"}, 0, "The run succeeded"),
    ],
)
def test_the_exit_status_tells_how_a_run_ended(
    waited: Any, last: dict[str, Any], status: int, words: str
) -> None:
    called = waited({"state": "RUNNING"}, last)
    assert called.status == status and words in called.out


def test_the_states_of_the_tasks_are_shown_as_they_change(waited: Any) -> None:
    _, out, _ = waited(
        {"state": "RUNNING", "tasks": {"root": "RUNNING", "ingest-driver": "RUNNING"}},
        {"tasks": {"ingest-driver": "SUCCEEDED", "ingest": "RUNNING"}},
        {"tasks": {"ingest": "SUCCEEDED", "evaluate": "RUNNING"}},
        {"state": "SUCCEEDED", "tasks": {"evaluate": "SUCCEEDED", "condition-2": "SKIPPED"}},
    )
    assert out.splitlines()[-6:] == [
        "ingest      running",
        "ingest      done    1 min 15 s",
        "evaluate    running",
        "evaluate    done    1 min 15 s",
        "push        skipped            NOT_BLESSED",
        "NOT_BLESSED: the champion stays",
    ]


def test_the_outcome_is_in_the_json(waited: Any) -> None:
    called = waited({"state": "SUCCEEDED", "tasks": ALL}, more=("--json",))
    answer = json.loads(called.out)
    assert (answer["outcome"], answer["tasks"]) == ("not blessed", ALL)
    assert answer["run_id"] in called.err and called.status == 3


def test_a_wait_that_takes_too_long_ends_and_the_run_goes_on(waited: Any, kfp_server: Any) -> None:
    status, out, _ = waited(
        {"state": "RUNNING", "tasks": {"ingest": "RUNNING"}}, more=("--timeout", "1")
    )
    link = f"{kfp_server.url}/#/runs/details/{only(kfp_server.runs).run_id}"
    assert status == 4 and f"not ended after 1 s; the run goes on: {link}" in out


def test_a_run_that_someone_deletes_is_a_failure(waited: Any, kfp_server: Any) -> None:
    kfp_server.on_get_run = kfp_server.runs.clear
    status, _, err = waited({"state": "RUNNING"})
    assert status == 1 and "no longer there" in err


def test_a_signal_ends_the_wait_and_not_the_run(waited: Any, kfp_server: Any) -> None:
    kfp_server.on_get_run = lambda: os.kill(os.getpid(), signal.SIGINT)
    status, out, _ = waited({"state": "RUNNING"}, more=("--json",))
    assert (status, json.loads(out)["outcome"]) == (130, "running")
    assert not any(":terminate" in path for _, path, _ in kfp_server.requests)
