"""Tells tumour masks from pictures by their names and grey values, and pairs them with pictures."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.images import UnreadableImageError, read_slice

_WORDS: Final = (
    "masks?|segmentations?|segs?|groundtruth|ground_truth|gt|outlines?|annotations?|rois?"
)
_FOLDER: Final = re.compile(rf"(?i)(?:(?P<rest>.+?)[_\- ])?(?:{_WORDS})")
_STEM: Final = re.compile(
    rf"(?i)(?:(?P<before>.+?)[_\-. ])?(?:tumou?r[_\-]?)?(?:{_WORDS})(?:[_\-. ](?P<after>.+))?"
)
_LAST_WORD: Final = re.compile(r"(.+)[_\-. ][^_\-. ]+")
_PICTURES: Final = frozenset({"image", "images", "img", "imgs", "picture", "pictures", "slices"})
"""Folders of pictures that stand beside a folder of masks."""

_NEAR: Final = 24
"""Grey levels round black and white that JPEG leaves of a mask."""

_FOLDERS_KEPT: Final = 4096
"""Folders whose names are looked at once only."""

_Key = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class Masks:
    """Which of some files are masks.

    Attributes:
        pictures: The files that are not, in the order in which they came.
        outlines: A picture's mask, by the picture.
        unpaired: Masks that belong to no picture, or to one that has a mask already.
    """

    pictures: tuple[str, ...]
    outlines: Mapping[str, str]
    unpaired: tuple[str, ...]


def find_masks(root: Path, names: Sequence[str]) -> Masks:
    """Tell masks from pictures.

    A mask is named so (`1_mask.png`), stands in a folder named so (`masks/1.png`), or shares the
    name of a picture, but for its ending or a word behind it, and has two grey values. Its picture
    has the same name without those words.

    Args:
        root: The folder that the names are relative to.
        names: Files with pictures in them, with `/`.

    Returns:
        Pictures and masks.
    """
    pictures: list[str] = []
    masks: list[tuple[str, _Key]] = []
    for name in names:
        key = _named_mask(name)
        if key is None:
            pictures.append(name)
        else:
            masks.append((name, key))
    for name, key in _two_valued(root, pictures).items():
        masks.append((name, key))
    chosen = {name for name, _ in masks}
    pictures = [name for name in pictures if name not in chosen]
    places: defaultdict[_Key, list[str]] = defaultdict(list)
    alone: defaultdict[_Key, list[str]] = defaultdict(list)
    if masks:
        for name in pictures:
            folders, stem = _parts(name)
            places[folders, stem].append(name)
            alone[folders, ""].append(name)
    outlines: dict[str, str] = {}
    unpaired: list[str] = []
    for name, key in masks:
        found = places.get(key) or alone.get(key) or []
        if len(found) == 1 and found[0] not in outlines:
            outlines[found[0]] = name
        else:
            unpaired.append(name)
    return Masks(tuple(pictures), outlines, tuple(unpaired))


def is_mask(grey: NDArray[np.uint8], path: Path) -> bool:
    """Tell whether a picture has only two grey values, as tumour masks have.

    Args:
        grey: The picture, uint8, `[height, width]`.
        path: Its file: in a JPEG file nearly two values count as two.
    """
    counts = np.bincount(grey.ravel(), minlength=256)
    present = np.flatnonzero(counts)
    if len(present) <= 2 or path.suffix.lower() not in (".jpg", ".jpeg"):
        return len(present) == 2
    low, high = int(present[0]), int(present[-1])
    if high - low < 128:
        return False
    near = counts[: low + _NEAR].sum() + counts[high - _NEAR + 1 :].sum()
    return bool(near >= 0.99 * grey.size and counts[low] + counts[high] >= 0.9 * grey.size)


def is_named_mask(name: str) -> bool:
    """Tell whether a file, picture or volume, is called as masks are, or stands in their folder."""
    return _named_mask(name.removesuffix(".gz")) is not None


def _named_mask(name: str) -> _Key | None:
    """Return the key of the picture that a mask belongs to; None where the name is no mask's."""
    folder, _, last = name.rpartition("/")
    kept, in_folder = _without_mask_words(folder)
    stem = last.rpartition(".")[0].lower()
    found = _STEM.fullmatch(stem)
    if not found and not in_folder:
        return None
    if found:
        before, after = found["before"] or "", found["after"] or ""
        stem = before or ("" if after.isdecimal() and not in_folder else after)
    return kept, stem


@lru_cache(_FOLDERS_KEPT)
def _without_mask_words(folder: str) -> tuple[tuple[str, ...], bool]:
    """Return folders without those that are called after masks or pictures, and if one was."""
    found = [(part, _FOLDER.fullmatch(part)) for part in folder.split("/")]
    kept = [(match["rest"] or "") if match else part for part, match in found]
    plain = (part.lower() for part in kept if part and part.lower() not in _PICTURES)
    return tuple(plain), any(match for _, match in found)


def _two_valued(root: Path, names: Sequence[str]) -> dict[str, _Key]:
    """Find pictures called as another, but for the ending or a last word, with two grey values."""
    stems: defaultdict[_Key, list[str]] = defaultdict(list)
    for name in names:
        stems[_parts(name)].append(name)
    found: dict[str, _Key] = {}
    for (folders, stem), same in stems.items():
        start = _LAST_WORD.fullmatch(stem)
        key = (folders, start[1]) if start else None
        suspects = same if len(same) > 1 else same if key in stems else []
        for name in suspects:
            if _shows_mask(root / name):
                found[name] = (folders, stem) if len(same) > 1 or key is None else key
    return found


def _shows_mask(path: Path) -> bool:
    try:
        return is_mask(read_slice(path), path)
    except UnreadableImageError:
        return False


def _parts(name: str) -> _Key:
    folder, _, last = name.rpartition("/")
    return _without_mask_words(folder)[0], last.rpartition(".")[0].lower()
