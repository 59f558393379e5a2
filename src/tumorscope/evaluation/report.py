"""Writes an evaluation as a folder: JSON, CSV, plots and one HTML page."""

import base64
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict, TypeGuard, Unpack

import jinja2

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.classes import NO_TUMOUR, PRESENCE
from tumorscope.counting import counted
from tumorscope.datasets.catalogue import Skipped
from tumorscope.evaluation import plots
from tumorscope.evaluation.intervals import Interval
from tumorscope.evaluation.localisation import Localisation
from tumorscope.evaluation.plots import HistoryRow
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.predictor import LEAKED
from tumorscope.evaluation.scoring import Evaluation, Fact, Level
from tumorscope.evaluation.wording import decimal, percent, percent_interval
from tumorscope.files import write_bytes, write_text
from tumorscope.inference.decision import plain_name

_OVERALL_ROWS: Final = (
    ("accuracy", "accuracy", "predicted right"),
    ("balanced_accuracy", "balanced accuracy", "mean sensitivity of the classes"),
    ("macro_f1", "macro F1", "mean F1 of the classes"),
    ("macro_auc", "mean ROC AUC", "each class against the rest"),
    ("miss_rate", "miss rate", "tumours predicted as no tumour: lower is better"),
    ("false_positive_rate", "false-positive rate", "no tumour predicted as tumour"),
    ("ece", "calibration error (ECE)", "mean gap of probability and accuracy: lower is better"),
    ("brier", "Brier score", "squared error, 0 to 2: lower is better"),
    ("nll", "negative log-likelihood", "lower is better"),
    (
        "selective_accuracy",
        "selective accuracy at 90 % coverage",
        "of the 90 % with the highest probability, unsupported ones last",
    ),
)
"""Metric, its name for people, what it is."""

_CLASS_COLUMNS: Final = (
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("precision", "precision"),
    ("f1", "F1"),
    ("roc_auc", "ROC AUC"),
)

_SCAN_COLUMNS: Final = (
    ("accuracy", "accuracy"),
    ("miss_rate", "miss rate"),
    ("false_positive_rate", "false-positive rate"),
)

_IN_DECIMALS: Final = frozenset(("macro_auc", "roc_auc", "ece", "brier", "nll"))
"""Metrics that the field writes as decimals; all others are shares, in per cent."""


class Background(TypedDict, total=False):
    """What the report tells besides the metrics; everything may be left out.

    Attributes:
        history: One row an epoch, for the learning curves.
        protocol_text: What the test can and cannot show; a blank line starts a paragraph.
        recipe_text: The resolved recipe, as text.
        environment: Versions and machine, by name.
        skipped: Files that were left out.
    """

    history: Sequence[HistoryRow] | None
    protocol_text: str
    recipe_text: str
    environment: Mapping[str, Fact]
    skipped: Sequence[Skipped]


def write_report(
    path: Path, evaluation: Evaluation, predictions: Predictions, **background: Unpack[Background]
) -> None:
    """Write one self-contained HTML page about an evaluation, whole or not at all.

    Args:
        path: The HTML file.
        evaluation: The metrics.
        predictions: What they were made from, for the plots.
        **background: See `Background`.
    """
    drawn = _draw(predictions, background.get("history"))
    write_bytes(path, _page(evaluation, drawn, background))


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    predictions: Predictions,
    **background: Unpack[Background],
) -> Path:
    """Write everything about an evaluation into a folder, each file whole or not at all.

    That is `evaluation.json`, `predictions.csv`, `confusion.png`, `roc.png`, `reliability.png`,
    `mistakes.png`, `curves.png` (when there is a history), `localisation.csv` (when there are
    outlines) and `report.html`.

    Args:
        folder: Made when missing.
        evaluation: The metrics.
        predictions: What they were made from.
        **background: See `Background`.

    Returns:
        The report's path.
    """
    drawn = _draw(predictions, background.get("history"))
    page = _page(evaluation, drawn, background)
    predictions.save(folder / "predictions.csv")
    if evaluation.localisation:
        evaluation.localisation.save(folder / "localisation.csv")
    else:  # (One that stands there is of an earlier evaluation.)
        (folder / "localisation.csv").unlink(missing_ok=True)
    for name in {"roc", "reliability"} - drawn.keys():  # (Neither are those of one.)
        (folder / f"{name}.png").unlink(missing_ok=True)
    for name, plot in drawn.items():
        write_bytes(folder / f"{name}.png", plot)
    report = folder / "report.html"
    write_bytes(report, page)
    # Last: a run that has it is finished, and nothing is written again.
    write_text(folder / "evaluation.json", json.dumps(evaluation.to_json(), indent=2) + "\n")
    return report


