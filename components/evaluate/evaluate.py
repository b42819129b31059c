"""Evaluate: judges what would be served, on raw reviews, against the champion and a floor."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.evaluate.baseline import linear_baseline
from components.evaluate.gate import ChampionComparison, Evidence, decide
from components.evaluate.metrics import Predictions
from components.evaluate.report import Judged, render_report
from components.evaluate.served import ServedModel
from components.evaluate.split import Split, read_split
from components.shared import events
from components.shared.artifacts import atomic_directory, directory_sha256, read_json, write_json
from components.shared.config import EvaluateConfig
from components.shared.registry import Registry
from components.shared.reviews import SUMMARY, TEST, TRAIN

EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"


def evaluate(
    saved_model: str | Path,
    reviews: str | Path,
    serving_dir: str | Path,
    config: EvaluateConfig,
    record: Mapping[str, Any],
    output_dir: str | Path,
) -> dict[str, Any]:
    """Judges a candidate on the whole test split, and writes `evaluation.json` and `report.html`.

    The same inputs, with the same champion, give the same bytes.

    Args:
        saved_model: the candidate's folder.
        reviews: the prepared TFDS data set.
        serving_dir: the registry that holds the champion, if any: a local path or a URL.
        config: the gate's thresholds.
        record: what to keep of the run: `preset` and `config`.
        output_dir: the folder to make; it appears whole or not at all.

    Returns:
        What `evaluation.json` holds. Of the candidate: what `metrics.describe` gives (`metrics`,
        `slices`, `roc`, `confusion_matrix`, `calibration`, `invalid_predictions`), `decision`
        (`blessed` and `reasons`) and `saved_model_manifest`. Beside it: `baseline`, the linear
        baseline's metrics, `champion`, `version` and `metrics` or None, and `champion_version`.
        Of the reviews: `source`, `test_split`, `splits` (rows by name) and `fingerprint`. Of the
        run: `preset` and `config`.

    Raises:
        InputError: the candidate, the reviews or the registry can't be used.
    """
    registry = Registry.open(serving_dir)
    entry = registry.champion()
    candidate = ServedModel(saved_model)
    test = read_split(reviews, TEST)
    models = {"candidate": candidate.predict(test.texts, "candidate")}
    if entry is not None:
        models["champion"] = _ask_champion(registry, entry.version, test)
    models["baseline"] = _fit_baseline(reviews, test)

    version = entry.version if entry is not None else None
    judged = Judged(test, models)
    evaluation = {
        **_findings(judged, version, config),
        **_about_reviews(reviews),
        "preset": record["preset"],
        "config": record["config"],
        "saved_model_manifest": directory_sha256(saved_model),
    }
    with atomic_directory(output_dir) as folder:
        write_json(folder / EVALUATION_FILE, evaluation)
        (folder / REPORT_FILE).write_text(render_report(evaluation, judged), encoding="utf-8")
    return evaluation


def _ask_champion(registry: Registry, version: int, test: Split) -> Predictions:
    with tempfile.TemporaryDirectory() as scratch:
        champion = ServedModel(registry.fetch(version, scratch))
        return champion.predict(test.texts, "champion")


def _fit_baseline(reviews: str | Path, test: Split) -> Predictions:
    train = read_split(reviews, TRAIN)
    events.progress(f"fitting the linear baseline to {len(train.texts):,} reviews")
    return linear_baseline(train.plain_texts, train.labels, test.plain_texts)


def _findings(judged: Judged, version: int | None, config: EvaluateConfig) -> dict[str, Any]:
    """What is found of each model, and the decision on the candidate."""
    candidate, baseline = (judged.descriptions[name] for name in ("candidate", "baseline"))
    champion = None
    if version is not None:
        metrics = judged.descriptions["champion"]["metrics"]
        champion = {"version": version, "metrics": metrics}
    evidence = Evidence(
        metrics=candidate["metrics"],
        champion=_comparison(judged, version),
        baseline_accuracy=baseline["metrics"]["accuracy"],
    )
    return {
        **candidate,
        "baseline": baseline["metrics"],
        "champion": champion,
        "champion_version": version,
        "decision": decide(evidence, config).to_mapping(),
    }


def _comparison(judged: Judged, version: int | None) -> ChampionComparison | None:
    if version is None:
        return None
    candidate, champion = (
        judged.models[name].correct(judged.test.labels).tolist()
        for name in ("candidate", "champion")
    )
    return ChampionComparison.of(version, candidate, champion)


def _about_reviews(reviews: str | Path) -> dict[str, Any]:
    """Which reviews these are, by the summary of ingest, which has no secrets of the source."""
    summary = read_json(Path(reviews) / SUMMARY)
    held_out = summary["kind"] == "bundled"
    return {
        "source": summary["source"],
        "test_split": "held out of train" if held_out else "official",
        "splits": summary["splits"],
        "fingerprint": summary["fingerprint"],
    }
