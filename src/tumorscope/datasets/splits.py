"""Splits a catalogue into training, validation and test parts, by the name of a protocol."""

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tumorscope.classes import ANY_TUMOUR, CLASSES, TUMOUR_CLASSES
from tumorscope.datasets.catalogue import Catalogue, Slice, check_groups
from tumorscope.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a data set is split into a training and a test part.

    Attributes:
        name: What `--split` says.
        source: The data set it is for; empty for any.
        kind: `published`: the publisher's split, leaks and all; `folds`: one fold tests, the
            others train, and no group stands in both; `all`: everything trains, nothing tests;
            `external`: everything tests, nothing trains.
        explanation: What the protocol can and cannot show, in plain words.
        published_ids: Whether folds and patients are those of figshare's `cvind.mat`, as published
            results have them: patient numbers that differ in a letter only are two patients.
        validation_share: The share that is held out for validation unless somebody asks for
            another; None: as the recipe says.
    """

    name: str
    source: str
    kind: Literal["published", "folds", "all", "external"]
    explanation: str
    published_ids: bool = False
    validation_share: float | None = None

    def owns(self, item: Slice) -> bool:
        """Tell whether a slice is of the set that this is for, not of one added to it."""
        return self.source in ("", item.source)


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The parts of one protocol and fold.

    Attributes:
        protocol: How it was split.
        fold: The fold that tests; 0 where there are none.
        classes: The classes to learn, in the order of `CLASSES`; none where nothing trains.
        train: Slices to train on; tumours of unknown kind last.
        validation: Slices that settings are chosen on; none of a group in `train`.
        test: Slices to test on; none where everything trains. Tumours of unknown kind are among
            them only where nothing trains.
        leaked: Test slices whose group stands in `train` or `validation` as well; 0 for folds.
        left_out: Training slices dropped because their group is in the test part: of published
            folds that know a patient under two numbers, of sets added to the protocol's own, or
            joined by near-duplicates that were found with these; and slices of a published
            validation part whose group is in the training part.
        doubted: Slices left out of training because their label is doubted; of folds, left out
            of the test part too.
        unused: Slices in none of the parts for another reason: the published split names no part
            for them, or their class is none of the protocol's.
    """

    protocol: Protocol
    fold: int
    classes: tuple[str, ...]
    train: tuple[Slice, ...]
    validation: tuple[Slice, ...]
    test: tuple[Slice, ...]
    leaked: int
    left_out: int
    doubted: int
    unused: int = 0


PROTOCOLS: Final = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="kaggle-official",
            source="kaggle",
            kind="published",
            explanation=(
                "The Kaggle set's own Training and Testing folders: the split behind most "
                "published figures. Most of its test images show a patient, and often the very "
                "slice, that is in Training too, so the figure says how well the network "
                "remembers, not how it would do on a new patient."
            ),
        ),
        Protocol(
            name="kaggle-patient",
            source="kaggle",
            kind="folds",
            explanation=(
                "Five folds of the Kaggle set by patient where the patient is known and by cluster "
                "of near-duplicates where not; suspect labels are left out. No patient of the "
                "test fold was seen in training: of sets added to Kaggle's, and of folds that near-"
                "duplicates found with them join, what stands in the test part is left out. The "
                "no-tumour images still come from other scanners than the tumours, so it says "
                "little about healthy scans from elsewhere."
            ),
        ),
        Protocol(
            name="figshare-patient",
            source="figshare",
            kind="folds",
            explanation=(
                "Five patient-wise folds of the figshare set, three tumour classes, T1 with "
                "contrast, two hospitals: the second partition of the set's authors, made "
                "stricter. Training slices whose patient number differs from a test patient's "
                "only in a letter are left out as well. Published results use the authors' first "
                "partition (figshare-cvind) and cannot be compared with these."
            ),
        ),
        Protocol(
            name="figshare-cvind",
            source="figshare",
            kind="folds",
            published_ids=True,
            validation_share=0.0,
            explanation=(
                "The five folds that come with the figshare set (cvind.mat), by the published "
                "patient numbers: the partition of published results. All four other folds are "
                "trained on for a fixed number of epochs; nothing is held out for validation. "
                "Numbers that differ only in a letter may be one person; how many test slices "
                "have such a neighbour in training is counted."
            ),
        ),
        Protocol(
            name="sartaj-official",
            source="sartaj",
            kind="published",
            explanation=(
                "The SARTAJ set's own Training and Testing folders. Most test images are copies of "
                "training images; but hardly any of the gliomas are, and those come from elsewhere "
                "and their labels are known to be unreliable. Everybody's figures fall there."
            ),
        ),
        Protocol(
            name="everything",
            source="kaggle",
            kind="all",
            explanation=(
                "Every slice of the Kaggle set and of the sets added to it is learned from, but "
                "for doubted labels and what is held out, by group, to choose by. Nothing is left "
                "for a test: how good such a network is, folds by the same recipe tell."
            ),
        ),
        Protocol(
            name="published-split",
            source="",
            kind="published",
            explanation=(
                "The train, validation and test parts as the data set gives them. Groups that "
                "stand both in training and in the test are counted, not moved; validation slices "
                "whose group is in training are left out."
            ),
        ),
        Protocol(
            name="grouped-folds",
            source="",
            kind="folds",
            explanation=(
                "Five folds by group: patients where the data set names them, else clusters of "
                "near-duplicates. No group of the test fold was seen in training."
            ),
        ),
        Protocol(
            name="external",
            source="",
            kind="external",
            explanation=(
                "External validation: every slice of the data tests, and nothing is learned from. "
                "It says how good a finished model is on scans from elsewhere, as far as it has "
                "seen none of them. Where the kind of some tumours is not known, a tumour of any "
                "kind is told from none."
            ),
        ),
    )
}
"""The protocols by name."""

