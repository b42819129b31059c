"""What is told of a run that has ended."""

import json
from typing import Any

import pytest

from components.notify.message import message

JUDGED = {
    "unchanged_since_version": None,
    "failure": None,
    "source": "bundled",
    "preset": "default",
    "fingerprint": "f" * 64,
    "metrics": {"accuracy": 0.91234, "loss": 0.25, "auc": None},
    "champion_version": 3,
    "blessed": True,
    "reasons": [{"name": "min_accuracy", "passed": True, "sentence": "accuracy is enough"}],
}
REFUSED = {
    **JUDGED,
    "blessed": False,
    "reasons": [{"name": "max_loss", "passed": False, "sentence": "loss 0.25 is too much"}],
}
PUSHED = {**JUDGED, "version": 4}
UNCHANGED = {"failure": None, "unchanged_since_version": 3}
FAILED = {"failure": {"task": "ingest", "message": "no review"}}


def tell(noted: dict[str, Any], state: str = "SUCCEEDED", **changes: Any) -> dict[str, Any]:
    given = {
        "kfp_state": state,
        "kfp_error": None,
        "run_id": "run-1",
        "run_name": "nightly 7",
        "ui_url": "https://kfp.example/",
    }
    told = message(noted, **{**given, **changes})
    assert json.loads(json.dumps(told)) == told
    return told


def test_a_pushed_model_is_told_with_all_there_is_to_know() -> None:
    told = tell(PUSHED)
    assert (told["run_id"], told["run_name"]) == ("run-1", "nightly 7")
    assert (told["state"], told["outcome"], told["version"]) == ("SUCCEEDED", "BLESSED", 4)
    assert (told["metrics"], told["reasons"]) == (PUSHED["metrics"], PUSHED["reasons"])
    assert told["champion_version"] == 3 and told["error"] is None and told["blessed"] is True
    assert told["link"] == "https://kfp.example/#/runs/details/run-1"
    assert told["text"] == (
        "nightly 7 (run-1): BLESSED, version 4; accuracy 0.9123, loss 0.2500; "
        "https://kfp.example/#/runs/details/run-1"
    )


@pytest.mark.parametrize(
    ("noted", "outcome", "words"),
    [
        (REFUSED, "NOT_BLESSED", ["NOT_BLESSED", "loss 0.25 is too much"]),
        (UNCHANGED, "UNCHANGED", ["nothing changed since version 3"]),
    ],
)
def test_no_new_champion_is_no_failure(
    noted: dict[str, Any], outcome: str, words: list[str]
) -> None:
    told = tell(noted)
    assert (told["state"], told["outcome"]) == ("SUCCEEDED", outcome)
    assert all(word in told["text"] for word in words)


def test_a_failure_tells_the_task_and_why() -> None:
    told = tell(FAILED, "FAILED", kfp_error="Task exit-handler-1 failed.")
    assert (told["state"], told["outcome"], told["metrics"]) == ("FAILED", "NONE", None)
    assert told["error"] == {"task": "ingest", "message": "no review"}
    assert "FAILED in ingest: no review" in told["text"]


def test_a_failure_that_no_task_noted_is_told_in_the_words_of_kfp() -> None:
    told = tell({}, "FAILED", kfp_error="OOMKilled")
    assert told["error"] == {"task": None, "message": "OOMKilled"}
    assert "log" in tell({}, "FAILED")["error"]["message"]


def test_a_push_that_failed_is_a_failure_with_the_metrics() -> None:
    told = tell({**JUDGED, "failure": {"task": "push", "message": "champion changed"}}, "FAILED")
    assert (told["state"], told["version"]) == ("FAILED", None)
    assert told["metrics"] == JUDGED["metrics"]


@pytest.mark.parametrize(
    ("noted", "state"),
    [(PUSHED, "SUCCEEDED"), (REFUSED, "SUCCEEDED"), (UNCHANGED, "SUCCEEDED"), (JUDGED, "FAILED"),
     (FAILED, "FAILED"), ({}, "FAILED")],
)  # fmt: skip
def test_where_kfp_says_the_tasks_still_run_what_they_noted_tells(
    noted: dict[str, Any], state: str
) -> None:
    assert tell(noted, "RUNNING")["state"] == state


@pytest.mark.parametrize("state", ["CANCELED", "CANCELLED"])
def test_a_cancelled_run_is_told_as_such(state: str) -> None:
    told = tell({}, state)
    assert told["state"] == "CANCELLED" and told["error"] is None
    assert "CANCELLED" in told["text"]


def test_without_a_user_interface_there_is_no_link() -> None:
    told = tell(PUSHED, ui_url="", run_name="run-1")
    assert told["link"] is None
    assert told["text"].startswith("run-1: BLESSED") and told["text"].endswith("loss 0.2500")
