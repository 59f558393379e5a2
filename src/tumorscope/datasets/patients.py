"""Finds patients in folder and file names, where these name them without doubt."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tumorscope.counting import counted

SAFE_FOLDERS: Final = frozenset(
    (
        *("train", "training", "val", "valid", "validation", "test", "testing", "image", "images"),
        *("img", "imgs", "picture", "pictures", "slices", "jpg", "jpeg", "png", "axial", "ax"),
        *("coronal", "cor", "sagittal", "sag", "t1", "t1c", "t1ce", "t1gd", "t2", "flair", "pd"),
        *("dwi", "adc", "original", "processed", "cropped", "resized"),
    )
)
"""Folders that say nothing about the patient or the class."""

_PLACE: Final = (
    "dataset|data|archive|site|hospital|cent(?:er|re)|scanner|fold|batch|part|set|subset|group|"
    "cluster"
)
"""Words whose number counts what holds many patients: `site1_P001`."""

_VISIT: Final = r"v|visit|scan|series|session|ses|time|tp|day|week|month|year"
"""Words whose number counts what one patient has several of."""

_NO_PATIENT: Final = re.compile(
    rf"(?i)(?:t[12][a-z]*|flair|version|slices?|images?|imgs?|im|pic\w*|level|grade|stage|type|class|"
    rf"plane|view|size|px|aug\w*|fig\w*|page|tr|te|{_PLACE}|{_VISIT})[\W_]*\d+.*|\d+x\d+|"
    r"\d(?:[.,]\d)?t"
)
"""Names with a number that counts something else than patients: `fold1`, `T1c`, `224x224`, `3T`."""

_SCAN: Final = re.compile(
    rf"(?i)(?<![a-z\d])(?:(?:{_VISIT}|timepoint|study|exam|run|acq|follow[\W_]?up)[\W_]*\d+|"
    r"(?:19|20)\d\d[\W_]?(?:0\d|1[0-2])[\W_]?[0-3]\d|t\d[a-z]*|flair|pd|dwi|adc|"
    r"ax(?:ial)?|cor(?:onal)?|sag(?:ittal)?|pre(?:op)?|post(?:op)?|baseline|follow[\W_]?up)"
    r"(?![a-z\d])[\W_]*"
)
"""What tells the scans of one patient apart: session, date, sequence, plane."""

_NUMBER: Final = r"\D*?([A-Za-z]*)[\W_]?\d[A-Za-z\d]*"

_TWO_PARTS: Final = re.compile(r"(?s).*?\d.*[^A-Za-z\d].*[A-Za-z\d]")
"""What every front of a name with a part behind it has."""

_FEWEST: Final = 5
"""With fewer numbers than this at the front of file names they may well be something else."""

_EXAMPLES: Final = 3


@dataclass(frozen=True)
class Patients:
    """What folder or file names say about patients.

    Attributes:
        of: The patient of a file, by the file; files without one are missing.
        notes: What was found and what was not, in words.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_patients(
    below: Mapping[str, Sequence[str]],
    above: Mapping[str, Sequence[str]],
    labels: Mapping[str, str],
) -> Patients:
    """Find patients in the folders below a class or round it, else at the front of file names.

    A patient who is found under several classes is one patient: a number that each class counts
    anew makes the groups larger than they need be, but no patient can stand on both sides. So are
    names that differ only in a session, a date, a sequence, capitals, or a letter at the end.

    Args:
        below: The folders between the class's folder and the file, by the file, outermost first.
        above: The folders round the class's folder, by the file.
        labels: The class of each file.

    Returns:
        The patients.
    """
    inside = {
        name: [folder for folder in folders if folder.lower() not in SAFE_FOLDERS]
        for name, folders in below.items()
        if folders
    }
    in_folders = {name: who for name, folders in inside.items() if (who := _in_folders(folders))}
    in_folders = _without_repeats(in_folders)
    round_ = {
        name: who
        for name, folders in above.items()
        if folders and name not in in_folders and (who := _in_folders(folders))
    }
    if len(set(round_.values())) >= _FEWEST:
        in_folders |= _without_repeats(round_)
    others = [name for name in below if name not in in_folders]
    in_names, fewest = _in_file_names(others, labels, set(map(str.casefold, in_folders.values())))
    patients = in_folders | in_names
    spelling = one_spelling(patients.values())
    found = {name: spelling[who] for name, who in patients.items()}
    without = [name for name in others if name not in in_names]
    unclear = sorted({inside[name][0] for name in without if inside.get(name)})
    notes = []
    if found:
        where = [kind for kind, some in (("folder", in_folders), ("file", in_names)) if some]
        notes.append(_note(found, labels, f"{' and '.join(where)} names"))
        if without and in_names:
            notes[0] += f"; {len(without):,} slices are called otherwise"
        elif without:
            notes[0] += f"; {counted(len(without), 'slice')} in none"
    if unclear:
        notes.append(
            f"folders below the classes ({some(unclear)}) are not taken for patients: name "
            "them by a number (P001), or give a table with a column 'patient'"
        )
    elif fewest and not found:
        notes.append(
            f"file names begin with {fewest} different numbers: too few to be sure that they are "
            "patients; if they are, give a table with a column 'patient'"
        )
    elif not found:
        notes.append(
            "no patients found in folder or file names: near-duplicates are in one group, but "
            "other slices of one patient may not be"
        )
    return Patients(found, tuple(notes))


