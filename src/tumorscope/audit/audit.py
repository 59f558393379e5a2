"""Audits data sets: what is wrong with them before anything is trained on them.

Found are unreadable files, near-duplicates (copies, mirrored, turned and contrast-changed pictures
of one slice), near-duplicates on both sides of a split, one slice under two labels, the class
balance, and how well file facts alone predict the class; with predictions likely label errors, and
by the bundled model's OOD score pictures that are no brain MRI.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tumorscope.audit.file_facts import FileFacts, file_facts, odd_files
from tumorscope.audit.label_errors import LabelErrors
from tumorscope.audit.off_topic import OffTopic, find_off_topic
from tumorscope.audit.shortcuts import FOLDS, Shortcut, find_shortcuts, rare_classes
from tumorscope.classes import CLASSES
from tumorscope.datasets.catalogue import Skipped, Slice
from tumorscope.datasets.groups import patient_space
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.pictures import read_picture
from tumorscope.datasets.sources import read_set
from tumorscope.errors import DataError
from tumorscope.files import write_text
from tumorscope.images import UnreadableImageError
from tumorscope.images.listing import Ignored, summarise
from tumorscope.near_duplicates.detection import (
    KINDS,
    Descriptor,
    NearDuplicate,
    describe,
    find_near_duplicates,
    near_duplicate_clusters,
)
from tumorscope.parallel import map_ordered
from tumorscope.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class AuditedFile:
    """A picture that was read.

    Attributes:
        name: The slice's name, behind that of its folder where several were audited.
        item: What its place or its table says about it; its label is the folder's name where that
            is no known class, or empty.
        group: Its patient, where the data set tells it, or empty.
        cluster: Number of its near-duplicate cluster; files with the same one show the same slice.
        flat: Whether it shows nothing: one grey value all over.
        facts: What the file tells without looking at the brain.
    """

    name: str
    item: Slice
    group: str
    cluster: int
    flat: bool
    facts: FileFacts

    @property
    def label(self) -> str:
        """The class."""
        return self.item.label

    @property
    def split(self) -> str:
        """The side of the split, or empty."""
        return self.item.split

    @property
    def unit(self) -> str:
        """The patient, or where none is known the near-duplicate cluster."""
        return self.group or f"duplicates-{self.cluster}"


@dataclass(frozen=True)
class BalanceRow:
    """How many files, and how many different slices, one side of the split has of a class."""

    split: str
    label: str
    files: int
    slices: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit:
    """What was found.

    Attributes:
        folders: What was audited: folders or tables.
        files: The pictures that were read, by name.
        unreadable: The files that were not, and why.
        pairs: All pairs of files that show the same slice; positions in `files`.
        odd: Reasons, by position in `files`, why a file looks unlike the rest.
        shortcuts: How well file facts predict the class, all together first; empty where there
            are too few classes.
        notes: What the reader must know about how the folder was read.
        ignored: Files of kinds that hold no slices.
        label_errors: What predictions say about the labels; None where there are none.
        off_topic: Pictures that are no brain MRI, the surest first; None where not looked for.
    """

    folders: tuple[Path, ...]
    files: tuple[AuditedFile, ...]
    unreadable: tuple[Skipped, ...]
    pairs: tuple[NearDuplicate, ...]
    odd: dict[int, str]
    shortcuts: tuple[Shortcut, ...]
    notes: tuple[str, ...]
    ignored: tuple[Ignored, ...] = field(default=())
    label_errors: LabelErrors | None = None
    off_topic: tuple[OffTopic, ...] | None = None

    def __repr__(self) -> str:
        folders = ", ".join(map(str, self.folders))
        return (
            f"<Audit {folders}: files: {len(self.files):,}, different slices: "
            f"{self.unique_slices:,}, unreadable: {len(self.unreadable):,}>"
        )

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The sides of the split, empty when there are fewer than two."""
        names = tuple(sorted({item.split for item in self.files if item.split}))
        return names if len(names) > 1 else ()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, known classes first."""
        present = {item.label for item in self.files if item.label}
        return tuple(sorted(present, key=lambda name: (name not in CLASSES, name)))

    @cached_property
    def unique_slices(self) -> int:
        """The number of different slices; a flat picture shows none."""
        return _different(self.files)

    @cached_property
    def pairs_across_splits(self) -> tuple[NearDuplicate, ...]:
        """Near-duplicates on different sides of the split."""
        return self._differing(lambda item: item.split)

    @cached_property
    def label_conflicts(self) -> tuple[NearDuplicate, ...]:
        """Near-duplicates under different labels."""
        return self._differing(lambda item: item.label)

    @cached_property
    def pairs_of_two_groups(self) -> tuple[NearDuplicate, ...]:
        """Near-duplicates that a table assigns to different patients."""
        return self._differing(lambda item: item.group)

    def _differing(self, attribute: Callable[[AuditedFile], str]) -> tuple[NearDuplicate, ...]:
        """Return the pairs that have an attribute both, and not the same."""
        values = [attribute(item) for item in self.files]
        return tuple(
            pair
            for pair in self.pairs
            if values[pair.first]
            and values[pair.second]
            and values[pair.first] != values[pair.second]
        )

    def leaked(self, split: str) -> int:
        """Return how many files of one side show a slice that is on another side as well."""
        return self._on_both_sides(split, lambda item: str(item.cluster))

    def shared_groups(self, split: str) -> int:
        """Return how many files of one side are of a patient who is on another side as well."""
        return self._on_both_sides(split, lambda item: item.group)

    def _on_both_sides(self, split: str, attribute: Callable[[AuditedFile], str]) -> int:
        sides: defaultdict[str, set[str]] = defaultdict(set)
        for item in self.files:
            if item.split and attribute(item):
                sides[attribute(item)].add(item.split)
        return sum(item.split == split and len(sides[attribute(item)]) > 1 for item in self.files)

    def balance(self) -> tuple[BalanceRow, ...]:
        """Count files and different slices of each class, on each side and in all (empty side)."""
        return tuple(
            BalanceRow(split, label, len(chosen), _different(chosen))
            for split in dict.fromkeys((*self.splits, ""))
            for label in self.labels
            if (
                chosen := [
                    item
                    for item in self.files
                    if item.label == label and (not split or item.split == split)
                ]
            )
        )

    def groups(self) -> Iterator[dict[str, str]]:
        """Return the rows of a table of groups: `file, class, twin_cluster, group`.

        The group is the patient where a table tells it, united with those of all near-duplicates,
        else the near-duplicate cluster: patients cannot be seen in the pictures.
        """
        clusters = 1 + max(item.cluster for item in self.files)
        known = {
            group: clusters + number
            for number, group in enumerate(sorted({item.group for item in self.files} - {""}))
        }
        edges = [(item.cluster, known[item.group]) for item in self.files if item.group]
        ends = np.array(edges, dtype=np.intp).reshape(-1, 2)
        size = clusters + len(known)
        joined = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
        _, union = connected_components(joined, directed=False)
        names: dict[int, str] = {}
        for group, place in known.items():
            names.setdefault(int(union[place]), group)
        for item in self.files:
            yield {
                "file": item.name,
                "class": item.label,
                "twin_cluster": str(item.cluster),
                "group": names.get(int(union[item.cluster]), f"duplicates-{item.cluster}"),
            }

    @property
    def names(self) -> list[str]:
        """The files' names."""
        return [item.name for item in self.files]

    def save(self, path: Path | str) -> Path:
        """Write the findings as a page (HTML), whole or not at all, and return its path."""
        from tumorscope.audit.audit_report import render_page  # noqa: PLC0415  (it imports this)

        write_text(Path(path), render_page(self))
        return Path(path)

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain values for JSON."""
        return {
            "files": len(self.files),
            "unique_slices": self.unique_slices,
            "unreadable": [asdict(item) for item in self.unreadable],
            "ignored": [{"name": item.path, "kind": item.kind} for item in self.ignored],
            "outlines": sum(item.item.mask is not None for item in self.files),
            "patients": len({item.group for item in self.files} - {""}),
            "near_duplicates": {
                kind: sum(pair.kind == kind for pair in self.pairs) for kind in KINDS
            },
            "across_splits": {
                name: {
                    "files": sum(item.split == name for item in self.files),
                    "leaked": self.leaked(name),
                    "of_shared_patients": self.shared_groups(name),
                }
                for name in self.splits
            },
            "balance": [asdict(row) for row in self.balance()],
            "shortcuts": [asdict(item) for item in self.shortcuts],
            "odd": [
                {"name": self.files[place].name, "reason": reason}
                for place, reason in self.odd.items()
            ],
            "label_errors": self.label_errors and self.label_errors.to_json(self.names),
            "off_topic": None
            if self.off_topic is None
            else [item.to_json(self.names) for item in self.off_topic],
            "label_conflicts": [self._pair(pair) for pair in self.label_conflicts],
            "notes": list(self.notes),
            "pairs": [self._pair(pair) for pair in self.pairs],
        }

    def _pair(self, pair: NearDuplicate) -> dict[str, object]:
        return {
            "first": self.files[pair.first].name,
            "second": self.files[pair.second].name,
            "kind": pair.kind,
            "similarity": round(pair.similarity, 3),
        }


def audit(
    places: Sequence[DataSource | Path | str] | DataSource | Path | str,
    *,
    predictions: Path | str | None = None,
    off_topic: bool = False,
    progress: Progress = silent,
) -> Audit:
    """Audit folders or tables as one data set.

    They are read as training reads them (see `tumorscope.datasets.sources.read_set`), but pictures
    of an unknown class are audited under the name of their folder.

    Args:
        places: A data set, or several.
        predictions: Predictions out of fold, by which likely label errors are ranked: a folder of
            `tumorscope crossval`, or a CSV file (see `tumorscope.audit.out_of_fold`).
        off_topic: Whether to look for pictures that are no brain MRI, by the bundled model.
        progress: Shows how far the reading and comparing are.

    Returns:
        What was found.

    Raises:
        DataError: A place is missing, there is no picture that can be read, or the predictions are
            none for these pictures, or by a model that learned from them.
    """
    if isinstance(places, DataSource | Path | str):
        places = [places]
    sources = [DataSource.of(place) for place in places]
    listed: list[tuple[str, Slice]] = []
    unreadable: list[Skipped] = []
    ignored: list[Ignored] = []
    notes: list[str] = []
    for source in sources:
        catalogue = read_set(source, strict=False, progress=progress)
        # Names inside one folder are unique, those of several folders need not be.
        prefix = f"{source.path.as_posix()}/" if len(sources) > 1 else ""
        listed += [(prefix + item.name, item) for item in catalogue.slices]
        unreadable += [Skipped(prefix + item.name, item.reason) for item in catalogue.skipped]
        ignored += [Ignored(prefix + item.path, item.kind) for item in catalogue.ignored]
        notes += catalogue.notes
    answers = list(
        progress(
            map_ordered(_read, [item for _, item in listed]), total=len(listed), label="reading"
        )
    )
    read: list[tuple[str, Slice, Descriptor, FileFacts]] = []
    for (name, item), answer in zip(listed, answers, strict=True):
        if isinstance(answer, str):
            unreadable.append(Skipped(name, answer.removeprefix(f"{item.path}: ")))
        else:
            read.append((name, item, *answer))
    if not read:
        raise DataError(f"none of {len(listed)} pictures can be read, the first: {answers[0]}")
    descriptors = [descriptor for _, _, descriptor, _ in read]
    pairs = find_near_duplicates(descriptors, progress=progress)
    clusters = near_duplicate_clusters(len(read), pairs)
    files = tuple(
        AuditedFile(
            name=name,
            item=item,
            group=_group(item, sources),
            cluster=int(cluster),
            flat=descriptor.is_flat,
            facts=facts,
        )
        for (name, item, descriptor, facts), cluster in zip(read, clusters, strict=True)
    )
    return Audit(
        folders=tuple(source.path for source in sources),
        files=files,
        unreadable=tuple(unreadable),
        pairs=tuple(pairs),
        odd=_odd(files),
        shortcuts=_shortcuts(files),
        notes=(*notes, *_notes(files, ignored)),
        ignored=tuple(ignored),
        label_errors=None if predictions is None else _label_errors(Path(predictions), files),
        off_topic=_off_topic(files, progress) if off_topic else None,
    )


def _group(item: Slice, sources: Sequence[DataSource]) -> str:
    """Return a slice's patient; of several sets with the set, which numbers them for itself."""
    if len(sources) == 1 or not item.group:
        return item.group
    return f"{patient_space(item.source)}/{item.group}"


