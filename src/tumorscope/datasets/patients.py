"""Finds patients in folder and file names, where these name them without doubt."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_SAFE: Final = frozenset(
    (
        *("train", "training", "val", "valid", "validation", "test", "testing", "image", "images"),
        *("img", "imgs", "picture", "pictures", "slices", "jpg", "jpeg", "png", "axial", "ax"),
        *("coronal", "cor", "sagittal", "sag", "t1", "t1c", "t1ce", "t1gd", "t2", "flair", "pd"),
        *("dwi", "adc", "original", "processed", "cropped", "resized"),
    )
)
"""Folders below a class that say nothing about the patient."""

_NO_PATIENT: Final = re.compile(
    r"(?i)(?:t[12][a-z]*|flair|fold|batch|part|set|subset|version|v|slices?|images?|imgs?|im|pic\w*|"
    r"level|grade|stage|type|class|plane|view|scan|series|session|ses|visit|time|tp|size|px|"
    r"dataset|data|archive|site|hospital|cent(?:er|re)|scanner|group|cluster|aug\w*|fig\w*|page|"
    r"day|week|month|year|tr|te)[\W_]*\d+.*|\d+x\d+|\d(?:[.,]\d)?t"
)
"""Names with a number that counts something else than patients: `fold1`, `T1c`, `224x224`, `3T`."""

_FEWEST: Final = 5
"""With fewer numbers than this at the front of file names they may well be something else."""

_EXAMPLES: Final = 3


@dataclass(frozen=True)
class Patients:
    """What folder or file names say about patients.

    Attributes:
        of: The patient of a file, by the file; files without one are missing.
        note: What was found, in words; empty where there is nothing to say.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def find_patients(
    below: Mapping[str, Sequence[str]],
    above: Mapping[str, Sequence[str]],
    labels: Mapping[str, str],
) -> Patients:
    """Find patients in the folders below a class or round it, else at the front of file names.

    A patient who is found under several classes is one patient: a number that each class counts
    anew makes the groups larger than they need be, but no patient can stand on both sides.

    Args:
        below: The folders between the class's folder and the file, by the file, outermost first.
        above: The folders round the class's folder, by the file.
        labels: The class of each file.

    Returns:
        The patients.
    """
    inside = {
        name: [folder for folder in folders if folder.lower() not in _SAFE]
        for name, folders in below.items()
    }
    deeper = {name: folders for name, folders in inside.items() if folders}
    if not deeper:
        round_ = {name: next(filter(_is_patient, above[name]), "") for name in below}
        if all(round_.values()) and len(set(round_.values())) >= _FEWEST:
            return Patients(round_, _note(round_, labels, "folder names"))
        return _in_file_names(list(below), labels)
    found = {
        name: next((folder for folder in folders if _is_patient(folder)), "")
        for name, folders in deeper.items()
    }
    unclear = sorted({deeper[name][0] for name, patient in found.items() if not patient})
    if unclear:
        return Patients(
            note=f"folders below the classes ({_some(unclear)}) are not taken for patients: name "
            "them by a number (P001), or give a table with a column 'patient'"
        )
    without = len(below) - len(found)
    others = f"; {without:,} slices stand in none" if without else ""
    return Patients(found, _note(found, labels, "folder names") + others)


def _is_patient(folder: str) -> bool:
    return any(letter.isdigit() for letter in folder) and not _NO_PATIENT.fullmatch(folder)


def _in_file_names(names: Sequence[str], labels: Mapping[str, str]) -> Patients:
    """Take the shortest front of the names, up to a number, that tells enough patients apart."""
    stems = {name: name.rpartition("/")[2].rpartition(".")[0] for name in names}
    fewest = 0
    for numbers in (0, 1, 2):
        front = re.compile(
            rf"((?:\D*\d+){{{numbers}}}\D*?([A-Za-z]*)[\W_]?\d+[A-Za-z]?)[^A-Za-z\d].*\d"
        )
        found: dict[str, str] = {}
        words: set[str] = set()
        for name, stem in stems.items():
            if match := front.match(stem):
                found[name] = match[1]
                words.add(match[2])
        if any(word and _NO_PATIENT.fullmatch(f"{word} 1") for word in words):
            return Patients(note=_doubtful(fewest))
        slices = Counter(found.values())
        shared = sum(count for count in slices.values() if count > 1)
        if len(slices) >= _FEWEST and shared >= len(names) / 2:
            without = len(names) - len(found)
            others = f"; {without:,} slices are called otherwise" if without else ""
            return Patients(found, _note(found, labels, "file names") + others)
        if 1 < len(slices) < _FEWEST:
            fewest = len(slices)
    return Patients(note=_doubtful(fewest))


def _doubtful(count: int) -> str:
    if not count:
        return ""
    return (
        f"file names begin with {count} different numbers: too few to be sure that they are "
        "patients; if they are, give a table with a column 'patient'"
    )


def _note(found: Mapping[str, str], labels: Mapping[str, str], where: str) -> str:
    classes: defaultdict[str, set[str]] = defaultdict(set)
    for name, patient in found.items():
        classes[patient].add(labels[name])
    several = sum(len(labels_) > 1 for labels_ in classes.values())
    shared = f" ({several:,} of them under several classes)" if several else ""
    return (
        f"{len(classes):,} patients found in {where}{shared}, such as {_some(sorted(classes))}; "
        "--no-patients to ignore them"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", …" if len(names) > _EXAMPLES else "")
