"""Waiting for a run, with a clock that a test moves."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.connection import connect
from pipeline.cluster.content import experiment, uploaded
from pipeline.cluster.options import ClusterOptions
from pipeline.cluster.request import RunRequest
from pipeline.cluster.submit import start, task_names
from pipeline.cluster.wait import Outcome, StillRunning, Watch
from pipeline.compile import compiled_pipeline
from pipeline.config import preset
from pipeline.console import Console
from pipeline.kubernetes import KubernetesOptions


@pytest.fixture(scope="module")
def package() -> bytes:
    return compiled_pipeline(KubernetesOptions())


class Clock:
    """A clock that stands still but for those who sleep by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.woken: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.woken()


@pytest.fixture
def watch(kfp_server: Any, package: bytes, tmp_path: Path) -> Watch:
    """Watches a run of the stand-in."""
    file = tmp_path / "token"
    file.write_text("first")
    connection = connect(ClusterOptions(host=kfp_server.url, token_file=file))
    request = RunRequest(
        source="tfds", preset="debug", config=preset("debug"), serving_dir="s3://bucket/models"
    )
    version = uploaded(connection, package)
    run_id = start(connection, version, experiment(connection, "tests"), "a run", request)
    clock = Clock()
    return Watch(
        connection,
        run_id,
        task_names(package),
        Console(io.StringIO(), verbose=False),
        clock=lambda: clock.now,
        sleep=clock.sleep,
    )


def printed(watch: Watch) -> str:
    stream: Any = watch.console._stream
    return stream.getvalue()


def test_the_tasks_are_known_by_their_key_and_their_display_name(package: bytes) -> None:
    names = task_names(package)
    tasks = "prepare ingest preprocess train export evaluate push notify".split()
    assert set(names.values()) == set(tasks)
    assert names["train"] == "train"


def test_a_short_outage_is_waited_out(watch: Watch, kfp_server: Any) -> None:
    kfp_server.progress = [{"state": "SUCCEEDED", "tasks": {"push": "SUCCEEDED"}}]
    kfp_server.failures = 20
    assert watch.wait().outcome is Outcome.PUSHED
    assert printed(watch).count("(503); try again later; trying again") == 1
    # Longer and longer between two requests, up to ten seconds.
    assert 100 < watch.clock() < 200


def test_a_long_silence_ends_the_wait(watch: Watch, kfp_server: Any) -> None:
    kfp_server.failures = 10**6
    with pytest.raises(StillRunning, match=r"no answer for 9\d\d s"):
        watch.wait()


def test_a_token_that_is_renewed_too_late_is_waited_for(
    watch: Watch, kfp_server: Any, tmp_path: Path
) -> None:
    kfp_server.token = "second"
    kfp_server.progress = [{"state": "FAILED"}]
    clock: Any = watch.sleep.__self__  # type: ignore[attr-defined]

    def rotate() -> None:
        if clock.now > 30:
            (tmp_path / "token").write_text("second")

    clock.woken = rotate
    assert watch.wait().outcome is Outcome.FAILED
    assert 30 < clock.now < 60


def test_a_refusal_that_lasts_ends_the_wait_without_the_token(
    watch: Watch, kfp_server: Any
) -> None:
    kfp_server.token = "second"
    with pytest.raises(StillRunning, match=r"no answer for 1\d\d s .*401") as raised:
        watch.wait()
    assert "first" not in str(raised.value)


def test_a_timeout_ends_the_wait_in_an_outage_too(watch: Watch, kfp_server: Any) -> None:
    watch.timeout = 42
    kfp_server.failures = 10**6
    with pytest.raises(StillRunning, match="not ended after 42 s"):
        watch.wait()
    assert watch.clock() == pytest.approx(42.0, abs=0.1)


def test_a_run_that_goes_on_for_long_is_asked_for_every_ten_seconds(
    watch: Watch, kfp_server: Any
) -> None:
    kfp_server.progress = [{"state": "RUNNING"}] * 100 + [{"state": "CANCELED"}]
    assert watch.wait().outcome is Outcome.CANCELED
    assert 850 < watch.clock() < 1000