_DRAWN: Final = (1, 2, 3, 4, 5)
"""The folds that are drawn where the data gives none."""

_VALIDATION_SHARE: Final = 0.1

_MOST_PARTS: Final = 20
"""In so many parts shares are that no whole part makes: 0.45 are 9 of 20."""

_NEAR_ENOUGH: Final = 0.01


def protocol_named(split: str) -> Protocol:
    """Return the protocol of a name.

    Raises:
        DataError: There is none.
    """
    if split not in PROTOCOLS:
        near = get_close_matches(split, PROTOCOLS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise DataError(f"unknown split '{split}': it is one of {', '.join(PROTOCOLS)}{hint}")
    return PROTOCOLS[split]


def check_fold(split: str, fold: int | None) -> None:
    """Refuse a fold that somebody asked for where a protocol has none.

    Args:
        split: The protocol.
        fold: What was asked for; None: nothing.

    Raises:
        DataError: The protocol is unknown, or has no folds.
    """
    if fold is not None and protocol_named(split).kind != "folds":
        raise DataError(f"{split} has no folds: leave out fold {fold}, or use another split")


def partition(
    catalogue: Catalogue,
    *,
    split: str,
    fold: int = 1,
    validation_share: float | None = None,
    seed: int = 0,
) -> Partition:
    """Split a catalogue.

    Args:
        catalogue: Slices that all have a group.
        split: A name in `PROTOCOLS`.
        fold: The fold that tests, from 1; of no meaning where there are no folds.
        validation_share: The share of the training part's slices that is held out, by group; None:
            the protocol's own, else a tenth. A published validation part is taken as it is.
        seed: Which groups are held out, and how folds are drawn where the data has none.

    Returns:
        The three parts.

    Raises:
        DataError: The protocol is unknown or does not fit the data, the fold does not exist, a
            class is missing, or a group would stand on both sides.
    """
    protocol = protocol_named(split)
    if protocol.kind == "external":
        return _external(catalogue, protocol)
    named = [item for item in catalogue.slices if item.label != ANY_TUMOUR]
    own = _own(named, protocol)
    added = [item for item in named if not protocol.owns(item)]
    if validation_share is None:
        share = protocol.validation_share
        validation_share = _VALIDATION_SHARE if share is None else share
    test: list[Slice] = []
    train: list[Slice] = []
    chosen: list[Slice] = []
    if protocol.kind == "all":
        fold, others = 0, own
    elif protocol.kind == "published":
        fold = 0
        others = []
        train, chosen, test = _published_parts(own, split)
    else:
        test, others = _fold_parts([item for item in own if not item.doubt], protocol, fold, seed)
        if not protocol.source:
            check_groups({"test": test, "train": others})
    # What may stand on both sides by its publisher's folds, or is added from other sets, goes.
    tested = {item.group for item in test}
    candidates = added if protocol.published_ids else [*others, *added]
    train += others if protocol.published_ids else []
    train += [item for item in candidates if item.group not in tested]
    left_out = sum(not item.doubt and item.group in tested for item in candidates)
    doubted = sum(bool(item.doubt) for item in {*own, *added} - set(test))
    train = [item for item in train if not item.doubt]
    trained = {item.group for item in train}
    validation = [item for item in chosen if not item.doubt and item.group not in trained]
    left_out += sum(not item.doubt and item.group in trained for item in chosen)
    classes = _classes(named, train, test, split)
    if not validation:
        train, validation = hold_out(train, share=validation_share, seed=seed)
    if "notumor" in classes:
        train += _any_tumours(catalogue, {item.group for item in (*test, *validation)})
    check_groups({"train": train, "validation": validation})
    learned = {item.group for item in (*train, *validation)}
    return Partition(
        protocol=protocol,
        fold=fold,
        classes=classes,
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
        leaked=sum(item.group in learned for item in test),
        left_out=left_out,
        doubted=doubted,
        unused=len(catalogue) - len(train) - len(validation) - len(test) - left_out - doubted,
    )


def _own(named: list[Slice], protocol: Protocol) -> list[Slice]:
    """Return the slices of the set that a protocol is for."""
    own = [item for item in named if protocol.owns(item)]
    if own:
        return own
    if protocol.source:
        raise DataError(
            f"{protocol.name} needs the {protocol.source} set, which --data does not hold"
        )
    raise DataError(
        f"{protocol.name}: the data has no slice without a tumour, or with one of known kind"
    )


def _external(catalogue: Catalogue, protocol: Protocol) -> Partition:
    """Return the whole catalogue, less doubted labels, as a test."""
    test = tuple(item for item in catalogue.slices if not item.doubt)
    return Partition(
        protocol=protocol,
        fold=0,
        classes=(),
        train=(),
        validation=(),
        test=test,
        leaked=0,
        left_out=0,
        doubted=len(catalogue) - len(test),
    )


def _published_parts(own: list[Slice], split: str) -> tuple[list[Slice], list[Slice], list[Slice]]:
    """Return the publisher's training, validation and test parts; the second may be empty."""
    parts = {
        name: [item for item in own if item.split == name]
        for name in ("train", "validation", "test")
    }
    for name in ("train", "test"):
        if not parts[name]:
            found = ", ".join(part for part, slices in parts.items() if slices)
            raise DataError(
                f"{split}: the data has no {name} part{f' (only {found})' if found else ''}; "
                "use --split grouped-folds"
            )
    return parts["train"], parts["validation"], parts["test"]


def _any_tumours(catalogue: Catalogue, elsewhere: set[str]) -> list[Slice]:
    """Return the slices with a tumour of unknown kind, less those of groups that are elsewhere."""
    return [
        item
        for item in catalogue.slices
        if item.label == ANY_TUMOUR and not item.doubt and item.group not in elsewhere
    ]


def folds_of(catalogue: Catalogue, split: str) -> tuple[int, ...]:
    """Return the folds that a protocol has on this data: `(0,)` where there are none.

    Raises:
        DataError: The protocol is unknown, or nothing tests.
    """
    protocol = protocol_named(split)
    if protocol.kind == "all":
        raise DataError(f"{split} has no test part; use 'tumorscope train --split {split}'")
    if protocol.kind in ("published", "external"):
        return (0,)
    own = [
        item
        for item in catalogue.slices
        if protocol.owns(item) and not item.doubt and item.label != ANY_TUMOUR
    ]
    if protocol.published_ids:
        return tuple(sorted({item.cvind for item in _with_cvind(own)}))
    return tuple(sorted({item.fold for item in own})) if _are_given(own) else _DRAWN


def hold_out(slices: list[Slice], *, share: float, seed: int) -> tuple[list[Slice], list[Slice]]:
    """Hold out about a share of the slices: whole groups, every class in about that share.

    Args:
        slices: Slices with groups.
        share: Between 0 and 0.5; 0 holds out nothing.
        seed: Which groups are held out.

    Returns:
        The slices that stay and those held out.

    Raises:
        DataError: There are too few groups, in all or of a class.
    """
    if share <= 0:
        return slices, []
    # Small sets hold out more: no more parts can be drawn than the largest class has slices.
    largest = max(Counter(item.label for item in slices).values(), default=0)
    groups = len({item.group for item in slices})
    held, count = _parts_of(share, max(2, min(largest, groups)))
    folds = _draw_folds(slices, count, seed) - 1
    for number in range(count):
        out = (folds - number) % count < held
        stay = [item for item, is_out in zip(slices, out, strict=True) if not is_out]
        if {item.label for item in stay} == {item.label for item in slices}:
            return stay, [item for item, is_out in zip(slices, out, strict=True) if is_out]
    raise DataError(
        "whatever is held out for validation, nothing of some class is left to learn from: "
        "there must be more patients or groups"
    )


def _parts_of(share: float, most: int) -> tuple[int, int]:
    """Return how many of how many parts come near a share.

    Args:
        share: Above 0, at most 0.5.
        most: So many parts at most.
    """
    one = min(max(2, round(1 / share)), most)
    near = Fraction(share).limit_denominator(min(most, _MOST_PARTS))
    # (One part is taken where it will do: whole groups are never the share to a hundredth.)
    if near == 0 or abs(1 / one - share) <= _NEAR_ENOUGH:
        return 1, one
    return near.numerator, near.denominator


def _fold_parts(
    slices: list[Slice], protocol: Protocol, fold: int, seed: int
) -> tuple[list[Slice], list[Slice]]:
    """Return the slices of the fold and those of the other folds."""
    if protocol.published_ids:
        slices = [replace(item, fold=item.cvind) for item in _with_cvind(slices)]
    elif not _are_given(slices):
        drawn = _draw_folds(slices, len(_DRAWN), seed)
        slices = [replace(item, fold=int(n)) for item, n in zip(slices, drawn, strict=True)]
    folds = sorted({item.fold for item in slices})
    if fold not in folds:
        raise DataError(f"there is no fold {fold!r}: the folds are {', '.join(map(str, folds))}")
    return (
        [item for item in slices if item.fold == fold],
        [item for item in slices if item.fold != fold],
    )


def _with_cvind(slices: list[Slice]) -> list[Slice]:
    """Return the slices, once it is sure that each has a fold of `cvind.mat` and no patient two.

    Raises:
        DataError: A slice has none, or a patient has two.
    """
    folds: dict[str, int] = {}
    for item in slices:
        if not item.cvind:
            raise DataError(
                f"{item.name}: patient {item.patient or 'unknown'} is none of the published set's, "
                "so its fold in cvind.mat is not known"
            )
        if folds.setdefault(item.patient, item.cvind) != item.cvind:
            raise DataError(f"{item.name}: patient {item.patient} stands in two folds")
    return slices


def _are_given(slices: list[Slice]) -> bool:
    """Tell whether the data has its own folds; several sets have none in common."""
    if len({item.source for item in slices}) > 1 or not any(item.fold for item in slices):
        return False
    for item in slices:
        if not item.fold:
            raise DataError(
                f"{item.name} has no fold, but other slices of {item.source} have: "
                "give all of them one, or none (folds count from 1: 0 is none)"
            )
    return True


def _draw_folds(slices: list[Slice], count: int, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415  (keeps --help fast)

    groups = [item.group for item in slices]
    labels = np.array([CLASSES.index(item.label) for item in slices])
    largest = max(Counter(item.label for item in slices).values(), default=0)
    if min(len(set(groups)), largest) < count:
        raise DataError(
            f"{len(slices)} slices of {len(set(groups))} patients or groups cannot be split into "
            f"{count} parts: there must be {count} or more of them, and of slices of one class"
        )
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    folds = np.zeros(len(slices), dtype=np.int64)
    with warnings.catch_warnings():
        # A class with fewer slices than there are folds is missing from some folds: it may be.
        warnings.filterwarnings("ignore", message="The least populated class")
        for number, (_, part) in enumerate(splitter.split(labels, labels, groups), start=1):
            folds[part] = number
    return folds


def _classes(
    given: list[Slice], train: list[Slice], test: list[Slice], split: str
) -> tuple[str, ...]:
    found = Counter(item.label for item in train)
    # Without any slice free of tumours it is a task of three classes.
    four = split == "kaggle-official" or any(item.label == "notumor" for item in given)
    classes = CLASSES if four else TUMOUR_CLASSES
    if not found["notumor"] and any(item.label == "notumor" for item in test):
        raise DataError(f"{split}: the test part holds 'notumor', the training part does not")
    for name in classes:
        if not found[name]:
            raise DataError(
                f"{split}: the training part has no picture of class '{name}'; "
                "add a folder, or rows of the table, with some (a finished model can be evaluated "
                "on what there is: --split external)"
            )
    return classes
