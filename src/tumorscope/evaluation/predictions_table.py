"""Reads predictions that anybody's program wrote: a CSV file with a row a test image."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tumorscope.classes import ANY_TUMOUR, CLASSES, PRESENCE, class_name
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.datasets.tables import SPELLINGS, has_decimal_commas, plain_column, read_rows
from tumorscope.errors import DataError
from tumorscope.evaluation.predictions import Predictions, unanswerable

_PREFIXES = {
    "": "probability",
    "probability": "probability",
    "prob": "probability",
    "p": "probability",
    "score": "score",
    "logit": "score",
}
"""What may stand before a class's name in a column, and what it holds then."""

_LABELS = ("predicted", "prediction", "label", "class")
"""Columns that may hold the predicted class; beside the first two the others hold the true one."""


def read_predictions(path: Path, slices: Sequence[Slice], *, folded: bool) -> Predictions:
    """Read the predictions for the test part of a protocol.

    Columns: `file`, and a probability a class (`glioma` or `probability_glioma`, …) or a score a
    class (`score_glioma`, …: a softmax makes them probabilities) or the predicted class (`label`).
    Classes stand in their usual spellings; a file is named as in the data set, or by the end of
    that name as far as it is unique, or by a path that ends with it. Where semicolons or tabs part
    the columns, numbers may have a decimal comma.

    Args:
        path: The CSV file.
        slices: The test part; every one must have a row, and no other file may have one.
        folded: Whether the slices' folds are told apart in the report.

    Raises:
        DataError: A file is missing, unknown or there twice, a class is unknown, or probabilities
            do not sum to 1; the message says where.
    """
    header, files, rows = _rows(path)
    any_kind = any(item.label == ANY_TUMOUR for item in slices)
    columns, kind = _class_columns(path, header, any_kind=any_kind)
    order = _match(path, files, slices)
    ordered = [(files[number], rows[number]) for number in order]
    classes = tuple(columns)
    if kind == "label":
        probabilities, classes = _from_labels(path, ordered, columns[""], slices)
    else:
        probabilities = np.array(
            [
                [_number(path, file, columns[name], row[columns[name]]) for name in classes]
                for file, row in ordered
            ]
        )
    if kind == "score":
        powers = np.exp(probabilities - probabilities.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
    unknown = unanswerable(slices, classes)
    if unknown:
        raise DataError(f"{path}: no column for the class '{min(unknown)}' of the test part")
    try:
        found = Predictions.of_slices(
            slices,
            probabilities,
            classes=classes,
            folds=tuple(item.fold for item in slices) if folded else (),
            labels_only=kind == "label",
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return found


def _rows(path: Path) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """Return the columns' names, and of each row the file and all values by column."""
    (_, header), *lines = list(read_rows(path)) or [(0, [])]
    rows = []
    for number, values in lines:
        if len(values) > len(header):
            raise DataError(f"{path}: row {number} has more values than columns")
        if any(values):
            rows.append(dict(zip_longest(header, values, fillvalue="")))
    column = _file_column(path, header)
    files = [row[column] for row in rows]
    if has_decimal_commas(path):
        rows = [{name: value.replace(",", ".") for name, value in row.items()} for row in rows]
    return header, files, rows


def _file_column(path: Path, header: Sequence[str]) -> str:
    """Return the column that names the files: `file`, or the only one called like it.

    In an evaluation's own `predictions.csv` that is `name`.
    """
    plain = [plain_column(name) for name in header]
    names = ("file",) if "file" in plain else SPELLINGS["file"]
    if plain[:3] == ["name", "label", "predicted"]:
        names = ("name",)
    found = [column for column, name in zip(header, plain, strict=True) if name in names]
    if len(found) > 1:
        raise DataError(f"{path}: the columns {' and '.join(found)} may both name the files")
    if not found:
        raise DataError(
            f"{path}: the table has no column 'file'; it needs 'file' and a probability a class "
            "(glioma, meningioma, …), a score a class (score_glioma, …), or 'label'"
        )
    return found[0]


def _class_columns(
    path: Path, header: Sequence[str], *, any_kind: bool
) -> tuple[dict[str, str], str]:
    """Return the column of each class (or of the label, under ''), and what the columns hold.

    A tumour of any kind is a class only where the test has tumours of unknown kind.
    """
    found: dict[str, dict[str, str]] = {"probability": {}, "score": {}}
    for column in header:
        prefix, _, rest = column.replace(" ", "_").replace("-", "_").partition("_")
        names = [("", column)]
        if prefix.lower() in _PREFIXES:
            names.append((prefix.lower(), rest))
        for before, name in names:
            try:
                label = class_name(name)
            except DataError:
                continue
            kind = _PREFIXES[before]
            if (label == ANY_TUMOUR and not any_kind) or label in found[kind]:
                kinds = "the test tells kinds of tumours apart: give a column for each"
                why = f"'{label}' is there twice" if label in found[kind] else kinds
                raise DataError(f"{path}: column '{column}': {why}")
            found[kind][label] = column
    for kind, columns in found.items():
        if len(columns) > 1:
            return columns, kind
    plain = {plain_column(column): column for column in header}
    for name in _LABELS:
        if name in plain:
            return {"": plain[name]}, "label"
    raise DataError(
        f"{path}: the table has neither a column a class (glioma, meningioma, …) nor 'label'"
    )


def _match(path: Path, files: Sequence[str], slices: Sequence[Slice]) -> list[int]:
    """Return the row of each slice."""
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(slices):
        by_name[PurePosixPath(item.name).name].append(number)
    row_of: dict[int, int] = {}
    extra: list[str] = []
    for row, file in enumerate(files):
        parts = PurePosixPath(file.replace("\\", "/")).parts
        alike = by_name.get(parts[-1] if parts else "", ())
        same = [number for number in alike if _is_named(parts, slices[number])] or [
            number
            for number in alike
            if _ends_alike(parts, PurePosixPath(slice_name(slices[number])).parts)
        ]
        if not same:
            extra.append(file or f"row {row + 2}")
        elif len(same) > 1:
            first, second, *_ = (slice_name(slices[number]) for number in same)
            raise DataError(f"{path}: '{file}' may be {first} or {second}: give more of the path")
        elif same[0] in row_of:
            raise DataError(f"{path}: {slices[same[0]].name} has two rows")
        else:
            row_of[same[0]] = row
    if extra:
        more = f", nor are {len(extra) - 1:,} others" if len(extra) > 1 else ""
        raise DataError(
            f"{path}: '{extra[0]}' is not in the test part of {len(slices):,} images{more}: "
            "give the rows of the test part only"
        )
    missing = [item.name for number, item in enumerate(slices) if number not in row_of]
    if missing:
        more = f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise DataError(f"{path}: no row for {missing[0]}{more} of the test part")
    return [row_of[number] for number in range(len(slices))]


def _is_named(asked: Sequence[str], item: Slice) -> bool:
    """Tell whether a path is the whole name of a slice, with or without that of the data set."""
    return tuple(asked) in (PurePosixPath(item.name).parts, PurePosixPath(slice_name(item)).parts)


def _ends_alike(asked: Sequence[str], name: Sequence[str]) -> bool:
    """Tell whether one path is the end of the other; the data set's own name may be missing."""
    shorter = min(len(asked), len(name))
    if tuple(asked[-shorter:]) == tuple(name[-shorter:]):
        return True
    inside = name[1:]
    return tuple(asked[-len(inside) :]) == tuple(inside)


def _from_labels(
    path: Path,
    rows: Sequence[tuple[str, Mapping[str, str]]],
    column: str,
    slices: Sequence[Slice],
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return probabilities of 0 and 1, and the classes that are there or were predicted.

    Where that is one class alone, all of them: there are others that might have been predicted.
    """
    labels = []
    for file, row in rows:
        try:
            labels.append(class_name(row[column]))
        except DataError as error:
            raise DataError(f"{path}: {file}: {error}") from None
    tested = {item.label for item in slices}
    if ANY_TUMOUR in tested:
        tested.update(PRESENCE)
    elif ANY_TUMOUR in labels:
        raise DataError(f"{path}: '{ANY_TUMOUR}' says no class; say which tumour")
    classes = tuple(name for name in (*CLASSES, ANY_TUMOUR) if name in tested.union(labels))
    classes = classes if len(classes) > 1 else CLASSES
    return np.array([[float(label == name) for name in classes] for label in labels]), classes


def _number(path: Path, file: str, column: str, text: str) -> float:
    if not text:
        raise DataError(
            f"{path}: {file}: {column} is empty: every image of the test part needs an answer; "
            "what 'tumorscope predict' refused has none (evaluate the model file itself)"
        )
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: {file}: {column} is '{text}', not a number")
    return value
