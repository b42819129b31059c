"""What is told of a run that has ended."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

_FIGURES = ("accuracy", "loss", "auc")
_ENDED_WELL = ("SUCCEEDED", "COMPLETE")


class State(StrEnum):
    """How a run can have ended; a model that isn't blessed, or isn't needed, is no failure."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Outcome(StrEnum):
    """What a run can have come to."""

    BLESSED = "BLESSED"
    NOT_BLESSED = "NOT_BLESSED"
    UNCHANGED = "UNCHANGED"
    NONE = "NONE"


def message(
    noted: Mapping[str, Any],
    *,
    kfp_state: str,
    kfp_error: str | None,
    run_id: str,
    run_name: str,
    ui_url: str,
) -> dict[str, Any]:
    """The outcome of a run as JSON values.

    Args:
        noted: what the tasks noted in the workspace.
        kfp_state: the state of the tasks as KFP sees it; some versions say RUNNING.
        kfp_error: what KFP says of a failure.
        run_id: the run.
        run_name: its name.
        ui_url: where KFP's user interface is; empty for no link.

    Returns:
        `run_id`, `run_name`, `state` and `outcome`, values of `State` and `Outcome`; `metrics` on
        test, `blessed` and `reasons` of the gate, `source`, `preset`, `fingerprint` and
        `champion_version` (that it was judged against), null where the run didn't get so far;
        `version`, that was pushed or, of an unchanged run, is the champion; `error`, its `task`
        and `message`, or null; `link`, or null; and `text`, all of it in a line, for chats.
    """
    outcome = _outcome(noted)
    state = _state(outcome, kfp_state)
    error = _error(noted, kfp_error) if state is State.FAILED else None
    link = f"{ui_url.rstrip('/')}/#/runs/details/{run_id}" if ui_url else None
    told = {
        "run_id": run_id,
        "run_name": run_name,
        "state": state,
        "outcome": outcome,
        **{key: noted.get(key) for key in ("source", "preset", "fingerprint", "metrics")},
        **{key: noted.get(key) for key in ("blessed", "reasons")},
        "champion_version": noted.get("champion_version"),
        "version": noted.get("version") or noted.get("unchanged_since_version"),
        "error": error,
        "link": link,
    }
    return {**told, "text": _text(told)}


def _outcome(noted: Mapping[str, Any]) -> Outcome:
    if noted.get("unchanged_since_version"):
        return Outcome.UNCHANGED
    if noted.get("blessed") is False:
        return Outcome.NOT_BLESSED
    return Outcome.BLESSED if noted.get("version") else Outcome.NONE


def _state(outcome: Outcome, kfp_state: str) -> State:
    if kfp_state in ("CANCELED", "CANCELLED", "CANCELING"):
        return State.CANCELLED
    # KFP up to 2.16 leaves tasks behind a condition RUNNING; then what was noted tells.
    if kfp_state == "FAILED" or (outcome is Outcome.NONE and kfp_state not in _ENDED_WELL):
        return State.FAILED
    return State.SUCCEEDED


def _error(noted: Mapping[str, Any], kfp_error: str | None) -> dict[str, Any]:
    failure: dict[str, Any] | None = noted.get("failure")
    return failure or {"task": None, "message": kfp_error or "a task failed; its log says why"}


def _text(told: Mapping[str, Any]) -> str:
    """The message as a sentence."""
    run = told["run_id"]
    if told["run_name"] != run:
        run = f"{told['run_name']} ({run})"
    parts = [f"{run}: {_what(told)}"]
    figures = told["metrics"] or {}
    known = [f"{name} {figures[name]:.4f}" for name in _FIGURES if figures.get(name) is not None]
    parts += [", ".join(known)] if known else []
    failed = [reason["sentence"] for reason in told["reasons"] or [] if not reason["passed"]]
    parts += failed + ([told["link"]] if told["link"] else [])
    return "; ".join(parts)


def _what(told: Mapping[str, Any]) -> str:
    if told["error"]:
        task = f" in {told['error']['task']}" if told["error"]["task"] else ""
        return f"{State.FAILED}{task}: {told['error']['message']}"
    if told["state"] is State.CANCELLED or told["outcome"] is Outcome.NONE:
        return str(told["state"])
    if told["outcome"] is Outcome.UNCHANGED:
        return f"nothing changed since version {told['version']}"
    return f"BLESSED, version {told['version']}" if told["version"] else str(told["outcome"])
