"""What a run has come to: gathered from the outputs of its tasks, and put into words."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.shared.accelerators import devices_text
from components.shared.artifacts import read_json
from components.shared.errors import InputError
from components.shared.outcome import read_outcome
from components.shared.reviews import SUMMARY
from pipeline.console import duration, printable
from pipeline.local import RunFailed, seconds_by_task
from pipeline.plan import RunSpec
from pipeline.stream import RUNNER, Task

_JUDGED = (
    *("source", "preset", "fingerprint", "splits", "test_split"),
    *("metrics", "baseline", "champion"),
)
_SPLITS = ("train", "validation", "test", "unsupervised")
_PROMINENT = ("accuracy", "loss", "auc")


def gather(spec: RunSpec, tasks: list[Task], total_seconds: float) -> dict[str, Any]:
    """The result of a run whose tasks have all succeeded, as JSON values.

    Raises:
        InputError: an output isn't there or holds no JSON.
        RunFailed: a task that had to run was skipped.
    """
    outputs = _task_outputs(spec.run_dir)
    unchanged = read_outcome(spec.run_dir).get("unchanged_since_version")
    made = _unchanged(outputs, unchanged) if unchanged else _made(spec, outputs, tasks)
    return {
        "run_id": spec.run_id,
        "unchanged": bool(unchanged),
        **made,
        "config": spec.config.to_mapping(),
        "serving_dir": spec.serving_dir,
        "run_dir": str(spec.run_dir),
        "seconds": {**seconds_by_task(tasks), "total": round(total_seconds, 3)},
    }


def _unchanged(outputs: Mapping[str, Path], version: int) -> dict[str, Any]:
    """What is known of a run that ended after ingest; `version` is the champion's."""
    summary = read_json(outputs["ingest"] / "reviews" / SUMMARY)
    return {
        **{key: summary[key] for key in ("source", "fingerprint", "splits")},
        "blessed": None,
        "serving_version": version,
    }


def _made(spec: RunSpec, outputs: Mapping[str, Path], tasks: list[Task]) -> dict[str, Any]:
    """What a run has made, and how it was judged."""
    if "evaluate" not in outputs:
        raise _skipped("the reviews are there", "all else", spec, tasks)
    judged = read_json(outputs["evaluate"] / "evaluation" / "evaluation.json")
    version = None
    if "push" in outputs:
        version = read_json(outputs["push"] / "pushed_model" / "pushed.json")["version"]
    elif judged["decision"]["blessed"]:
        raise _skipped("the model is blessed", "push", spec, tasks)
    return {
        **{key: judged[key] for key in _JUDGED},
        "devices": judged.get("devices"),
        "blessed": judged["decision"]["blessed"],
        "reasons": judged["decision"]["reasons"],
        "serving_version": version,
        "saved_model": str(outputs["export"] / "saved_model"),
        "report": str(outputs["evaluate"] / "evaluation" / "report.html"),
    }


def _skipped(found: str, skipped: str, spec: RunSpec, tasks: list[Task]) -> RunFailed:
    # KFP's local runner takes a condition that it can't evaluate for one that doesn't hold.
    return RunFailed(
        task=None,
        message=f"{found}, but the runner has skipped {skipped}",
        log=spec.run_dir / "logs" / f"{RUNNER}.log",
        seconds=seconds_by_task(tasks),
    )


def summary_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The result for a reader."""
    splits = result["splits"]
    sizes = ", ".join(f"{splits[name]:,} {name}" for name in _SPLITS if name in splits)
    yield ""
    yield _line("source", f"{result['source']}: {sizes}")
    yield from _unchanged_lines(result) if result["unchanged"] else _judged_lines(result)
    seconds = dict(result["seconds"])
    total = duration(seconds.pop("total"))
    parts = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    yield _line("time", f"{total} ({parts})")


def _unchanged_lines(result: Mapping[str, Any]) -> Iterator[str]:
    version = result["serving_version"]
    yield _line("unchanged", f"version {version} was made of the same reviews, configuration and")
    yield _line("", f"image; {result['serving_dir']} is as it was")


def _judged_lines(result: Mapping[str, Any]) -> Iterator[str]:
    if devices := result["devices"]:
        yield _line("trained on", devices_text(devices))
    yield _line("test", f"{_figures(result['metrics'])}  test split: {result['test_split']}")
    yield _line("", f"{_figures(result['baseline'])}  linear baseline")
    if champion := result["champion"]:
        figures = _figures(champion["metrics"])
        yield _line("", f"{figures}  champion, version {champion['version']}")
    yield _line("gate", "BLESSED" if result["blessed"] else "NOT_BLESSED")
    for reason in result["reasons"]:
        mark = "passed" if reason["passed"] else "failed"
        yield _line("", f"{mark}: {reason['sentence']}")
    yield _line("pushed", _where_pushed(result))
    yield _line("report", result["report"])


def failure(spec: RunSpec | None, error: Exception) -> dict[str, Any]:
    """What is known of a run that has failed, as JSON values; `spec` is None before it began."""
    failed = error if isinstance(error, RunFailed) else None
    return {
        "run_id": spec.run_id if spec else None,
        "run_dir": str(spec.run_dir) if spec else None,
        "error": _reason(failed) if failed else str(error),
        "input_error": failed.input_error if failed else isinstance(error, InputError),
        "task": failed.task if failed else None,
        "log": str(failed.log) if failed else None,
        "log_tail": failed.tail if failed and failed.message is None else [],
        "seconds": failed.seconds if failed else {},
    }


def failure_lines(failed: RunFailed) -> Iterator[str]:
    """Why a run has failed, for a reader."""
    yield ""
    if failed.message is not None:
        yield f"Error: {printable(_reason(failed))}"
    else:
        yield f"{_reason(failed)}; the end of its log:"
        yield from (f"    {printable(line)}" for line in failed.tail)
    yield f"The whole log: {failed.log}"


def resume_lines(spec: RunSpec | None, command: str = "run") -> Iterator[str]:
    """How to go on with a run that has ended before its end; nothing before it began.

    Args:
        spec: the run.
        command: what runs it.
    """
    if spec is not None and spec.run_dir.is_dir():
        root = f" --pipeline-root {shlex.quote(str(spec.run_dir.parent))}"
        yield f"To go on with it: imdb-pipeline {command} --resume {spec.run_id}{root}"


def _reason(failed: RunFailed) -> str:
    who = failed.task or "KFP's local runner"
    if failed.message is not None:
        return f"{who}: {failed.message}"
    if failed.tail[-1:] == ["Killed"]:
        return f"{who} was killed; this machine may be short of memory"
    return f"{who} failed"


def _task_outputs(run_dir: Path) -> dict[str, Path]:
    """The folder of each task that ran."""
    # KFP puts them into a folder that it names after the pipeline and the time.
    tasks = (path.parent for path in run_dir.glob("*/*/executor_output.json"))
    return {path.name: path for path in tasks}


def _where_pushed(result: Mapping[str, Any]) -> str:
    version = result["serving_version"]
    if version is None:
        return f"nothing; {result['serving_dir']} is as it was"
    return f"version {version}: {result['serving_dir']}/{version}"


def _figures(metrics: Mapping[str, Any]) -> str:
    known = ((name, metrics.get(name)) for name in _PROMINENT)
    return "  ".join(f"{name} {value:.4f}" for name, value in known if value is not None)


def _line(name: str, text: str) -> str:
    return f"{name:<11} {printable(text)}".rstrip()
