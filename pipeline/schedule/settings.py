"""The settings of a schedule as plain values: to name them, to compare them, to show a change."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.cluster.content import version_name
from pipeline.schedule.spec import Schedule

Settings = dict[str, Any]
"""From a key that a user knows to its value; a parameter of the pipeline has the parameter's name,
and a key of a task's configuration TASK_config.KEY."""


def wanted_settings(schedule: Schedule, package: bytes) -> Settings:
    """What a schedule asks for, all but whether it is on.

    Args:
        schedule: the schedule.
        package: its compiled pipeline, which holds what isn't a parameter.
    """
    return settings(
        cron=schedule.six_fields.text,
        catchup=schedule.catchup,
        max_concurrency=schedule.max_concurrency,
        experiment=schedule.experiment,
        pipeline_version=version_name(package),
        parameters=schedule.request("").arguments(),
        **asked(schedule),
    )


def asked(schedule: Schedule) -> dict[str, Any]:
    """What KFP or the command line fill in where a schedule doesn't say it."""
    return {key: getattr(schedule, key) for key in ("pipeline_root", "service_account", "ui_url")}


def settings(*, parameters: Mapping[str, Any], **others: Any) -> Settings:
    """Settings with the parameters of the pipeline spread out among them."""
    flat: Settings = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": _number(inner) for key, inner in value.items()}
        else:
            flat[name] = _number(value)
    return others | {name: value for name, value in flat.items() if name not in others}


def digest(values: Settings) -> str:
    """Names settings: the same ones, the same name."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Settings, new: Settings) -> list[str]:
    """The changes from `old` to `new`, a line each."""
    return [
        f"{key}: {shown(old.get(key))} -> {shown(new.get(key))}"
        for key in [*new, *(key for key in old if key not in new)]
        if old.get(key) != new.get(key)
    ]


def _number(value: Any) -> Any:
    # KFP carries every number as a double, so 64 arrives as 64.0.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else value


def shown(value: Any) -> str:
    """A value of a setting, to read."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.15g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
