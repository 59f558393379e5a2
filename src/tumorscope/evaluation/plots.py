"""Draws predictions and training histories as PNG files."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    MultipleLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from tumorscope.classes import ANY_TUMOUR, NO_TUMOUR
from tumorscope.datasets.pictures import read_named
from tumorscope.evaluation.calibration import BINS, reliability
from tumorscope.evaluation.metrics import roc_auc
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.wording import decimal, percent
from tumorscope.images import UnreadableImageError
from tumorscope.inference.decision import plain_name

CLASS_COLOURS: Final = {
    "glioma": "#d55e00",
    "meningioma": "#0072b2",
    "notumor": "#009e73",
    "pituitary": "#cc79a7",
    ANY_TUMOUR: "#d55e00",
}
"""A colour a class, told apart with any colour vision (Okabe and Ito 2008)."""

_CLASS_LINES: Final = {
    "glioma": "-",
    "meningioma": (0, (5, 1.5)),
    "notumor": (0, (1, 1)),
    "pituitary": (0, (5, 1.5, 1, 1.5)),
    ANY_TUMOUR: "-",
}
"""A line style a class, for prints without colour."""

_INK: Final = "#22262b"
_QUIET: Final = "#6b737c"
_GRID: Final = "#e3e6ea"
_ALARM: Final = "#b3261e"
_DOTS_PER_INCH: Final = 144
_ABOVE: Final = 1.0
"""Where titles stand; said, for otherwise each tick is measured to find out."""

_CORNER_LEFT: Final = 0.33
_CORNER_TOP: Final = 0.92
"""What the enlarged corner covers of the ROC curves' field: right of the one, below the other."""

_MISTAKES_ACROSS: Final = 6
_MISTAKES_SHOWN: Final = 24

HistoryRow = Mapping[str, float | None]
"""One epoch: `epoch, train_loss, train_accuracy, validation_loss, validation_accuracy,
learning_rate`; what was not measured is missing, None or NaN."""


