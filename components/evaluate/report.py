"""The report that a person reads: one HTML file that holds everything it shows.

All text goes through Jinja's autoescape. Only the pictures are put in as they are; they are drawn
from numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from components.evaluate import pictures
from components.evaluate.metrics import LABEL_NAMES, Predictions, describe, named_slices
from components.evaluate.split import Split
from components.shared.accelerators import devices_text
from components.shared.reviews import SPLITS

_TEMPLATE = "report.html.j2"
_MISTAKES = 10
_QUOTED_CHARACTERS = 300

# Name, what it is called, and whether more is better.
_FIGURES = (
    ("accuracy", "Accuracy", True),
    ("loss", "Loss", False),
    ("auc", "AUC", True),
    ("f1", "F1", True),
    ("precision", "Precision", True),
    ("recall", "Recall", True),
    ("expected_calibration_error", "Expected calibration error", False),
    ("brier_score", "Brier score", False),
)


@dataclass(frozen=True)
class Judged:
    """The test reviews and what each model says of them."""

    test: Split

    models: dict[str, Predictions]
    """By name: candidate, champion where there is one, baseline; in this order."""

    @cached_property
    def descriptions(self) -> dict[str, dict[str, Any]]:
        """Of each model, by name, what `metrics.describe` gives."""
        test = self.test
        return {name: describe(test.labels, p, test.words) for name, p in self.models.items()}


def render_report(evaluation: Mapping[str, Any], judged: Judged) -> str:
    """Renders the report; the same arguments give the same text.

    Args:
        evaluation: the content of `evaluation.json`.
        judged: what its figures are of.
    """
    environment = Environment(
        loader=PackageLoader("components.evaluate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=_figure, difference=_difference, short=_short, value=_value)
    environment.filters["devices"] = devices_text
    models = _models(evaluation)
    return environment.get_template(_TEMPLATE).render(
        evaluation=evaluation,
        verdict="BLESSED" if evaluation["decision"]["blessed"] else "NOT_BLESSED",
        summary=_summary(evaluation),
        test_reviews=len(judged.test.texts),
        splits={
            name: evaluation["splits"][name] for name in SPLITS if name in evaluation["splits"]
        },
        models=models,
        figures=_comparison(models),
        duels=_duels(judged),
        slices=_slices(judged),
        pictures=_pictures(evaluation, judged),
        mistakes=_mistakes(judged),
    )


def _summary(evaluation: Mapping[str, Any]) -> str:
    """One sentence on why."""
    reasons = evaluation["decision"]["reasons"]
    failed = [reason["sentence"] for reason in reasons if not reason["passed"]]
    if len(failed) == 1:
        return f"The gate refuses the candidate: {failed[0]}."
    if failed:
        return f"The gate refuses the candidate: it fails {len(failed)} of {len(reasons)} checks."
    champion = evaluation["champion"]
    against = f" and may replace version {champion['version']}" if champion else ""
    return f"The candidate passes all of the gate's checks{against}."


def _models(evaluation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models of the report, from their names to their titles and figures."""
    champion = evaluation["champion"]
    models = {"candidate": {"title": "Candidate", "metrics": evaluation["metrics"]}}
    if champion is not None:
        title = f"Champion (version {champion['version']})"
        models["champion"] = {"title": title, "metrics": champion["metrics"]}
    models["baseline"] = {"title": "Linear baseline", "metrics": evaluation["baseline"]}
    return models


