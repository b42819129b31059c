"""Compare: which trial of a sweep did best on validation, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.compare.picture import write_picture
from components.shared.artifacts import atomic_directory, write_json
from components.shared.config import TrainConfig
from components.shared.errors import Failure

_Z = 1.96
"""Standard errors on either side of an interval of 95 %."""


def compare(
    trials: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    comparison: str | Path,
) -> dict[str, Any]:
    """Ranks the trials.

    Args:
        trials: of each the `number`, the `searched` keys and the `config`, a TrainConfig as JSON.
        results: of each the `number` and its figures, or `error`; in any order.
        comparison: the folder to make with `trials.json` and `trials.png`.

    Returns:
        What `trials.json` holds: `trials`, by number, with the values of the searched keys and the
        figures; `best`, the number of the best, the first of equals; `alike`, those whose accuracy
        lies within its interval; `validation_reviews`, which all are judged by.

    Raises:
        Failure: no trial has an accuracy.
    """
    by_number = {int(result["number"]): result for result in results}
    rows = [_row(trial, by_number.get(int(trial["number"]), {})) for trial in trials]
    rows.sort(key=lambda row: row["number"])
    done = [row for row in rows if row["error"] is None]
    if not done:
        raise Failure(f"none of {len(rows)} trials could be trained; the first: {rows[0]['error']}")
    best = max(done, key=lambda row: row["validation_accuracy"])
    low = best["interval"][0]
    found = {
        "searched": list(rows[0]["values"]),
        "trials": rows,
        "best": best["number"],
        "alike": [r["number"] for r in done if r is not best and r["validation_accuracy"] >= low],
        "validation_reviews": best["validation_reviews"],
    }
    with atomic_directory(comparison) as directory:
        write_json(directory / "trials.json", found)
        write_picture(found, directory / "trials.png")
    return found


def _row(trial: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    # KFP carries every number as a double, and gives the keys in an order of its own.
    config = TrainConfig.from_mapping(trial["config"]).to_mapping()
    row: dict[str, Any] = {
        "number": int(trial["number"]),
        "values": {key: config[key] for key in trial["searched"]},
        "error": None,
    }
    if "validation_accuracy" not in result:
        return {**row, "error": str(result.get("error", "it gave no result"))}
    reviews = int(result["validation_reviews"])
    accuracy = float(result["validation_accuracy"])
    return {
        **row,
        "validation_accuracy": accuracy,
        "validation_loss": float(result["validation_loss"]),
        "interval": interval(accuracy, reviews),
        "validation_reviews": reviews,
        "best_epoch": int(result["best_epoch"]),
        "epochs": int(result["epochs"]),
    }


def interval(accuracy: float, reviews: int) -> list[float]:
    """Where the accuracy on any such reviews lies, with 95 % confidence (Wilson, 1927)."""
    z2 = _Z**2 / reviews
    middle = (accuracy + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(accuracy * (1 - accuracy) / reviews + z2 / (4 * reviews)) / (1 + z2)
    return [middle - half, middle + half]


def arguments(values: Mapping[str, Any]) -> str:
    """The arguments of a command line that give a configuration these values."""
    return " ".join(f"--set {key}={shown(value)}" for key, value in values.items())


def shown(value: Any) -> str:
    """A value as a command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def summary(found: Mapping[str, Any]) -> str:
    """The comparison in Markdown, best trial first."""
    best = found["trials"][found["best"]]
    low, high = best["interval"]
    reviews = found["validation_reviews"]
    lines = [
        *_table(found),
        "",
        f"Best: trial {best['number']}, {best['validation_accuracy']:.4f}. So few reviews, "
        f"{reviews:,}, say no more than {low:.4f} to {high:.4f},",
        f"and the best of several is flattered. {_alike(found['alike'])}",
        "",
        f"    {arguments(best['values'])}",
    ]
    return "\n".join(lines) + "\n"


def _alike(numbers: Sequence[int]) -> str:
    if not numbers:
        return "No other trial lies in that range."
    return f"In that range lie other trials too: {', '.join(map(str, numbers))}."


def _table(found: Mapping[str, Any]) -> list[str]:
    keys = found["searched"]
    head = ["trial", *keys, "validation accuracy", "95 % interval", "epoch"]
    order = sorted(found["trials"], key=lambda row: -row.get("validation_accuracy", -1.0))
    cells = [head, *(_cells(row, keys) for row in order)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    padded = [[cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in cells]
    padded.insert(1, ["-" * width for width in widths])
    return [f"| {' | '.join(row)} |" for row in padded]


def _cells(row: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    first = [str(row["number"]), *(shown(row["values"][key]) for key in keys)]
    if row["error"] is not None:
        # A bar would end the cell.
        return [*first, f"failed: {row['error']}".replace("|", "/").replace("\n", " "), "", ""]
    low, high = row["interval"]
    figures = (f"{row['validation_accuracy']:.4f}", f"{low:.4f} to {high:.4f}")
    return [*first, *figures, f"{row['best_epoch']} of {row['epochs']}"]