def is_patient(folder: str) -> bool:
    """Tell whether a folder may be called after a patient: by a number that counts nothing else."""
    return any(map(str.isdigit, folder)) and not _NO_PATIENT.fullmatch(folder)


def _in_folders(folders: Iterable[str]) -> str:
    """Return the patient whom the outermost folder names; empty where none does."""
    patients = [folder for folder in folders if is_patient(folder)]
    # (A folder of a date alone is a patient's only where no other is.)
    return next(filter(None, map(_without_scan, patients)), "") or next(iter(patients), "")


def _without_scan(name: str) -> str:
    """Return a patient's name without what tells his scans apart; empty where no number is left."""
    kept = re.sub(r"(?<=\d)[A-Za-z]$", "", re.sub(r"[\W_]+$", "", _SCAN.sub("", name)))
    return kept if any(map(str.isdigit, kept)) else ""


def _without_repeats(patients: Mapping[str, str]) -> dict[str, str]:
    """Return patients without a last number that counts their scans: `00002-000`, `00002-001`.

    It does where all have one and there are fewer of them than of what is before (`TCGA-02-0003`
    is a patient of site 02), or where a patient is called without one, too.
    """
    names = set(patients.values())
    split = {who: match for who in names if (match := re.fullmatch(r"(.*\d)[\W_]+(\d+)", who))}
    fronts = {match[1] for match in split.values()}
    all_ = len(split) == len(names) and len(fronts) > len({match[2] for match in split.values()})
    one = {who: match[1] for who, match in split.items() if all_ or match[1] in names}
    return {name: one.get(who, who) for name, who in patients.items()}


def one_spelling(names: Iterable[str]) -> dict[str, str]:
    """Return one spelling of each patient: capitals, and zeros that office programs drop or add.

    Args:
        names: Patients as they are spelled (`P1`, `p1`; `007`, `7`, `7.0`).
    """
    spelling: dict[str, str] = {}
    found = {}
    for name in sorted(set(names)):
        number = re.fullmatch(r"0*(\d+)(?:\.0+)?", name)
        found[name] = spelling.setdefault(number[1] if number else name.casefold(), name)
    return found


def _in_file_names(
    names: Sequence[str], labels: Mapping[str, str], known: set[str]
) -> tuple[dict[str, str], int]:
    """Take the shortest front of the names, up to a number, that tells enough patients apart.

    Args:
        names: Files whose folders name no patient.
        labels: The class of each file.
        known: The patients whom folders name, in small letters.

    Returns:
        The patient by the file, and how many there were where these are too few.
    """
    fewest = 0
    stems = {name: _stem(name) for name in names}
    parted = {name: stem for name, stem in stems.items() if _TWO_PARTS.match(stem)}
    for has_number in (True, False):
        # (Behind a front without another number, each class may count its files anew.)
        tail = r"[^A-Za-z\d].*\d" if has_number else r"[^A-Za-z\d].*[A-Za-z]"
        rest = parted
        for numbers in range(3):
            found, rest = _fronts(rest, numbers, tail)
            alike: Counter[Hashable] = Counter(
                who if has_number else (labels[name], who) for name, who in found.items()
            )
            shared = sum(count for count in alike.values() if count > 1)
            patients = len(set(found.values()))
            if patients >= _FEWEST and shared >= len(found) / 2:
                return found | _same_front(stems, found, numbers, known), 0
            if has_number and 1 < patients < _FEWEST:
                fewest = patients
    return _same_front(stems, {}, 0, known), fewest


def _fronts(
    stems: Mapping[str, str], numbers: int, tail: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the patients that fronts behind so many numbers name, and what may name them later."""
    front = re.compile(rf"((?:\D*\d+){{{numbers}}}{_NUMBER}){tail}")
    found: dict[str, str] = {}
    rest: dict[str, str] = {}
    for name, stem in stems.items():
        match = front.match(stem)
        counted = f"{match[2]} 1" if match and match[2] else ""
        if match and not _NO_PATIENT.fullmatch(counted):
            found[name] = _without_scan(match[1]) or match[1]
        elif match and not re.fullmatch(rf"(?i)(?:{_PLACE}) 1", counted):
            continue
        rest[name] = stem
    return found, rest


def _same_front(
    stems: Mapping[str, str], found: Mapping[str, str], numbers: int, known: set[str]
) -> dict[str, str]:
    """Return the other files of patients who are known: `P001.png`, `P001_flair.png`."""
    known = known | set(map(str.casefold, found.values()))
    if not known:
        return {}
    front = re.compile(rf"((?:\D*\d+){{{numbers}}}{_NUMBER})(?![A-Za-z\d])")
    same: dict[str, str] = {}
    for name, stem in stems.items():
        match = front.match(stem) if name not in found else None
        who = (_without_scan(match[1]) or match[1]) if match else ""
        if who.casefold() in known:
            same[name] = who
    return same


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".gz").rpartition(".")[0]


def _note(found: Mapping[str, str], labels: Mapping[str, str], where: str) -> str:
    classes: defaultdict[str, set[str]] = defaultdict(set)
    for name, patient in found.items():
        classes[patient].add(labels[name])
    several = sum(len(labels_) > 1 for labels_ in classes.values())
    shared = f" ({several:,} of them under several classes)" if several else ""
    return (
        f"{len(classes):,} patients found in {where}{shared}, such as {some(sorted(classes))}; "
        "--no-patients to ignore them"
    )


def some(names: Sequence[str], count: int = _EXAMPLES) -> str:
    """Return the first few of some names."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
