"""Puts an audit into words: findings, the most severe first, and a verdict."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from tumorscope.audit.audit import Audit
from tumorscope.audit.label_errors import LabelErrors
from tumorscope.counting import counted
from tumorscope.near_duplicates.detection import KINDS, Kind

Severity = Literal["severe", "look", "note"]

SEVERITIES: Final[tuple[Severity, ...]] = ("severe", "look", "note")
"""`severe` spoils a score, `look` wants a person's eye, `note` is good to know."""

_SEVERE_SKILL: Final = 0.4
_NOTABLE_SKILL: Final = 0.15
"""Part of the way from chance to always right that file facts alone go."""

_LOPSIDED: Final = 3.0
"""Largest class by smallest, in different slices, from which the balance is worth a line."""

_KNOWN_BY_HEART: Final = 0.995
_ENOUGH: Final = 50
"""No model agrees with so many labels that it never saw, among at least so many pictures."""

_SPLIT_ANEW: Final = "split anew by near-duplicate groups (--groups)"

_KIND_WORDS: Final[dict[Kind, tuple[str, str]]] = {
    "exact": ("exact copies", "The very same grey pixels"),
    "near": (
        "near copies",
        "One picture, saved again, resized, cropped anew or turned by some degrees",
    ),
    "mirrored": ("mirrored near-duplicates", "One slice, left and right changed"),
    "flipped": (
        "flipped near-duplicates",
        "One slice, upside down or turned by half a circle",
    ),
    "turned": ("turned near-duplicates", "One slice, turned by a quarter or by some degrees"),
    "contrast": (
        "contrast-changed near-duplicates",
        "One slice, other brightness, contrast or sharpness",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: `severe`, `look` or `note`.
        what: A short name.
        files: How many files it touches.
        detail: One sentence.
        advice: What to do, as the end of "you should …"; empty where nothing is needed.
    """

    severity: Severity
    what: str
    files: int
    detail: str
    advice: str = ""


def percent(share: float) -> str:
    """Write a share in whole per cent."""
    return f"{100 * share:.0f} %"


def findings(audit: Audit) -> tuple[Finding, ...]:
    """Put what was found in words.

    Args:
        audit: From `tumorscope.audit.audit.audit`.

    Returns:
        The findings, the most severe first.
    """
    found = [
        *_leaks(audit),
        *_shared_patients(audit),
        *_conflicts(audit),
        *_label_errors(audit),
        *_off_topic(audit),
        *_shortcuts(audit),
        *_unreadable(audit),
        *_near_duplicates(audit),
        *_balance(audit),
        *_odd(audit),
    ]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def verdict(audit: Audit) -> str:
    """Say in one line what to do."""
    advice = list(dict.fromkeys(item.advice for item in findings(audit) if item.advice))
    if not advice:
        return "Nothing stands in the way of training and classifying on these files."
    return "Before you trust a score: " + "; ".join(advice) + "."


def _leaks(audit: Audit) -> Iterator[Finding]:
    leaked = {name: audit.leaked(name) for name in audit.splits}
    if not any(leaked.values()):
        return
    parts = [
        f"{count:,} of the {sum(item.split == name for item in audit.files):,} in {name}"
        for name, count in leaked.items()
    ]
    yield Finding(
        "severe",
        "near-duplicates across the split",
        sum(leaked.values()),
        f"{' and '.join(parts)} show a slice that is on the other side as well.",
        _SPLIT_ANEW,
    )


def _shared_patients(audit: Audit) -> Iterator[Finding]:
    shared = {name: audit.shared_groups(name) for name in audit.splits}
    if any(shared.values()):
        parts = [f"{count:,} in {name}" for name, count in shared.items()]
        yield Finding(
            "severe",
            "patients across the split",
            sum(shared.values()),
            f"By what the data set says, {' and '.join(parts)} are of patients who are on the "
            "other side too.",
            _SPLIT_ANEW,
        )
    pairs = audit.pairs_of_two_groups
    files = {place for pair in pairs for place in (pair.first, pair.second)}
    if files:
        yield Finding(
            "look",
            "one slice of two patients",
            len(files),
            f"The data set gives one slice to two patients: {counted(len(pairs), 'pair')}.",
            "take the united groups (--groups)",
        )


def _conflicts(audit: Audit) -> Iterator[Finding]:
    files = {place for pair in audit.label_conflicts for place in (pair.first, pair.second)}
    if not files:
        return
    combinations = sorted(
        {
            " and ".join(sorted((audit.files[pair.first].label, audit.files[pair.second].label)))
            for pair in audit.label_conflicts
        }
    )
    yield Finding(
        "severe",
        "one slice under two labels",
        len(files),
        f"Pictures of one slice are called {', or '.join(combinations)}: "
        f"{counted(len(audit.label_conflicts), 'pair')}.",
        "let somebody settle the double labels",
    )


def _label_errors(audit: Audit) -> Iterator[Finding]:
    found = audit.label_errors
    if found is None:
        return
    if found.learned_from or (found.learned_from is None and _too_good(found)):
        yield Finding(
            "look",
            "predictions that may know the labels",
            found.learned_from or found.predicted,
            f"The model learned from a copy or from the patient of {found.learned_from:,} of "
            f"{found.predicted:,} predicted pictures: label errors are hidden there."
            if found.learned_from
            else f"{percent(found.agreeing / found.predicted)} of {found.predicted:,} predictions "
            "are as labelled, and the table names no folds: by a model that learned from these "
            "pictures, label errors are hidden.",
            "rank label errors by predictions out of fold (crossval)",
        )
    if found.ranked:
        first = found.ranked[0]
        yield Finding(
            "look",
            "likely label errors",
            len(found.ranked),
            f"Of {found.predicted:,} pictures with a prediction; the first is "
            f"{audit.files[first.place].name}: called {first.given}, more like {first.likely}."
            + _not_predicted(len(audit.files) - found.predicted),
            "let somebody look at the likely label errors, from the top",
        )


def _too_good(found: LabelErrors) -> bool:
    return found.predicted >= _ENOUGH and found.agreeing >= _KNOWN_BY_HEART * found.predicted


def _not_predicted(count: int) -> str:
    return f" {counted(count, 'file')} without one: not ranked." if count else ""


def _off_topic(audit: Audit) -> Iterator[Finding]:
    if audit.off_topic:
        first = audit.off_topic[0]
        yield Finding(
            "look",
            "off-topic pictures",
            len(audit.off_topic),
            f"The bundled model does not support them; the first is "
            f"{audit.files[first.place].name}: {first.reason}.",
            "remove what is no brain MRI",
        )


def _shortcuts(audit: Audit) -> Iterator[Finding]:
    if not audit.shortcuts or audit.shortcuts[0].skill < _NOTABLE_SKILL:
        return
    together, *single = audit.shortcuts
    alone = [
        f"{item.fact} alone {percent(item.balanced_accuracy)}"
        for item in single
        if item.skill >= _NOTABLE_SKILL
    ]
    yield Finding(
        "severe" if together.skill >= _SEVERE_SKILL else "look",
        "class shows in the file",
        len(audit.files),
        f"From file facts alone (size, mode, border, mean grey) the class is predicted at "
        f"{percent(together.balanced_accuracy)} (chance {percent(together.chance)})"
        + (f"; by {', '.join(alone)}." if alone else "."),
        "test on another source, for the class shows in the files themselves",
    )


def _unreadable(audit: Audit) -> Iterator[Finding]:
    if audit.unreadable:
        first = audit.unreadable[0]
        yield Finding(
            "look",
            "unreadable files",
            len(audit.unreadable),
            f"They were left out; the first is {first.name}: {first.reason}.",
            "mend or remove the unreadable files",
        )


def _near_duplicates(audit: Audit) -> Iterator[Finding]:
    # Copies on one side only do no harm to a score, but they count one patient many times.
    grouped = all(
        audit.files[pair.first].group and audit.files[pair.second].group for pair in audit.pairs
    )
    advice = (
        "" if audit.pairs_across_splits or grouped else "split by near-duplicate groups (--groups)"
    )
    for kind in KINDS:
        name, meaning = _KIND_WORDS[kind]
        pairs = [pair for pair in audit.pairs if pair.kind == kind]
        if pairs:
            files = {place for pair in pairs for place in (pair.first, pair.second)}
            yield Finding(
                "look",
                name,
                len(files),
                f"{meaning}: {counted(len(pairs), 'pair')}.",
                advice,
            )


def _balance(audit: Audit) -> Iterator[Finding]:
    rows = [row for row in audit.balance() if not row.split]
    if len(rows) == 1:
        yield Finding(
            "look",
            "one class only",
            rows[0].files,
            f"All are of the class {rows[0].label}: there is nothing to tell it from.",
            "add pictures of other classes",
        )
    if len(rows) < 2:
        return
    fewest = min(rows, key=lambda row: row.slices)
    most = max(rows, key=lambda row: row.slices)
    lopsided = most.slices > _LOPSIDED * fewest.slices
    yield Finding(
        "look" if lopsided else "note",
        "class balance",
        sum(row.files for row in rows),
        f"Each of {len(rows)} classes has {most.slices:,} different slices."
        if most.slices == fewest.slices
        else f"Most different slices: {most.label}, {most.slices:,} in {most.files:,} files; "
        f"fewest: {fewest.label}, {fewest.slices:,} in {fewest.files:,}.",
        "weigh the classes by different slices, not by files" if lopsided else "",
    )


def _odd(audit: Audit) -> Iterator[Finding]:
    if audit.odd:
        place, reason = next(iter(audit.odd.items()))
        yield Finding(
            "note",
            "odd files",
            len(audit.odd),
            f"They look unlike the rest; the first is {audit.files[place].name}: {reason}.",
        )
