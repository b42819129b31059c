"""The pictures of the report, as SVG that stands in HTML; the same figures give the same bytes."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from components.evaluate.metrics import LABEL_NAMES

COLORS = {"candidate": "#1d5fa6", "champion": "#c2710c", "baseline": "#7b828c"}
_LABEL_COLORS = ("#b8433f", "#2b7d4f")
_INK, _FAINT = "#3a414a", "#d5d9de"
_HISTOGRAM_BINS = 40
_NORMAL_95 = 1.96
_SIZE = (4.7, 3.5)
_WIDE = (9.7, 3.0)

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef1",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
}


def roc_picture(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """ROC curves, each as `metrics.roc_curve` gives it."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--")
        for name, curve in curves.items():
            axes.plot(curve["fpr"], curve["tpr"], **_line(name))
        _square(axes)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(loc="lower right")

    return _svg("roc", draw)


def calibration_picture(calibrations: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Reliability diagrams, each of rows as `metrics.calibration` gives them."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--")
        for name, rows in calibrations.items():
            said = [row["mean_probability"] for row in rows]
            seen = [row["positive_fraction"] for row in rows]
            axes.plot(said, seen, marker="o", markersize=3.5, **_line(name))
        _square(axes)
        axes.set(xlabel="mean probability given", ylabel="fraction positive")
        axes.legend(loc="upper left")

    return _svg("calibration", draw)


def histogram_picture(labels: np.ndarray, probabilities: np.ndarray) -> str:
    """How often which probability is given to reviews of either label."""

    def draw(axes: Axes) -> None:
        bins = np.linspace(0, 1, _HISTOGRAM_BINS + 1).tolist()
        for label, name in enumerate(LABEL_NAMES):
            color = _LABEL_COLORS[label]
            values = probabilities[labels == label]
            axes.hist(values, bins, histtype="stepfilled", color=color, alpha=0.18)
            axes.hist(values, bins, histtype="step", color=color, label=f"{name} reviews")
        axes.axvline(0.5, color=_INK, linewidth=0.8, linestyle=":")
        axes.set(xlabel="probability of positive", ylabel="reviews (log scale)")
        axes.set(xlim=(0, 1), yscale="symlog")
        axes.set_ylim(0, 5 * axes.get_ylim()[1])
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.minorticks_off()
        axes.legend(loc="upper left", ncols=2)

    return _svg("histogram", draw, _WIDE)


def confusion_picture(matrix: Sequence[Sequence[int]]) -> str:
    """The confusion matrix, with the share of each row."""

    def draw(axes: Axes) -> None:
        counts = np.array(matrix)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1.15, edgecolor="white", linewidth=2)
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.6 else _INK
            x, y = column + 0.5, row + 0.5
            axes.text(x, y, f"{count:,}", va="bottom", ha="center", color=color, fontsize=14)
            axes.text(x, y + 0.06, f"{shares[row, column]:.1%}", va="top", ha="center", color=color)
        axes.set(xlabel="predicted", ylabel="true")
        axes.invert_yaxis()
        axes.set_xticks([0.5, 1.5], LABEL_NAMES)
        axes.set_yticks([0.5, 1.5], LABEL_NAMES, rotation=90, va="center")
        axes.grid(visible=False)

    return _svg("confusion", draw)


def length_picture(slices: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Accuracy by the quartiles of length, with 95 % confidence intervals."""

    def draw(axes: Axes) -> None:
        for offset, (name, rows) in zip(_offsets(len(slices)), slices.items(), strict=True):
            accuracy = np.array([row["accuracy"] for row in rows])
            reviews = np.array([row["reviews"] for row in rows])
            error = _NORMAL_95 * np.sqrt(accuracy * (1 - accuracy) / reviews)
            places = np.arange(len(rows)) + offset
            axes.errorbar(places, accuracy, error, fmt="o", markersize=5, **_line(name))
        rows = next(iter(slices.values()))
        names = [f"{row['words'][0]:,}\N{EN DASH}{row['words'][1]:,}" for row in rows]
        axes.set_xticks(range(len(rows)), names)
        axes.set(xlabel="words in the review, by quartile", ylabel="accuracy")
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.grid(visible=False, axis="x")
        axes.legend(loc="best")

    return _svg("length", draw)


def _offsets(count: int) -> np.ndarray:
    return (np.arange(count) - (count - 1) / 2) * 0.16


def _line(name: str) -> dict[str, Any]:
    """The candidate lies on top."""
    return {"color": COLORS[name], "label": name, "zorder": 5 - list(COLORS).index(name)}


def _square(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def _svg(name: str, draw: Callable[[Axes], None], size: tuple[float, float] = _SIZE) -> str:
    """Draws on a figure of its own and gives the `<svg>` element, without ids of groups or dates.

    The ids that are left name clip paths and markers, each with the salt of its picture, so that
    the pictures don't mix up in one page.
    """
    content = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(content, format="svg", transparent=True)
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*"', "<g", svg)