def confusion_plot(predictions: Predictions) -> bytes:
    """Draw the confusion matrix: counts, and each row in per cent.

    Args:
        predictions: N images.

    Returns:
        A PNG file.
    """
    classes = predictions.classes
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (predictions.target, predictions.predicted), 1)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    across, down = 1.2 * len(classes), 1.0 * len(classes)
    figure = _figure(across + 1.7, down + 0.9, left=1.55, bottom=0.75)
    axes = figure.add_subplot()
    # Root scale: 1 % must not look like 0 %, for the rare mistakes are what one looks for.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1.1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if not totals[row]:
            continue
        colour = "white" if shares[row, column] > 0.4 else _INK if count else _QUIET
        place: dict[str, Any] = {"ha": "center", "color": colour}
        axes.text(column, row - 0.03, f"{count:,}", va="bottom", size=14, weight="bold", **place)
        axes.text(column, row + 0.07, percent(shares[row, column]), va="top", size=9.5, **place)
    names = [plain_name(name) for name in classes]
    axes.set_xticks(range(len(classes)), names)
    axes.set_yticks(
        range(len(classes)),
        [f"{name}\nn = {total:,}" for name, total in zip(names, totals[:, 0], strict=True)],
    )
    axes.set_xticks(np.arange(1, len(classes)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(classes)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0, labelsize=10.5, colors=_INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", size=10.5, color=_QUIET, labelpad=8)
    axes.set_ylabel("target", size=10.5, color=_QUIET, labelpad=8)
    return _png(figure)


def roc_plot(predictions: Predictions) -> bytes:
    """Draw each class's ROC curve, one against the rest.

    The upper left corner is enlarged, unless that would hide a curve.

    Args:
        predictions: N images; a class that is missing, or alone, has no curve.

    Returns:
        A PNG file.
    """
    figure = _figure(6.4, 5.4, left=0.85, bottom=0.65, right=0.35)
    axes = figure.add_subplot()
    areas = roc_auc(predictions)[0]
    curves: list[tuple[Any, Any, dict[str, Any]]] = []
    for column, name in enumerate(predictions.classes):
        if np.isnan(areas[column]):
            axes.plot([], [], color=_GRID, label=f"{plain_name(name)}: no curve")
            continue
        false_rate, true_rate, _ = roc_curve(
            predictions.target == column, predictions.probabilities[:, column]
        )
        style: dict[str, Any] = {
            "color": CLASS_COLOURS[name],
            "linestyle": _CLASS_LINES[name],
            "linewidth": 2,
        }
        axes.plot(
            false_rate,
            true_rate,
            label=f"{plain_name(name)}, AUC {decimal(areas[column])}",
            **style,
        )
        curves.append((false_rate, true_rate, style))
    axes.plot([0, 0.2], [0, 0.2], color=_QUIET, linewidth=0.8, linestyle=":")
    axes.text(0.21, 0.21, "chance", size=8.5, color=_QUIET, va="center")
    _style(axes)
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.set_xlabel("called this class though it is another (1 - specificity)")
    axes.set_ylabel("found (sensitivity)")
    _in_percent(axes.xaxis)
    _in_percent(axes.yaxis)
    if all(np.interp(_CORNER_LEFT, x, y) > _CORNER_TOP for x, y, _ in curves):
        _enlarge_corner(axes, curves)
    axes.legend(loc="lower right", frameon=False, fontsize=9.5, labelcolor=_INK, handlelength=3)
    return _png(figure)


def _enlarge_corner(axes: Axes, curves: list[tuple[Any, Any, dict[str, Any]]]) -> None:
    """Draw the upper left corner of the ROC curves five times as large, in their empty part."""
    corner = axes.inset_axes((0.42, 0.33, 0.55, 0.52))
    for false_rate, true_rate, style in curves:
        corner.plot(false_rate, true_rate, **style)
    _style(corner)
    corner.set(xlim=(-0.002, 0.2), ylim=(0.8, 1.002))
    corner.yaxis.set_major_locator(MultipleLocator(0.05))
    corner.tick_params(labelsize=8)
    corner.set_title("upper left corner, 5x", y=_ABOVE, size=8.5, color=_QUIET)
    _in_percent(corner.xaxis)
    _in_percent(corner.yaxis)


def reliability_plot(predictions: Predictions, bins: int = BINS) -> bytes:
    """Draw how often the model is right against how sure it is, and how often it is that sure.

    Args:
        predictions: N images.
        bins: Equal-width bins of the top probability.

    Returns:
        A PNG file.
    """
    found = reliability(predictions.probabilities, predictions.target, bins)
    width = 1 / bins
    middles = found.edges[:-1] + width / 2
    filled = found.counts > 0
    figure = _figure(6.4, 5.4, left=0.85, bottom=0.65, right=0.35)
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.08}
    )
    upper.bar(middles, found.accuracy, width * 0.92, color="#8fbcdb", label="right answers")
    upper.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle=":", label="perfect agreement")
    upper.plot(
        found.confidence[filled],
        found.accuracy[filled],
        color=CLASS_COLOURS["meningioma"],
        linestyle="none",
        marker="o",
        markersize=5,
        label="at the mean of a bin",
    )
    _style(upper)
    upper.set(xlim=(0, 1), ylim=(0, 1.03), ylabel="share of right answers")
    _in_percent(upper.yaxis)
    upper.tick_params(labelbottom=False)
    upper.legend(loc="upper left", frameon=False, fontsize=9.5, labelcolor=_INK)
    lower.bar(middles, found.counts, width * 0.92, color="#b9c0c8")
    for middle, count in zip(middles[filled], found.counts[filled], strict=True):
        lower.annotate(
            f"{count:,}",
            (middle, count),
            (0, 1.5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=8,
            color=_QUIET,
        )
    _style(lower)
    lower.set_yscale("log")
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    lower.yaxis.set_minor_locator(NullLocator())
    lower.set(ylim=(0.7, found.counts.max() * 4), ylabel="images")
    lower.set_xlabel("probability of the answer given")
    _in_percent(lower.xaxis)
    return _png(figure)


def mistakes_plot(predictions: Predictions, most: int = _MISTAKES_SHOWN) -> bytes:
    """Draw the wrong answers with the highest probability as a contact sheet.

    Of images that show the same slice only the worst is drawn, with how many of them are wrong.
    A missed tumour has a red frame.

    Args:
        predictions: N images; where a path is missing or cannot be read, the name alone is shown.
        most: Largest number of mistakes.

    Returns:
        A PNG file.
    """
    wrong = np.flatnonzero(predictions.target != predictions.predicted)
    sorted_rows = wrong[np.argsort(-predictions.probabilities[wrong].max(axis=1), kind="stable")]
    copies: dict[str, list[int]] = {}
    for row in sorted_rows.tolist():
        copies.setdefault(predictions.clusters[row], []).append(row)
    shown = list(copies.values())[:most]
    if not shown:
        figure = Figure(figsize=(1.75 * _MISTAKES_ACROSS, 1))
        figure.text(0.5, 0.5, "no mistakes", ha="center", va="center", size=14, color=_QUIET)
        return _png(figure)
    down = math.ceil(len(shown) / _MISTAKES_ACROSS)
    height = 2.6 * down  # of each row 1.65 for the picture, the rest for what stands round it
    figure = Figure(figsize=(1.75 * _MISTAKES_ACROSS, height))
    grid = figure.subplots(down, _MISTAKES_ACROSS, squeeze=False)
    figure.subplots_adjust(
        0.01, 0.4 / height, 0.99, 1 - 0.55 / height, wspace=0.08, hspace=0.95 / 1.65
    )
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, rows in zip(grid.ravel(), shown, strict=False):
        _draw_mistake(axes, predictions, rows)
    return _png(figure)


def _draw_mistake(axes: Axes, predictions: Predictions, rows: Sequence[int]) -> None:
    row = rows[0]
    predicted = predictions.classes[predictions.predicted[row]]
    missed = predicted == NO_TUMOUR
    picture = _read(predictions.paths[row], predictions.names[row]) if predictions.paths else None
    if picture is None:
        picture = np.full((8, 8), 232, dtype=np.uint8)
        axes.text(
            0.5,
            0.5,
            "file not at hand",
            size=8,
            color=_QUIET,
            ha="center",
            transform=axes.transAxes,
        )
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect="equal")
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set(color=_ALARM if missed else _GRID, linewidth=2.5 if missed else 1)
    axes.set_title(
        f"target: {plain_name(predictions.labels[row])}\npredicted: {plain_name(predicted)}\n"
        f"probability {percent(predictions.probabilities[row].max())}",
        size=8,
        color=_ALARM if missed else _INK,
        loc="left",
        pad=4,
    )
    more = f"\nand {len(rows) - 1} more of this slice" if len(rows) > 1 else ""
    name = _drawable(PurePosixPath(predictions.names[row]).name)
    if len(name) > 26:
        name = "…" + name[-25:]
    label = axes.set_xlabel(name + more, size=7, color=_QUIET, loc="left", parse_math=False)
    # (Letters may be wide: what would run into the next picture is cut off.)
    left, right = axes.get_position(original=True).intervalx
    label.set_clip_box(
        TransformedBbox(Bbox.from_extents(left, 0, right, 1), axes.figure.transSubfigure)
    )