def _read(item: Slice) -> tuple[Descriptor, FileFacts] | str:
    try:
        grey = read_picture(item)
        return describe(grey), file_facts(item.path, grey)
    except UnreadableImageError as error:
        return str(error)


def _different(files: Sequence[AuditedFile]) -> int:
    """Return how many different slices files show."""
    return len({item.cluster for item in files if not item.flat})


def _odd(files: Sequence[AuditedFile]) -> dict[int, str]:
    reasons = odd_files([item.facts for item in files])
    for place, item in enumerate(files):
        if item.flat:
            reasons[place] = "nothing to see: one grey value all over"
    return dict(sorted(reasons.items()))


def _shortcuts(files: Sequence[AuditedFile]) -> tuple[Shortcut, ...]:
    labelled = [item for item in files if item.label]
    # Slices of one patient are alike, and near-duplicates: none may help to guess another.
    return find_shortcuts(
        [item.facts for item in labelled],
        [item.label for item in labelled],
        [item.unit for item in labelled],
    )


def _label_errors(predictions: Path, files: Sequence[AuditedFile]) -> LabelErrors:
    from tumorscope.audit.out_of_fold import find_label_errors  # noqa: PLC0415  (slow to import)

    return find_label_errors(
        predictions,
        [item.item for item in files],
        [item.cluster for item in files],
        [item.unit for item in files],
    )