def test_a_task_that_KFP_tries_again_is_shown_again(watch: Watch, kfp_server: Any) -> None:
    kfp_server.progress = [
        {"state": "RUNNING", "tasks": {"train": "RUNNING"}},
        {"tasks": {"train": "FAILED"}},
        {"tasks": {"train": "RUNNING"}},
        {"state": "SUCCEEDED", "tasks": {"train": "SUCCEEDED", "push": "SUCCEEDED"}},
    ]
    ended = watch.wait()
    assert ended.tasks == {"train": "SUCCEEDED", "push": "SUCCEEDED"}
    words = [line.split()[1] for line in printed(watch).splitlines() if line.startswith("train")]
    assert words == ["running", "failed", "running", "done"]


def test_the_last_states_of_the_tasks_may_come_after_that_of_the_run(
    watch: Watch, kfp_server: Any
) -> None:
    before = {"evaluate": "SUCCEEDED", "notify": "RUNNING"}
    kfp_server.progress = [
        *[{"state": "SUCCEEDED", "tasks": before}] * 3,
        {"tasks": {"push": "PENDING"}},
        {"tasks": {"push": "RUNNING", "notify": "SUCCEEDED"}},
        {"tasks": {"push": "SUCCEEDED"}},
    ]
    ended = watch.wait()
    assert ended.outcome is Outcome.PUSHED
    assert ended.tasks == {"evaluate": "SUCCEEDED", "notify": "SUCCEEDED", "push": "SUCCEEDED"}


def test_a_task_that_appears_after_the_end_of_the_run_counts(watch: Watch, kfp_server: Any) -> None:
    kfp_server.progress = [
        *[{"state": "SUCCEEDED", "tasks": {"evaluate": "SUCCEEDED"}}] * 3,
        {"tasks": {"push": "SUCCEEDED"}},
    ]
    assert watch.wait().outcome is Outcome.PUSHED


def test_a_task_without_a_last_state_does_not_hold_the_end_up_for_ever(
    watch: Watch, kfp_server: Any
) -> None:
    kfp_server.progress = [{"state": "FAILED", "tasks": {"train": "RUNNING"}}]
    ended = watch.wait()
    assert (ended.outcome, ended.tasks) == (Outcome.FAILED, {"train": "RUNNING"})
    assert 30 <= watch.clock() < 40


@pytest.mark.parametrize(
    ("tasks", "outcome"),
    [
        (["prepare", "ingest", "notify"], Outcome.UNCHANGED),
        (["prepare", "ingest", "preprocess", "notify"], Outcome.SUCCEEDED),
        ([], Outcome.SUCCEEDED),
    ],
)
def test_a_run_that_ended_after_ingest_had_nothing_to_do(
    watch: Watch, kfp_server: Any, tasks: list[str], outcome: Outcome
) -> None:
    kfp_server.progress = [{"state": "SUCCEEDED", "tasks": dict.fromkeys(tasks, "SUCCEEDED")}]
    assert watch.wait().outcome is outcome


def test_why_a_pod_does_not_start_is_said_once(watch: Watch, kfp_server: Any) -> None:
    asked: list[str] = []

    def reasons(run_id: str) -> list[str]:
        asked.append(run_id)
        return ["ImagePullBackOff of x:1"]

    watch.reasons = reasons
    stuck = {"state": "RUNNING", "tasks": {"prepare": "RUNNING"}}
    kfp_server.progress = [stuck] * 30 + [{"state": "FAILED", "tasks": {"prepare": "FAILED"}}]
    assert watch.wait().outcome is Outcome.FAILED
    assert set(asked) == {watch.run_id} and len(asked) > 5
    assert printed(watch).count("prepare: ImagePullBackOff of x:1\n") == 1


def test_without_kubernetes_a_hint_is_given_after_minutes(watch: Watch, kfp_server: Any) -> None:
    stuck = {"state": "RUNNING", "tasks": {"ingest": "RUNNING"}}
    kfp_server.progress = [stuck] * 100 + [{"state": "FAILED"}]
    watch.wait()
    hint = f"kubectl get pods --selector pipeline/runid={watch.run_id}"
    assert printed(watch).count(hint) == 1