def _drawable(text: str) -> str:
    """Return a text with a question mark for each letter that the font lacks."""
    font = get_font(findfont(FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in text)


def _read(path: Path, name: str) -> NDArray[np.uint8] | None:
    try:
        return read_named(path, name)
    except UnreadableImageError:
        return None


def curves_plot(history: Sequence[HistoryRow]) -> bytes:
    """Draw loss, accuracy and learning rate over the epochs.

    Args:
        history: One row an epoch, see `HistoryRow`.

    Returns:
        A PNG file.
    """
    figure = _figure(10.5, 3.6, left=0.6, bottom=0.6, top=0.35)
    loss, accuracy, rate = figure.subplots(1, 3, gridspec_kw={"wspace": 0.28})
    epochs = [_number(row, "epoch") for row in history]
    for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
        for part, colour, line in (
            ("train", "#56b4e9", (0, (5, 1.5))),
            ("validation", CLASS_COLOURS["glioma"], "-"),
        ):
            values = [_number(row, f"{part}_{what}") for row in history]
            axes.plot(
                epochs,
                values,
                color=colour,
                linestyle=line,
                linewidth=1.8,
                label=part,
                marker="o",
                markersize=3,
            )
        axes.set_title(what, y=_ABOVE, size=11, color=_INK, loc="left")
        axes.legend(frameon=False, fontsize=9.5, labelcolor=_INK)
    rates = [_number(row, "learning_rate") for row in history]
    rate.plot(epochs, rates, color=_QUIET, linewidth=1.8, marker="o", markersize=3)
    rate.set_title("learning rate", y=_ABOVE, size=11, color=_INK, loc="left")
    if any(value > 0 for value in rates):
        _in_decades(rate)
    _in_percent(accuracy.yaxis, decimals=None)
    for axes in (loss, accuracy, rate):
        _style(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def search_plot(
    trials: Sequence[tuple[int, float, str]], *, monitor: str, importances: Mapping[str, float]
) -> bytes:
    """Draw the scores of a search's trials, the best so far, and which fields mattered.

    Args:
        trials: Number, score and state of each; only those `done` and `pruned` are drawn.
        monitor: `validation_accuracy` or `validation_loss`, which is better when lower.
        importances: Share of the scores' differences that each field explains; may be empty.

    Returns:
        A PNG file.
    """
    figure = _figure(10.5, 3.6, left=0.75, bottom=0.6, top=0.4)
    history, shares = figure.subplots(1, 2, gridspec_kw={"width_ratios": (3, 2), "wspace": 0.65})
    ended = [trial for trial in trials if math.isfinite(trial[1])]
    for state, colour, marker in (("pruned", "#aab1b9", "x"), ("done", "#56b4e9", "o")):
        drawn = [(number, score) for number, score, ended_as in ended if ended_as == state]
        if drawn:
            history.plot(*zip(*drawn, strict=True), marker, color=colour, markersize=5, label=state)
    if drawn:  # those done
        numbers, scores = zip(*drawn, strict=True)
        best = (np.minimum if monitor == "validation_loss" else np.maximum).accumulate(scores)
        history.step(numbers, best, where="post", color="#d55e00", label="best so far")
        if monitor == "validation_loss" and max(scores) > 10 * best[-1] > 0:
            _in_decades(history)  # one that went wrong would press the others flat
        place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.02, 0.98), "ncols": 3}
        history.legend(frameon=False, labelcolor=_INK, handlelength=1, columnspacing=1, **place)
    history.set_title(monitor.replace("_", " "), y=_ABOVE, size=11, color=_INK, loc="left")
    history.set_xlabel("trial")
    history.xaxis.set_major_locator(MaxNLocator(integer=True))
    if monitor == "validation_accuracy":
        _in_percent(history.yaxis, decimals=None)
    shares.set_title("what the score depends on", y=_ABOVE, size=11, color=_INK, loc="left")
    if importances:
        names = list(importances)[::-1]
        shares.barh(names, [importances[name] for name in names], color="#8fbcdb")
        _in_percent(shares.xaxis)
    else:
        shares.text(0.5, 0.5, "too few trials to say", ha="center", color=_QUIET)
        shares.set(xticks=[], yticks=[])
    _style(history)
    _style(shares)
    return _png(figure)


def _number(row: HistoryRow, name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


def _in_percent(axis: Axis, decimals: int | None = 0) -> None:
    axis.set_major_formatter(PercentFormatter(1, decimals=decimals, symbol=" %"))


def _in_decades(axes: Axes) -> None:
    axes.set_yscale("log")
    lowest, highest = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest < 1000 * lowest else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#aab1b9")
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9.5, colors=_QUIET, labelcolor=_INK, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(size=10.5, color=_QUIET)


def _figure(
    width: float,
    height: float,
    *,
    left: float,
    bottom: float,
    right: float = 0.15,
    top: float = 0.15,
) -> Figure:
    """Return a figure with margins, all in inches."""
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    return figure


def _png(figure: Figure) -> bytes:
    """Draw without pyplot, so that nothing is global; no date or version, so that bytes repeat."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(
        content,
        format="png",
        dpi=_DOTS_PER_INCH,
        facecolor="white",
        metadata={"Software": None},
    )
    return content.getvalue()
