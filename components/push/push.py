"""Push: the blessed candidate becomes the champion, from where it is served."""

from pathlib import Path
from types import NoneType
from typing import Any

from components.shared.artifacts import atomic_directory, directory_sha256, read_json, write_json
from components.shared.champion_statistics import recorded_statistics
from components.shared.errors import InputError
from components.shared.registry.entries import Record, difference
from components.shared.registry.registry import Registry

EVALUATION_FILE = "evaluation.json"
STATISTICS_FILE = "statistics.json"
PUSHED_FILE = "pushed.json"

_RECORDED = {
    **dict.fromkeys(("source", "preset", "fingerprint", "test_fingerprint"), str),
    **dict.fromkeys(("config", "metrics"), dict),
}
_JUDGED: dict[str, Any] = {
    **_RECORDED,
    "decision": dict,
    "champion_version": (int, NoneType),
    "saved_model_manifest": dict,
}


def push(
    saved_model: str | Path,
    evaluation: str | Path,
    serving_dir: str | Path,
    run_id: str,
    output_dir: str | Path,
    *,
    image: str = "",
    statistics: str | Path | None = None,
) -> dict[str, Any]:
    """Promotes the candidate if it was blessed and the champion is still that of the evaluation.

    Done again for the same run and candidate it promotes nothing more and gives the same result.

    Args:
        saved_model: the candidate's folder.
        evaluation: the folder with the `evaluation.json` that evaluate wrote.
        serving_dir: the registry, a local path or a URL.
        run_id: the run that made the candidate.
        output_dir: the folder to make with `pushed.json`.
        image: the image that the run's tasks ran in; empty where it isn't known.
        statistics: the folder with the `statistics.json` that preprocess wrote; without it the
            drift of later reviews can't be checked.

    Returns:
        What `pushed.json` holds: `serving_dir`, `version`, and `manifest`, the SHA-256 of each
        file of the SavedModel by its relative path.

    Raises:
        InputError: the candidate wasn't blessed or isn't a SavedModel or isn't the one that was
            judged, or the evaluation or the registry can't be read.
        ChampionChanged: another run promoted since the candidate was judged.
        StorageFailure, OSError: the registry or `output_dir` can't be written.
    """
    judged = _read_blessed(Path(evaluation) / EVALUATION_FILE)
    _require_judged(saved_model, judged)
    registry = Registry.open(serving_dir)
    entry = registry.promote(
        saved_model,
        expected_champion=judged["champion_version"],
        record=Record(
            run_id=run_id,
            reasons=judged["decision"]["reasons"],
            image=image,
            statistics=_read_statistics(statistics),
            devices=judged.get("devices"),
            **{name: judged[name] for name in _RECORDED},
        ),
    )
    pushed = {
        "serving_dir": registry.location,
        "version": entry.version,
        "manifest": entry.manifest,
    }
    with atomic_directory(output_dir) as folder:
        write_json(folder / PUSHED_FILE, pushed)
    return pushed


def _read_statistics(folder: str | Path | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    path = Path(folder) / STATISTICS_FILE
    try:
        return recorded_statistics(read_json(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not as preprocess writes it; preprocess again") from error


def _read_blessed(path: Path) -> dict[str, Any]:
    """Reads an evaluation and refuses one that doesn't bless."""
    judged = read_json(path)
    values = judged if isinstance(judged, dict) else {}
    for name, types in _JUDGED.items():
        if not isinstance(values.get(name, ...), types):
            raise InputError(f"{path}: {name} is missing or of the wrong type; evaluate again")
    reasons = values["decision"].get("reasons")
    if not isinstance(reasons, list):
        raise InputError(f"{path}: the decision has no reasons; evaluate again")
    if values["decision"].get("blessed") is not True:
        failed = [reason["sentence"] for reason in reasons if not reason["passed"]]
        raise InputError(
            f"{path}: the candidate is NOT_BLESSED ({'; '.join(failed)}); only a blessed one is "
            "pushed"
        )
    return values


def _require_judged(saved_model: str | Path, judged: dict[str, Any]) -> None:
    """Refuses files that aren't those that were judged."""
    found = directory_sha256(saved_model)
    if differences := difference(judged["saved_model_manifest"], found):
        raise InputError(
            f"{saved_model}: not the candidate that was judged ({differences}); evaluate it again"
        )
