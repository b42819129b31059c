"""`schedule` on the command line, against the stand-ins for KFP's API and for its controller.

Both run on a clock of the test's own: KFP's controller takes half a minute to look, and the cron
counts in minutes.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest

from pipeline.config import preset

EPOCHS = preset("default").train.num_epochs
NIGHTLY = 'cron: "0 2 * * *"\n'
MINUTELY = 'cron: "* * * * *"\n'


def only(store: dict[str, Any]) -> Any:
    (item,) = store.values()
    return item


def modes(cluster: Any) -> list[str]:
    return [item.mode for item in cluster.server.recurring_runs.values()]


def test_a_schedule_is_made_with_its_parameters(apply: Any, cluster: Any) -> None:
    status, _, err = apply(
        NIGHTLY + "source: bundled\npreset: debug\nset: {num_epochs: 3}\nexperiment: nights\n"
        "pipeline_root: s3://b/root\nservice_account: trainer\nkubernetes: {image: 'r/x:1'}\n"
    )
    assert (status, err) == (0, "")
    made = only(cluster.server.recurring_runs)
    assert made.trigger.cron_schedule.cron == "0 0 2 * * *"
    assert (made.mode, made.no_catchup, made.max_concurrency) == ("ENABLE", True, "1")
    assert made.service_account == "trainer"
    assert made.runtime_config.pipeline_root == "s3://b/root"
    parameters = made.runtime_config.parameters
    assert parameters["skip_unchanged"] is True
    assert parameters["train_config"]["num_epochs"] == 3
    assert (parameters["source"], parameters["preset"]) == ("bundled", "debug")
    assert cluster.server.experiments[made.experiment_id].display_name == "nights"
    assert b"r/x:1" in only(cluster.server.packages)


def test_an_image_that_no_cluster_can_pull_is_told_of(apply: Any) -> None:
    assert "names no registry" in apply(NIGHTLY, "--dry-run").out
    out = apply(NIGHTLY + "kubernetes: {image: 'r.example/imdb:1'}\n", "--dry-run").out
    assert "registry" not in out


def test_a_notification_links_to_where_others_get_and_to_no_port_forward(
    apply: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(NIGHTLY)
    made = only(cluster.server.recurring_runs)
    assert made.runtime_config.parameters["ui_url"] == ""
    monkeypatch.setenv("KFP_UI_URL", "https://ui.example")
    apply(NIGHTLY + "preset: debug\n")
    made = only(cluster.server.recurring_runs)
    assert made.runtime_config.parameters["ui_url"] == "https://ui.example"


def test_the_next_five_times_come_before_anything_is_sent(apply: Any, cluster: Any) -> None:
    cluster.server.failures = 1
    status, out, err = apply(NIGHTLY)
    assert status == 1 and err.count("\n") == 1
    assert [line.strip() for line in out.splitlines()[1:7]] == [
        "cron 0 0 2 * * * (UTC), next:",
        "Mon 2026-03-02 02:00:00 UTC",
        "Tue 2026-03-03 02:00:00 UTC",
        "Wed 2026-03-04 02:00:00 UTC",
        "Thu 2026-03-05 02:00:00 UTC",
        "Fri 2026-03-06 02:00:00 UTC",
    ]


def test_applied_twice_it_sends_nothing_the_second_time(apply: Any, cluster: Any) -> None:
    text = NIGHTLY + "set: {learning_rate: 0.001, seed: 7}\nui_url: https://ui.example\n"
    apply(text)
    assert cluster.writes()
    status, out, err = apply(text)
    assert (status, err) == (0, "") and "as it is" in out
    assert cluster.writes() == []


def test_options_say_the_same_as_a_file(apply: Any, schedule: Any, cluster: Any) -> None:
    apply(NIGHTLY + "preset: debug\nset: {num_epochs: 3}\nkubernetes: {env: [A=b]}\n")
    cluster.writes()
    status, out, _ = schedule(
        "apply", "--name", "nightly", "--cron", "0 2 * * *", "--serving-dir", "s3://models/imdb",
        "--preset", "debug", "--set", "num_epochs=3", "--env", "A=b",
    )  # fmt: skip
    assert status == 0 and "as it is" in out
    assert cluster.writes() == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("catchup: true\n", "catchup: false -> true"),
        ("max_concurrency: 2\n", "max_concurrency: 1 -> 2"),
        ("preset: debug\n", "preset: default -> debug"),
        ("set: {num_epochs: 9}\n", f"train_config.num_epochs: {EPOCHS} -> 9"),
        ("experiment: other\n", "experiment: imdb-sentiment -> other"),
        ("service_account: other\n", "service_account: none -> other"),
        ("skip_unchanged: false\n", "skip_unchanged: true -> false"),
        ("kubernetes: {image: 'r/x:2'}\n", "pipeline_version: sha256-"),
        ("cache: false\n", "pipeline_version: sha256-"),
        ("ui_url: https://ui.example\n", "ui_url: none -> https://ui.example"),
        ("enabled: false\n", "enabled: true -> false"),
    ],
)
def test_a_change_is_shown_then_made_and_then_it_is_as_it_is(
    apply: Any, cluster: Any, change: str, line: str
) -> None:
    apply(NIGHTLY)
    cluster.writes()
    _, out, _ = apply(NIGHTLY + change, "--dry-run")
    assert line in out and cluster.writes() == []
    assert apply(NIGHTLY + change).status == 0
    assert cluster.writes()
    assert len(cluster.server.recurring_runs) == 1
    assert "as it is" in apply(NIGHTLY + change).out
    assert cluster.writes() == []


def test_a_change_back_is_a_change(apply: Any, cluster: Any) -> None:
    for text in (NIGHTLY, NIGHTLY + "service_account: a\n", NIGHTLY):
        apply(text)
    assert only(cluster.server.recurring_runs).service_account == "pipeline-runner"


@pytest.mark.parametrize("seconds", [0, 1, 3, 7, 11, 16])
def test_a_change_fires_each_time_once(apply: Any, cluster: Any, seconds: int) -> None:
    """So many seconds pass with each request, a firing comes between any two of them."""
    five = 'cron: "*/5 * * * *"\n'
    apply(five)
    cluster.server.before_request = lambda method, path: cluster.pass_time(seconds)
    for epochs in range(2, 5):
        assert apply(five + f"set: {{num_epochs: {epochs}}}\n").status == 0
    cluster.server.before_request = lambda method, path: None
    cluster.pass_time(300)
    fired = cluster.controller.fired
    assert modes(cluster) == ["ENABLE"]
    assert fired == [fired[0] + timedelta(minutes=5 * n) for n in range(len(fired))]


@pytest.mark.parametrize("lost", range(4))
def test_a_change_that_broke_off_is_finished_by_the_next_call(
    apply: Any, cluster: Any, lost: int
) -> None:
    """The server fails at one of the four requests that change something."""
    apply(MINUTELY)
    cluster.pass_time(60)
    left = [lost]

    def fail(method: str, path: str) -> None:
        if method != "GET" and "recurringruns" in path:
            cluster.server.failures = left[0] == 0
            left[0] -= 1

    cluster.server.before_request = fail
    status, _, err = apply(MINUTELY + "preset: debug\n")
    assert status == 1 and err.count("\n") == 1
    cluster.server.before_request = lambda method, path: None
    cluster.pass_time(60)
    assert apply(MINUTELY + "preset: debug\n").status == 0
    cluster.pass_time(0)
    cluster.pass_time(60)
    made = only(cluster.server.recurring_runs)
    assert made.runtime_config.parameters["preset"] == "debug" and made.mode == "ENABLE"
    fired = cluster.controller.fired
    assert len(fired) == 3 and fired == [fired[0] + timedelta(minutes=n) for n in range(3)]


def test_what_is_in_flight_goes_on_and_its_recurring_run_is_deleted_later(
    apply: Any, cluster: Any
) -> None:
    apply(MINUTELY)
    cluster.controller.busy = True
    cluster.pass_time(60)
    old = only(cluster.server.recurring_runs)
    (run,) = cluster.runs(old.recurring_run_id)
    assert apply(MINUTELY + "preset: debug\n").status == 0
    assert modes(cluster) == ["DISABLE", "ENABLE"] and run.state == "RUNNING"
    cluster.writes()
    assert "kept for its run in flight" in apply(MINUTELY + "preset: debug\n").out
    assert cluster.writes() == []
    cluster.end_runs()
    assert apply(MINUTELY + "preset: debug\n").status == 0
    assert modes(cluster) == ["ENABLE"]


def test_a_refused_change_leaves_the_schedule_as_it_was(apply: Any, cluster: Any) -> None:
    apply(MINUTELY)
    cluster.writes()
    cluster.server.rejected = "unknown template format"
    status, _, err = apply(MINUTELY + "kubernetes: {image: 'r/x:2'}\n")
    assert status == 2 and "unknown template format" in err
    assert modes(cluster) == ["ENABLE"]
    assert not [write for write in cluster.writes() if "recurringruns" in write]


def test_a_change_waits_for_a_firing_that_is_close_by(apply: Any, cluster: Any) -> None:
    apply(MINUTELY)
    cluster.controller.advance(25)
    _, out, _ = apply(MINUTELY + "preset: debug\n")
    assert "waiting for a firing that is close by" in out
    cluster.pass_time(60)
    assert len(cluster.controller.fired) == len(set(cluster.controller.fired)) == 2


def test_pause_and_resume_make_up_for_nothing(apply: Any, schedule: Any, cluster: Any) -> None:
    apply(MINUTELY)
    assert schedule("pause", "nightly").status == 0
    assert modes(cluster) == ["DISABLE"]
    cluster.pass_time(600)
    assert schedule("resume", "nightly").status == 0
    cluster.pass_time(0)
    assert modes(cluster) == ["ENABLE"] and cluster.controller.fired == []
    cluster.pass_time(60)
    assert len(cluster.controller.fired) == 1
    cluster.writes()
    assert "as it is" in apply(MINUTELY).out
    assert "isn't paused" in schedule("resume", "nightly").out
    assert cluster.writes() == []
    schedule("pause", "nightly")
    assert "paused already" in schedule("pause", "nightly").out


def test_a_resumed_schedule_keeps_all_it_had(apply: Any, schedule: Any, cluster: Any) -> None:
    text = NIGHTLY + "preset: debug\nset: {num_epochs: 4}\nservice_account: a\nmax_concurrency: 3\n"
    apply(text)
    before = only(cluster.server.recurring_runs)
    schedule("pause", "nightly")
    schedule("resume", "nightly")
    after = only(cluster.server.recurring_runs)
    assert after.recurring_run_id != before.recurring_run_id
    for key in ("runtime_config", "service_account", "max_concurrency", "no_catchup",
                "pipeline_version_reference", "experiment_id", "display_name"):  # fmt: skip
        assert getattr(after, key) == getattr(before, key)


def test_a_run_in_flight_survives_a_pause_and_is_ended_by_a_forced_delete_alone(
    apply: Any, schedule: Any, cluster: Any
) -> None:
    apply(MINUTELY)
    cluster.controller.busy = True
    cluster.pass_time(60)
    schedule("pause", "nightly")
    run = only(cluster.server.runs)
    assert run.state == "RUNNING"
    status, _, err = schedule("delete", "nightly")
    assert status == 1 and "1 run in flight" in err and "--force" in err
    assert (modes(cluster), run.state) == (["DISABLE"], "RUNNING")
    status, out, _ = schedule("delete", "nightly", "--force")
    assert status == 0 and "with 1 run in flight" in out
    assert not cluster.server.recurring_runs and run.state == "FAILED"


def test_delete_with_nothing_in_flight(apply: Any, schedule: Any, cluster: Any) -> None:
    apply(NIGHTLY)
    apply(NIGHTLY, name="other")
    assert schedule("delete", "nightly").status == 0
    assert only(cluster.server.recurring_runs).display_name == "other"
    status, _, err = schedule("delete", "nightly")
    assert status == 2 and "no such schedule; there are: other" in err


@pytest.mark.parametrize("command", [["pause"], ["resume"], ["delete"], ["delete", "--force"]])
def test_what_someone_else_made_is_never_touched(
    apply: Any, schedule: Any, cluster: Any, command: list[str]
) -> None:
    apply(NIGHTLY)
    mine = only(cluster.server.recurring_runs)
    foreign = kfp_server_api.V2beta1RecurringRun(**{
        **{key: getattr(mine, key) for key in mine.openapi_types},
        "recurring_run_id": "theirs", "description": "by hand",
    })  # fmt: skip
    copy = kfp_server_api.V2beta1RecurringRun(**{
        **{key: getattr(mine, key) for key in mine.openapi_types},
        "recurring_run_id": "copy", "display_name": "Clone of nightly",
    })  # fmt: skip
    cluster.server.recurring_runs.clear()
    cluster.server.recurring_runs |= {"theirs": foreign, "copy": copy}
    cluster.writes()
    for status, _, err in (apply(NIGHTLY), schedule(*command, "nightly")):
        assert status == 2 and "imdb-pipeline schedule didn't make" in err and "theirs" in err
    assert schedule("list").out == "No schedules\n"
    assert cluster.writes() == []


def test_list_tells_when_it_fires_next_and_how_the_last_run_went(
    apply: Any, schedule: Any, cluster: Any
) -> None:
    apply(MINUTELY + "preset: debug\n", name="often")
    apply(NIGHTLY)
    apply(NIGHTLY, name="third")
    schedule("pause", "third")
    cluster.pass_time(90)
    rows = {row["name"]: row for row in json.loads(schedule("list", "--json").out)}
    assert list(rows) == ["nightly", "often", "third"]
    assert rows["often"]["last_run"]["state"] == "SUCCEEDED"
    assert rows["often"]["last_run"]["scheduled_at"] == "2026-03-01T12:02:00Z"
    assert (rows["often"]["next"], rows["often"]["preset"]) == ("2026-03-01T12:03:00Z", "debug")
    assert (rows["nightly"]["next"], rows["nightly"]["last_run"]) == ("2026-03-02T02:00:00Z", None)
    assert (rows["third"]["next"], rows["third"]["enabled"]) == (None, False)
    out = schedule("list").out.splitlines()
    assert len(out) == 4 and "paused" in out[3] and "SUCCEEDED 2026-03-01T12:02:00Z" in out[2]


def test_a_time_zone_must_be_the_clusters(apply: Any, cluster: Any) -> None:
    text = NIGHTLY + "time_zone: Europe/Zurich\n"
    status, _, err = apply(text)
    assert status == 2 and "CRON_SCHEDULE_TIMEZONE" in err and "--cluster-time-zone" in err
    status, out, _ = apply(text, "--cluster-time-zone", "Europe/Zurich", "--dry-run")
    assert status == 0
    assert "Mon 2026-03-02 02:00:00 CET  (Mon 2026-03-02 01:00:00 UTC)" in out
    assert cluster.writes() == []


def test_each_namespace_has_schedules_of_its_own(apply: Any, schedule: Any, cluster: Any) -> None:
    cluster.server.multi_user = True
    for namespace in ("team-a", "team-b"):
        assert apply(NIGHTLY + f"namespace: {namespace}\n").status == 0
        cluster.writes()
        assert "as it is" in apply(NIGHTLY + f"namespace: {namespace}\n").out
        assert cluster.writes() == []
    assert {item.namespace for item in cluster.server.recurring_runs.values()} == {
        "team-a", "team-b",
    }  # fmt: skip
    assert len(json.loads(schedule("list", "--json", "--namespace", "team-a").out)) == 1


def test_several_schedules_of_one_file_are_all_applied(
    schedule: Any, cluster: Any, tmp_path: Path
) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text(
        "schedules:\n"
        '- {name: a, cron: "@daily", serving_dir: s3://m}\n'
        '- {name: b, cron: "@weekly", serving_dir: s3://m}\n'
    )
    assert schedule("apply", "-f", str(file)).status == 0
    found = cluster.server.recurring_runs.values()
    assert {(item.display_name, item.trigger.cron_schedule.cron) for item in found} == {
        ("a", "0 0 0 * * *"), ("b", "0 0 0 * * 0"),
    }  # fmt: skip


def test_a_file_and_options_that_say_what_is_scheduled_dont_go_together(
    schedule: Any, cluster: Any
) -> None:
    status, _, err = schedule("apply", "-f", "x.yaml", "--cron", "@daily", "--image", "a")
    assert status == 2 and "leave out --cron, --image" in err
    status, _, err = schedule("apply", "--name", "a")
    assert status == 2 and "--cron, --serving-dir" in err
    assert cluster.server.requests == []


def test_nothing_secret_is_in_a_description(apply: Any, cluster: Any) -> None:
    apply(NIGHTLY + "kubernetes: {env: [PASSWORD=s3cret], webhook_secret: 'hooks:url'}\n")
    description = only(cluster.server.recurring_runs).description
    assert "s3cret" not in description and "hooks" not in description