def summarise(evaluation: Evaluation) -> tuple[str, ...]:
    """Say in plain words what came out.

    Args:
        evaluation: The metrics.

    Returns:
        Sentences: accuracy with its interval; test images that are no surprise to the model, where
        there are any or it is not known; by slice and patient; missed tumours and false
        alarms, where `notumor` is a class; how many answers are confident, and wrong all the same,
        and how many images are refused, where that is known; where heatmaps lie on outlines, where
        there are any.
    """
    counted = (
        f"Counting a slice once, however many copies there are: {_share(evaluation.slices)}; "
        f"counting patients: {_share(evaluation.patients)}."
    )
    sentences = (
        "The kind of some tumours is not known: here a tumour of any kind is told from none."
        if evaluation.classes == PRESENCE
        else "",
        _accuracy_sentence(evaluation.images),
        _leak_sentence(evaluation.facts.get(LEAKED, 0)),
        counted,
        *_error_sentences(evaluation.images),
        _confident_sentence(evaluation),
        _unsupported_sentence(evaluation),
        _localisation_sentence(evaluation.localisation),
    )
    return tuple(sentence for sentence in sentences if sentence)


def _accuracy_sentence(images: Level) -> str:
    share = images.right / images.n
    are = "is" if images.right == 1 else "are"
    start = f"Of {counted(images.n, 'test image')} {images.right:,} {are} right: {percent(share)}"
    interval = images.interval["accuracy"]
    if interval is None:
        return f"{start}; all are of one group, so there is no interval."
    if share == 1:
        # A bootstrap sees no spread here: the rule of three does (Hanley, Lippman-Hand 1983).
        bound = percent(min(1.0, 3 / images.groups))
        return (
            f"{start}; over {images.groups:,} groups that leaves room for mistakes in up to "
            f"{bound} of groups (95 %, rule of three)."
        )
    if not _has_spread(interval):
        return f"{start}; the {images.groups:,} groups do not differ, so there is no interval."
    return f"{start}, 95 % interval {percent_interval(interval)} over {images.groups:,} groups."


def _leak_sentence(leaked: Fact) -> str:
    if isinstance(leaked, str):
        return f"{LEAKED.capitalize()}: {leaked.replace(': ', '; ', 1)}."
    if not leaked:
        return ""
    shown = "one shows" if leaked == 1 else f"{leaked:,} show"
    return f"Of them {shown} a patient, or a near-duplicate of a slice, that is in training."


def _share(level: Level) -> str:
    return f"{percent(level.right / level.n)} of {level.n:,}"


def _error_sentences(images: Level) -> tuple[str, ...]:
    """Say how many tumours are missed, and how many images without one are called one."""
    none = images.per_class.get(NO_TUMOUR)
    if none is None:
        return ()
    return (
        _error_sentence(
            images,
            "miss_rate",
            images.n - none.n,
            counted(images.n - none.n, "tumour image"),
            "missed",
            aside=" (predicted as no tumour)",
        ),
        _error_sentence(
            images,
            "false_positive_rate",
            none.n,
            f"{counted(none.n, 'image')} without a tumour",
            "called one",
        ),
    )


def _error_sentence(
    images: Level, rate: str, count: int, of: str, error: str, *, aside: str = ""
) -> str:
    share, interval = images.metrics[rate], images.interval[rate]
    if share is None:
        return ""
    if share == 0:
        return f"The {of} was not {error}." if count == 1 else f"None of the {of} was {error}."
    wrong = round(share * count)
    were = "was" if wrong == 1 else "were"
    between = f", 95 % interval {percent_interval(interval)}" if _has_spread(interval) else ""
    return f"Of {of} {wrong:,} {were} {error}{aside}: {percent(share)}{between}."


