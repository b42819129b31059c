"""Evaluate: judges what would be served, on raw reviews, against the champion and a floor."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluate.baseline import linear_baseline
from components.evaluate.evidence import BestEver, ChampionComparison, Evidence, Slice
from components.evaluate.gate import decide
from components.evaluate.latency import measure_latency
from components.evaluate.metrics import Predictions, named_slices
from components.evaluate.report import Judged, render_report
from components.evaluate.served import ServedModel
from components.evaluate.split import Split, read_split
from components.shared import events
from components.shared.artifacts import atomic_directory, directory_sha256, read_json, write_json
from components.shared.config import EvaluateConfig
from components.shared.registry.entries import Entry
from components.shared.registry.registry import Registry
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

    The same inputs, with the same registry, give the same bytes, but for the times measured where
    `max_latency_ms` is set.

    Args:
        saved_model: the candidate's folder.
        reviews: the prepared TFDS data set.
        serving_dir: the registry that holds the champion, if any: a local path or a URL.
        config: the gate's thresholds.
        record: what to keep of the run: `preset`, `config` and, where known, `devices`.
        output_dir: the folder to make; it appears whole or not at all.

    Returns:
        What `evaluation.json` holds. Of the candidate: what `metrics.describe` gives (`metrics`,
        `slices`, `roc`, `confusion_matrix`, `calibration`, `invalid_predictions`), `decision`
        (`blessed` and `reasons`) and `saved_model_manifest`. Beside it: `baseline`, the linear
        baseline's metrics, `champion`, `version` and `metrics` or None, `champion_version`,
        `best_ever`, `version` and `accuracy` or None, and `latency`, as `measure_latency` gives
        it or None. Of the reviews: `source`, `test_split`, `splits` (rows by name), `fingerprint`
        and `test_fingerprint`. Of the run: `preset`, `config`, and `devices` or None.

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

    judged = Judged(test, models)
    latency = measure_latency(candidate, test.texts) if config.max_latency_ms is not None else None
    evidence = _evidence(judged, entry, _best_ever(registry, test.fingerprint), latency)
    evaluation = {
        **_findings(judged, evidence),
        "latency": latency,
        "decision": decide(evidence, config).to_mapping(),
        **_about_reviews(reviews),
        "test_fingerprint": test.fingerprint,
        "preset": record["preset"],
        "config": record["config"],
        "devices": record.get("devices"),
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


def _best_ever(registry: Registry, test_fingerprint: str) -> BestEver | None:
    """What the log records on these test reviews, whatever became of the versions since."""
    recorded = [
        BestEver(version=entry.version, accuracy=entry.metrics["accuracy"])
        for entry in registry.entries()
        if entry.test_fingerprint == test_fingerprint
        and isinstance(entry.metrics.get("accuracy"), float)
    ]
    return max(recorded, key=lambda best: best.accuracy, default=None)


def _evidence(
    judged: Judged,
    champion: Entry | None,
    best_ever: BestEver | None,
    latency: Mapping[str, Any] | None,
) -> Evidence:
    """What the gate looks at."""
    return Evidence(
        metrics=judged.descriptions["candidate"]["metrics"],
        champion=_comparison(judged, champion.version if champion is not None else None),
        best_ever=best_ever,
        slices=_slices(judged),
        latency_ms=latency["median_ms"] if latency is not None else None,
        baseline_accuracy=judged.descriptions["baseline"]["metrics"]["accuracy"],
    )


def _findings(judged: Judged, evidence: Evidence) -> dict[str, Any]:
    """What is found of each model."""
    champion = None
    if evidence.champion is not None:
        metrics = judged.descriptions["champion"]["metrics"]
        champion = {"version": evidence.champion.version, "metrics": metrics}
    best_ever = evidence.best_ever
    return {
        **judged.descriptions["candidate"],
        "baseline": judged.descriptions["baseline"]["metrics"],
        "champion": champion,
        "champion_version": champion["version"] if champion is not None else None,
        "best_ever": asdict(best_ever) if best_ever is not None else None,
    }


def _slices(judged: Judged) -> list[Slice]:
    """Both models by length and by label; a prediction that isn't valid leaves no accuracy."""
    labels, candidate = judged.test.labels, judged.models["candidate"]
    ours = candidate.correct(labels)
    champion = judged.models.get("champion")
    its = champion.correct(labels) if champion is not None else None
    return [
        Slice(
            name=name,
            reviews=int(np.sum(rows)),
            accuracy=float(np.mean(ours[rows])) if candidate[rows].valid.all() else None,
            champion_accuracy=float(np.mean(its[rows])) if its is not None else None,
        )
        for name, rows in named_slices(labels, judged.test.words)
    ]


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
