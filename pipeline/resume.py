"""Resuming a run: `<run_dir>/run.json` keeps what to run."""

from pathlib import Path
from typing import Any

from components.shared.artifacts import read_json, write_json
from components.shared.errors import InputError
from components.shared.registry.registry import Registry
from components.shared.uris import redacted
from pipeline.config import PipelineConfig
from pipeline.kept import FINISHED, TASKS
from pipeline.plan import RunSpec, absolute, unwritable

RUN_FILE = "run.json"


def save(spec: RunSpec, settings: dict[str, Any], file: str = RUN_FILE) -> None:
    """Makes the folder of a run, and keeps in it what it takes to resume the run.

    A password or query in the URI of its source isn't kept.

    Args:
        spec: the run.
        settings: how its tasks are run, as JSON values.
        file: what keeps it; another name than a run's for what isn't one.

    Raises:
        InputError: the folder can't be made.
    """
    values = {
        "run_id": spec.run_id,
        "source": redacted(spec.source),
        "source_redacted": redacted(spec.source) != spec.source,
        "preset": spec.preset,
        "config": spec.config.to_mapping(),
        "serving_dir": spec.serving_dir,
        "image": spec.image,
        "skip_unchanged": spec.skip_unchanged,
        "settings": settings,
    }
    try:
        spec.run_dir.mkdir(parents=True)
    except OSError as error:
        raise unwritable(spec.run_dir.parent, error) from error
    write_json(spec.run_dir / file, values)


def load(
    pipeline_root: str, run_id: str, source: str | None, file: str = RUN_FILE
) -> tuple[RunSpec, dict[str, Any]]:
    """The run that is to be resumed, and the settings that `save` was given.

    Args:
        pipeline_root: the folder of its folder.
        run_id: its name.
        source: its source again, needed where that is a URI with a password, which isn't kept.
        file: what keeps it.

    Raises:
        InputError: there is no such run, or the source is missing or another one.
    """
    root = absolute("pipeline_root", pipeline_root)
    try:
        if root.is_dir():
            # glob passes over what may not be read.
            next(root.iterdir(), None)
        runs = {path.parent.name for path in root.glob(f"*/{file}")}
    except OSError as error:
        raise InputError(f"pipeline_root {root}: cannot be read ({error.strerror})") from error
    if run_id not in runs:
        known = f"the newest there is {max(runs)}" if runs else "none is there"
        raise InputError(
            f"--resume {run_id}: no {Path(file).stem} in {root} that could be resumed; {known}, "
            "or give its --pipeline-root"
        )
    path = root / run_id / file
    values = read_json(path)
    try:
        spec = RunSpec(
            run_id=values["run_id"],
            source=_source(values, source),
            preset=values["preset"],
            config=PipelineConfig.from_mapping(values["config"]),
            serving_dir=values["serving_dir"],
            run_dir=path.parent,
            image=values["image"],
            skip_unchanged=values["skip_unchanged"],
        )
        return spec, values["settings"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what a run keeps ({error!r}); start a new run") from error


def _source(values: dict[str, Any], given: str | None) -> str:
    kept = str(values["source"])
    if given is not None and redacted(given) != kept:
        raise InputError(f"source {redacted(given)}: the run's is {kept}; leave --source out")
    if values["source_redacted"] and given is None:
        raise InputError(
            f"source {kept}: the password or query of its URI wasn't kept; give --source again"
        )
    return given or kept


def forget_outdated(spec: RunSpec) -> None:
    """Has a candidate that wasn't promoted judged again where the champion is another by now.

    Raises:
        InputError, StorageFailure: the registry can't be read.
    """
    evaluated = spec.run_dir / TASKS / "evaluate"
    if not (evaluated / FINISHED).is_file():
        return
    judged = read_json(evaluated / "evaluation" / "evaluation.json")
    entries = Registry.open(spec.serving_dir).entries()
    # What was promoted stays so, whatever took its place since.
    if any(entry.run_id == spec.run_id for entry in entries):
        return
    if judged["champion_version"] != (entries[-1].version if entries else None):
        (evaluated / FINISHED).unlink()
