"""Holds a model's predictions for a set of images: one row an image, a CSV file on disk."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tumorscope.classes import ANY_TUMOUR, CLASSES, NO_TUMOUR, PRESENCE
from tumorscope.datasets.catalogue import Slice, slice_name
from tumorscope.errors import DataError
from tumorscope.files import write_bytes

T = TypeVar("T")

_COLUMN: str = "probability_"
"""What a CSV column of probabilities is called before the class's name."""

_OPTIONAL: Final = ("folds", "verdicts", "paths")
"""Columns that a table may lack."""


def unanswerable(slices: Iterable[Slice], classes: Iterable[str]) -> set[str]:
    """Return the classes of a test that a model does not know.

    Args:
        slices: The test part.
        classes: The model's. Where the kind of some tumours is not known it need know `notumor`
            alone: the rest are tumours.
    """
    labels = {item.label for item in slices}
    return ({NO_TUMOUR} if ANY_TUMOUR in labels else labels) - set(classes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """A model's predictions for a set of images, and their targets.

    Attributes:
        classes: The classes' names, in the order of the probabilities' columns.
        names: The images' names, length N.
        labels: The true classes, length N.
        groups: Patients (or near-duplicate clusters), length N: the unit that intervals resample.
        clusters: Images with the same one show the same slice, length N.
        probabilities: Shape `[N, C]`, float64; every row sums to 1.
        folds: The fold in which each image was tested, length N; empty when there are no folds.
        verdicts: The verdict on each answer, length N; empty when not known.
        paths: The image files, length N, for the plot of mistakes; empty when not known.
        labels_only: Whether the probabilities are 0 and 1 because only labels are known, so that
            what needs probabilities (calibration, ROC) has nothing to stand on.

    Raises:
        DataError: There are no images, or something in the table does not fit together.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    clusters: tuple[str, ...]
    probabilities: NDArray[np.float64]
    folds: tuple[int, ...] = ()
    verdicts: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    labels_only: bool = False

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("there are no predictions to evaluate: the test part is empty")
        known = set(self.classes) & set(CLASSES)
        if self.classes != PRESENCE and (len(known) != len(self.classes) or len(known) < 2):
            raise DataError(
                f"predictions need two or more different classes out of {', '.join(CLASSES)}, "
                f"not {', '.join(self.classes) or 'none'}"
            )
        self._check_lengths()
        for name, label in zip(self.names, self.labels, strict=True):
            if label not in self.classes:
                listed = ", ".join(self.classes)
                raise DataError(f"{name}: label '{label}' is none of the classes ({listed})")
        self._check_probabilities()

    def _check_lengths(self) -> None:
        count = len(self.names)
        if self.probabilities.shape != (count, len(self.classes)):
            raise DataError(
                f"{count} images in {len(self.classes)} classes need probabilities of shape "
                f"{(count, len(self.classes))}, not {self.probabilities.shape}"
            )
        for what in ("labels", "groups", "clusters", *_OPTIONAL):
            length = len(getattr(self, what))
            if length != count and not (what in _OPTIONAL and length == 0):
                raise DataError(f"{count} images need as many {what}, not {length}")
        for name, group, cluster in zip(self.names, self.groups, self.clusters, strict=True):
            if not group or not cluster:
                raise DataError(f"{name} has no group or no cluster: every image needs both")

    def _check_probabilities(self) -> None:
        values = self.probabilities
        # Written so that a NaN is wrong too.
        right = ((values >= 0) & (values <= 1.001)).all(axis=1)
        right &= np.abs(values.sum(axis=1) - 1) <= 1e-3
        if not right.all():
            row = int(np.flatnonzero(~right)[0])
            shown = ", ".join(f"{value:.4g}" for value in values[row])
            raise DataError(
                f"{self.names[row]}: the probabilities ({shown}) must lie between 0 and 1 "
                "and sum to 1"
            )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def target(self) -> NDArray[np.intp]:
        """The target class of each image as a column number, shape `[N]`."""
        return np.array([self.classes.index(label) for label in self.labels])

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The most probable class of each image as a column number, shape `[N]`."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.intp)

    @classmethod
    def of_slices(
        cls,
        slices: Sequence[Slice],
        probabilities: NDArray[np.floating],
        *,
        classes: Sequence[str],
        folds: Sequence[int] = (),
        verdicts: Sequence[str] = (),
        labels_only: bool = False,
    ) -> "Predictions":
        """Put a catalogue's slices and a model's answers together.

        Where the kind of some tumours is not known, a tumour of any kind is told from none: its
        probability is that of all kinds together.

        Args:
            slices: The slices, length N. One without a cluster counts as a slice of its own,
                one without a group as a group of its own cluster.
            probabilities: Shape `[N, C]`.
            classes: The names of the columns.
            folds: The fold in which each was tested, length N or 0.
            verdicts: The verdict on each answer, length N or 0.
            labels_only: Whether the probabilities are 0 and 1 because only labels are known.

        Returns:
            The predictions, in the order of the slices, by the names of `slice_name`.

        Raises:
            DataError: See the class.
        """
        clusters = tuple(item.cluster or slice_name(item) for item in slices)
        labels = tuple(item.label for item in slices)
        given = np.asarray(probabilities, dtype=np.float64)
        if ANY_TUMOUR in labels:
            labels = tuple(label if label == NO_TUMOUR else ANY_TUMOUR for label in labels)
            none = np.array(classes) == NO_TUMOUR
            summed = [given[:, none].sum(axis=1), given[:, ~none].sum(axis=1)]
            classes, given = PRESENCE, np.stack(summed, axis=1)
        return cls(
            classes=tuple(classes),
            names=tuple(slice_name(item) for item in slices),
            labels=labels,
            groups=tuple(
                item.group or cluster for item, cluster in zip(slices, clusters, strict=True)
            ),
            clusters=clusters,
            probabilities=given,
            folds=tuple(folds),
            verdicts=tuple(verdicts),
            paths=tuple(item.path for item in slices),
            labels_only=labels_only,
        )

    def rows(self, numbers: NDArray[np.intp]) -> "Predictions":
        """Return the predictions of some images.

        Args:
            numbers: Their row numbers, in the order wanted.
        """

        def taken(values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[number] for number in numbers) if values else ()

        return replace(
            self,
            names=taken(self.names),
            labels=taken(self.labels),
            groups=taken(self.groups),
            clusters=taken(self.clusters),
            probabilities=self.probabilities[numbers],
            folds=taken(self.folds),
            verdicts=taken(self.verdicts),
            paths=taken(self.paths),
        )

    def by_slice(self) -> "Predictions":
        """Return one row a unique slice: the mean probabilities of the images that show it.

        A cluster whose images stand under two labels gives a row for each label.
        """
        return _merge(self, self.clusters)

    def by_patient(self) -> "Predictions":
        """Return one row a group: the mean probabilities of its unique slices.

        Copies of a slice do not count twice. A group with images of two labels gives a row for
        each label.
        """
        slices = self.by_slice()
        return _merge(slices, slices.groups)

    def save(self, path: Path) -> None:
        """Write the table as a CSV file, whole or not at all.

        Probabilities keep as many digits as they have, so that metrics of the table are those of
        the predictions. Paths are left out: they are true on one machine only.

        Args:
            path: The file.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        folds = ["fold"] if self.folds else []
        verdicts = ["verdict"] if self.verdicts else []
        columns = [_COLUMN + name for name in self.classes]
        writer.writerow(
            ["name", "label", "predicted", "group", "cluster", *folds, *verdicts, *columns]
        )
        for row, name in enumerate(self.names):
            writer.writerow(
                [
                    name,
                    self.labels[row],
                    self.classes[self.predicted[row]],
                    self.groups[row],
                    self.clusters[row],
                    *self.folds[row : row + 1],
                    *self.verdicts[row : row + 1],
                    *self.probabilities[row].tolist(),
                ]
            )
        write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read a table that `save` wrote.

        Args:
            path: The CSV file.

        Returns:
            The predictions, without paths.

        Raises:
            DataError: The file is no such table; the message names the file and the reason.
            OSError: The file cannot be read.
        """
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            rows = list(reader)
            header = reader.fieldnames or ()
            columns = [name for name in header if name.startswith(_COLUMN)]
            values = np.array([[float(row[name]) for name in columns] for row in rows])
            return cls(
                classes=tuple(name.removeprefix(_COLUMN) for name in columns),
                names=tuple(row["name"] for row in rows),
                labels=tuple(row["label"] for row in rows),
                groups=tuple(row["group"] for row in rows),
                clusters=tuple(row["cluster"] for row in rows),
                probabilities=values,
                folds=tuple(int(row["fold"]) for row in rows) if "fold" in header else (),
                verdicts=tuple(row["verdict"] for row in rows) if "verdict" in header else (),
                labels_only=bool(np.isin(values, (0, 1)).all()),
            )
        except KeyError as error:
            raise DataError(f"{path}: no column {error}: not a table of predictions") from None
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        except (ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{path}: not a whole table of predictions ({error})") from None


def pool(parts: Iterable[Predictions]) -> Predictions:
    """Put the predictions of several folds into one table.

    Folds, verdicts and paths are kept when every part has them.

    Args:
        parts: The predictions, one a fold.

    Returns:
        All rows, part after part.

    Raises:
        DataError: There are none, their classes differ, or an image stands in two parts.
    """
    tables = tuple(parts)
    if not tables:
        raise DataError("there are no predictions to pool: run at least one fold")
    seen: set[str] = set()
    for table in tables:
        if table.classes != tables[0].classes:
            raise DataError(
                f"predictions over {', '.join(tables[0].classes)} and over "
                f"{', '.join(table.classes)} cannot be pooled: train all folds on one data set"
            )
        twice = seen.intersection(table.names)
        if twice:
            raise DataError(f"{min(twice)} was tested in two folds: pool disjoint folds only")
        seen.update(table.names)
    return Predictions(
        classes=tables[0].classes,
        names=tuple(name for table in tables for name in table.names),
        labels=tuple(label for table in tables for label in table.labels),
        groups=tuple(group for table in tables for group in table.groups),
        clusters=tuple(cluster for table in tables for cluster in table.clusters),
        probabilities=np.concatenate([table.probabilities for table in tables]),
        labels_only=any(table.labels_only for table in tables),
        **{
            what: tuple(value for table in tables for value in getattr(table, what))
            if all(getattr(table, what) for table in tables)
            else ()
            for what in _OPTIONAL
        },
    )


def _merge(predictions: Predictions, keys: tuple[str, ...]) -> Predictions:
    """Average the rows that have key and label in common; rows are sorted by both.

    A verdict that all of them share is that of their mean; else it is uncertain.
    """
    pairs = list(zip(keys, predictions.labels, strict=True))
    units = sorted(set(pairs))
    place = {unit: row for row, unit in enumerate(units)}
    rows = np.array([place[pair] for pair in pairs])
    sums = np.zeros((len(units), len(predictions.classes)))
    np.add.at(sums, rows, predictions.probabilities)
    groups = [""] * len(units)
    for row, group in sorted(zip(rows.tolist(), predictions.groups, strict=True), reverse=True):
        groups[row] = group
    verdicts: list[set[str]] = [set() for _ in units]
    for row, verdict in zip(rows, predictions.verdicts, strict=False):
        verdicts[row].add(verdict)
    names = tuple(key for key, _ in units)
    return Predictions(
        classes=predictions.classes,
        labels_only=predictions.labels_only,
        names=names,
        labels=tuple(label for _, label in units),
        groups=tuple(groups),
        clusters=names,
        probabilities=sums / np.bincount(rows)[:, None],
        verdicts=tuple(
            min(given) if len(given) == 1 else "uncertain" for given in verdicts if given
        ),
    )
