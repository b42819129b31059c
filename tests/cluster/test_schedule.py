"""`schedule` against a real KFP, that of KFP_HOST and the other KFP_ variables.

The schedules fire on New Year's Day at most, have names of their own, and are deleted in the end.
With KFP_TEST_MINUTES, one fires each minute for that many minutes while it is changed again and
again; its runs end soon, and badly, since they have no registry.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator

import kfp_server_api
import pytest

from pipeline.cli import main

MINUTES = int(os.environ.get("KFP_TEST_MINUTES", "0"))

pytestmark = pytest.mark.skipif(
    not os.environ.get("KFP_HOST"), reason="set KFP_HOST to the URL of a KFP to test against it"
)

Schedule = Callable[..., tuple[int, str, str]]


@pytest.fixture
def schedule(capsys: pytest.CaptureFixture[str]) -> Schedule:
    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["schedule", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def name(schedule: Schedule) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    schedule("delete", name, "--force")


def apply(schedule: Schedule, name: str, *options: str, cron: str = "0 0 1 1 *") -> str:
    image = os.environ.get("KFP_TEST_IMAGE")
    status, out, err = schedule(
        "apply", "--name", name, "--cron", cron, "--serving-dir", "/nonexistent",
        "--preset", "debug", *(["--image", image] if image else []), *options,
    )  # fmt: skip
    assert status == 0, err
    return out


def row(schedule: Schedule, name: str) -> dict:
    status, out, err = schedule("list", "--json")
    assert status == 0, err
    (found,) = (row for row in json.loads(out) if row["name"] == name)
    return found


def test_applied_twice_it_stays_as_it_is(schedule: Schedule, name: str) -> None:
    assert "new:" in apply(schedule, name)
    first = row(schedule, name)
    assert "as it is" in apply(schedule, name)
    assert row(schedule, name) == first


def test_a_change_makes_another_recurring_run(schedule: Schedule, name: str) -> None:
    apply(schedule, name)
    first = row(schedule, name)
    assert "train_config.num_epochs" in apply(schedule, name, "--set", "num_epochs=1")
    second = row(schedule, name)
    assert second["recurring_run_id"] != first["recurring_run_id"] and second["enabled"]
    assert "as it is" in apply(schedule, name, "--set", "num_epochs=1")


def test_pause_resume_and_delete(schedule: Schedule, name: str) -> None:
    apply(schedule, name)
    assert schedule("pause", name)[0] == 0
    assert not row(schedule, name)["enabled"]
    assert schedule("resume", name)[0] == 0
    assert row(schedule, name)["enabled"] and row(schedule, name)["last_run"] is None
    assert "as it is" in apply(schedule, name)
    assert schedule("delete", name)[0] == 0
    assert schedule("pause", name)[0] == 2


@pytest.mark.skipif(not MINUTES, reason="set KFP_TEST_MINUTES to let a schedule fire for so long")
def test_changed_again_and_again_it_fires_each_minute_once(schedule: Schedule, name: str) -> None:
    apply(schedule, name, "--max-concurrency", "10", cron="* * * * *")
    ids = {row(schedule, name)["recurring_run_id"]}
    end, epochs = time.monotonic() + 60 * MINUTES, 1
    while time.monotonic() < end:
        epochs += 1
        options = ["--max-concurrency", "10", "--set", f"num_epochs={epochs}"]
        apply(schedule, name, *options, cron="* * * * *")
        ids.add(row(schedule, name)["recurring_run_id"])
        time.sleep(20)
    schedule("pause", name)
    fired = sorted(minute for identity in ids for minute in minutes_of(identity))
    assert len(fired) >= MINUTES - 1
    assert fired == list(range(fired[0], fired[0] + len(fired)))


def minutes_of(recurring_run_id: str) -> list[int]:
    """The minutes, since 1970, that a recurring run has runs for."""
    from pipeline.cluster.connection import connect
    from pipeline.cluster.content import equals
    from pipeline.commands.cluster import chosen_cluster

    given = {"host": os.environ["KFP_HOST"], "namespace": os.environ.get("KFP_NAMESPACE")}
    files = dict.fromkeys(("token_file", "cookie_file", "ca_file", "ui_url"))
    connection = connect(chosen_cluster(given | files, os.environ))
    scope = {"namespace": connection.namespace} if connection.namespace else {}
    found: kfp_server_api.V2beta1ListRunsResponse = connection.runs.run_service_list_runs(
        page_size=100, filter=equals("recurring_run_id", recurring_run_id), **scope
    )
    return [int(run.scheduled_at.timestamp() // 60) for run in found.runs or []]
