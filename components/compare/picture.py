"""The picture of a sweep: the accuracy of its trials over the values of each key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_SPREAD = 30.0
"""Where the greatest value is so many times the least, the axis is logarithmic."""


def write_picture(found: Mapping[str, Any], path: Path) -> None:
    """Draws what `trials.json` holds, a panel for each key; bars are intervals of 95 %."""
    keys = found["searched"]
    done = [row for row in found["trials"] if row["error"] is None]
    figure = Figure(figsize=(1.5 + 3.5 * len(keys), 3.8), layout="constrained")
    panels = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    for panel, key in zip(panels, keys, strict=True):
        _draw(panel, key, done, found["best"])
    panels[0].set_ylabel("validation accuracy")
    failed = len(found["trials"]) - len(done)
    figure.suptitle(
        f"{len(done)} trials on {found['validation_reviews']:,} validation reviews, with intervals "
        "of 95 %" + (f", {failed} failed" if failed else "")
    )
    figure.savefig(path, metadata={"Software": None})


def _draw(panel: Axes, key: str, rows: Sequence[Mapping[str, Any]], best: int) -> None:
    values = [row["values"][key] for row in rows]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    names = list(dict.fromkeys(map(str, values)))
    for row, value in zip(rows, values, strict=True):
        place = value if numeric else names.index(str(value))
        accuracy, (low, high) = row["validation_accuracy"], row["interval"]
        panel.errorbar(
            place,
            accuracy,
            yerr=[[accuracy - low], [high - accuracy]],
            fmt="o",
            color="tab:red" if row["number"] == best else "tab:blue",
            elinewidth=0.8,
        )
        panel.annotate(
            str(row["number"]), (place, accuracy), textcoords="offset points", xytext=(4, 3)
        )
    if not numeric:
        panel.set_xticks(range(len(names)), names)
    elif min(values) > 0 and max(values) / min(values) >= _SPREAD:
        panel.set_xscale("log")
    panel.set_xlabel(key)