def _off_topic(files: Sequence[AuditedFile], progress: Progress) -> tuple[OffTopic, ...]:
    from tumorscope.inference import Classifier  # noqa: PLC0415  (slow to import)

    return find_off_topic([item.item for item in files], Classifier.load(), progress=progress)


def _notes(files: Sequence[AuditedFile], ignored: Sequence[Ignored]) -> Iterator[str]:
    if ignored:
        yield summarise(ignored)
    unknown = sorted({item.label for item in files if item.label} - set(CLASSES))
    if unknown:
        yield (
            f"{', '.join(unknown)}: no class that tumorscope knows ({', '.join(CLASSES)}); "
            "audited under the folder's name"
        )
    labelled = [item for item in files if item.label]
    rare = rare_classes([item.label for item in labelled], [item.unit for item in labelled])
    if rare:
        yield (
            f"{', '.join(rare)}: fewer than {FOLDS} patients, or slices where none are known: not "
            "in 'class told from the file'"
        )
    without = len(files) - len(labelled)
    if without:
        stand = "1 file stands" if without == 1 else f"{without:,} files stand"
        yield f"{stand} in no class folder: left out where classes are compared"
    if len({item.split for item in files if item.split}) < 2:
        yield "no split (folders such as Training and Testing on top): nothing to compare across"