def _comparison(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each figure: its value for each model, and the best of them."""
    rows = []
    for name, title, more_is_better in _FIGURES:
        values = [model["metrics"][name] for model in models.values()]
        known = [value for value in values if value is not None]
        best = (max if more_is_better else min)(known, default=None)
        rows.append({"title": title, "more": more_is_better, "values": values, "best": best})
    return rows


def _duels(judged: Judged) -> list[dict[str, Any]]:
    """The candidate against each other model, review by review; the linear baseline is last."""
    labels, candidate = judged.test.labels, judged.models["candidate"]
    if not candidate.valid.all():
        return []
    duels = []
    for name, title in (("champion", "champion"), ("baseline", "linear baseline")):
        if name in judged.models:
            ours, its = candidate.correct(labels), judged.models[name].correct(labels)
            gains, losses = int(np.sum(ours & ~its)), int(np.sum(its & ~ours))
            margin = _margin(100 * (gains - losses) / len(labels))
            duels.append({"title": title, "gains": gains, "losses": losses, "margin": margin})
    return duels


def _margin(points: float) -> str:
    if points == 0:
        return "the same as"
    return f"{abs(points):.3g} points {'above' if points > 0 else 'below'}"


def _slices(judged: Judged) -> list[dict[str, Any]]:
    """A row for each slice: the candidate's figures, and the champion's accuracy beside them."""
    names = [name for name, _ in named_slices(judged.test.labels, judged.test.words)]
    both = (_by_slice(judged, "candidate", names), _by_slice(judged, "champion", names))
    return [
        {**ours, "name": name, "champion_accuracy": its and its["accuracy"]}
        for name, ours, its in zip(names, *both, strict=True)
    ]


def _by_slice(judged: Judged, model: str, names: Sequence[str]) -> Sequence[Any]:
    """A model's figures on each slice; None where there is no such model."""
    if model not in judged.models:
        return [None] * len(names)
    slices = judged.descriptions[model]["slices"]
    return [*slices["length_quartile"], *slices["label"]]


def _pictures(evaluation: Mapping[str, Any], judged: Judged) -> list[dict[str, Any]]:
    """The pictures of the models whose predictions are all valid."""
    usable = {
        name: known
        for name, known in judged.descriptions.items()
        if known["invalid_predictions"] == 0
    }
    drawn = [
        (
            "ROC curve",
            "Positive reviews found, by negative ones mistaken for positive.",
            pictures.roc_picture({name: known["roc"] for name, known in usable.items()}),
        ),
        (
            "Calibration",
            "On the dashed line, of the reviews given 80 %, 80 % are positive.",
            pictures.calibration_picture(
                {name: known["calibration"] for name, known in usable.items()}
            ),
        ),
        (
            "Accuracy by length",
            "The bars are 95 % confidence intervals.",
            pictures.length_picture(
                {name: known["slices"]["length_quartile"] for name, known in usable.items()}
            ),
        ),
    ]
    if "candidate" in usable:
        labels, candidate = judged.test.labels, judged.models["candidate"]
        drawn += [
            (
                "Confusion matrix",
                "The candidate's labels; shares are of a row.",
                pictures.confusion_picture(evaluation["confusion_matrix"]),
            ),
            (
                "Probabilities",
                "What the candidate gives to reviews of either label.",
                pictures.histogram_picture(labels, candidate.probabilities),
            ),
        ]
    return [{"title": t, "caption": c, "svg": svg} for t, c, svg in drawn]


def _mistakes(judged: Judged) -> list[dict[str, Any]]:
    """The reviews that the candidate is surest about, and wrong."""
    test, candidate = judged.test, judged.models["candidate"]
    wrong = np.flatnonzero(candidate.valid & ~candidate.correct(test.labels))
    given = np.where(test.labels == 1, candidate.probabilities, 1 - candidate.probabilities)
    worst = sorted(wrong, key=lambda row: (given[row], test.texts[row]))[:_MISTAKES]
    return [
        {
            "label": LABEL_NAMES[test.labels[row]],
            "probability": float(candidate.probabilities[row]),
            "words": int(test.words[row]),
            "quote": _quote(test.plain_texts[row]),
        }
        for row in worst
    ]


def _quote(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS].rstrip() + "…"


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _difference(figures: tuple[float | None, float | None]) -> str:
    """How far the first lies above the second."""
    ours, its = figures
    if ours is None or its is None:
        return "n/a"
    return f"{ours - its:+.4f}".replace("-", "\N{MINUS SIGN}")


def _short(value: float | None) -> str:
    """Four digits, of a p-value too."""
    return "" if value is None else f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _value(value: Any) -> str:
    """A value of the configuration, where KFP has turned whole numbers into floats."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.10g}"
    return "none" if value is None or value == "" else str(value)