def _confident_sentence(evaluation: Evaluation) -> str:
    sure = evaluation.verdicts.get("confident")
    if sure is None:
        return ""
    count, accuracy = int(sure["n"] or 0), sure["accuracy"]
    if accuracy is None:
        return "None of the answers is confident."
    wrong = count - round(count * accuracy)
    confident = f"{counted(count, 'answer')} {'is' if count == 1 else 'are'} confident"
    return (
        f"{confident}, {percent(count / evaluation.images.n)} of all; "
        f"{wrong:,} of them {'is' if wrong == 1 else 'are'} wrong."
    )


def _unsupported_sentence(evaluation: Evaluation) -> str:
    refused = int(evaluation.verdicts.get("unsupported", {}).get("n") or 0)
    if not refused:
        return ""
    are = "image is" if refused == 1 else "images are"
    return (
        f"{refused:,} {are} called unsupported; the other metrics count such images, too, by the "
        "most probable class."
    )


def _localisation_sentence(localisation: Localisation | None) -> str:
    if localisation is None:
        return ""
    return (
        f"Of {counted(len(localisation.names), 'tumour')} with an outline the heatmap's highest "
        f"place lies inside it in {percent(float(localisation.peak_inside.mean()))}; their "
        f"overlap (Dice) is {decimal(float(localisation.dice.mean()))} on average."
    )


def _draw(predictions: Predictions, history: Sequence[HistoryRow] | None) -> dict[str, bytes]:
    """Draw every plot once, by the name of its file."""
    drawn = {
        "confusion": plots.confusion_plot(predictions),
        "mistakes": plots.mistakes_plot(predictions),
    }
    if not predictions.labels_only:
        drawn["roc"] = plots.roc_plot(predictions)
        drawn["reliability"] = plots.reliability_plot(predictions)
    if history:
        drawn["curves"] = plots.curves_plot(history)
    return drawn


@functools.cache
def _template() -> jinja2.Template:
    """Load the page's template; every text in it is escaped."""
    surroundings = jinja2.Environment(
        loader=jinja2.PackageLoader("tumorscope.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    surroundings.filters |= {
        "metric": _metric,
        "interval": _interval,
        "percent": percent,
        "plain_name": plain_name,
        "fact": _fact,
    }
    return surroundings.get_template("report.html")


def _page(evaluation: Evaluation, drawn: Mapping[str, bytes], background: Background) -> bytes:
    protocol = background.get("protocol_text", "")
    text = _template().render(
        evaluation=evaluation,
        summary=summarise(evaluation),
        research_use_only=RESEARCH_USE_ONLY,
        levels=(
            ("by image", evaluation.images),
            ("by unique slice", evaluation.slices),
            ("by patient", evaluation.patients),
        ),
        # What has nothing to stand on at any level (three classes, no "no tumour") has no row.
        overall_rows=[
            row for row in _OVERALL_ROWS if evaluation.images.metrics[row[0]] is not None
        ],
        class_columns=_CLASS_COLUMNS,
        scan_columns=[
            column for column in _SCAN_COLUMNS if evaluation.images.metrics[column[0]] is not None
        ],
        plots={
            name: "data:image/png;base64," + base64.b64encode(content).decode()
            for name, content in drawn.items()
        },
        protocol=[part.strip() for part in protocol.split("\n\n") if part.strip()],
        recipe=background.get("recipe_text", "").strip(),
        environment=background.get("environment", {}),
        skipped=background.get("skipped", ()),
    )
    # A figure and its "%" stay in one line.
    return text.replace(" %", "\N{NO-BREAK SPACE}%").encode("utf-8", "replace")


def _metric(value: float | None, name: str) -> str:
    """Write a metric: shares in per cent, the rest with four digits."""
    if value is None:
        return "—"
    return decimal(value) if name in _IN_DECIMALS else percent(value)


def _has_spread(pair: Interval | None) -> TypeGuard[Interval]:
    """Tell whether the resamples differ: no spread seen is not certainty."""
    return pair is not None and pair[0] < pair[1]


def _interval(pair: Interval | None, name: str) -> str:
    if not _has_spread(pair):
        return ""
    if name in _IN_DECIMALS:
        return f"{pair[0]:.4f} to {pair[1]:.4f}"
    return percent_interval(pair)


def _fact(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else value
