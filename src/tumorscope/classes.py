"""The four classes, in the order used everywhere, and the data sets' other spellings of them."""

import re
import unicodedata
from typing import Final

from tumorscope.errors import DataError

CLASSES: Final = ("glioma", "meningioma", "notumor", "pituitary")
"""Class names in the order of every probability vector."""

TUMOUR_CLASSES: Final = ("glioma", "meningioma", "pituitary")
"""The classes that are tumours; the ones that figshare holds."""

NO_TUMOUR: Final = "notumor"
"""The class of slices that show no tumour."""

ANY_TUMOUR: Final = "tumour"
"""The label of a slice that shows a tumour of unknown kind."""

PRESENCE: Final = (NO_TUMOUR, ANY_TUMOUR)
"""The classes of a test in which the kind of some tumours is not known."""

_SPELLINGS: Final = {
    ANY_TUMOUR: ("tumor", "yes"),
    "glioma": ("glioma", "gliomatumor"),
    "meningioma": ("meningioma", "meningiomatumor", "menin"),
    "notumor": (
        *("notumor", "nontumor", "nottumor", "withouttumor", "tumorfree"),
        *("no", "normal", "healthy", "none"),
    ),
    "pituitary": ("pituitary", "pituitarytumor", "pituitaryadenoma"),
}
_BY_SPELLING: Final = {spelling: name for name, all_ in _SPELLINGS.items() for spelling in all_}
_PLURALS: Final = {"pituitaries": "pituitary", "yes": "yes"}


def class_name(text: str) -> str:
    """Return the class that a data set's spelling means.

    Capitals (of any language), accents, spaces, dashes, underscores, plurals, a number and a
    `brain` or `mri` before or after do not matter.

    Args:
        text: A folder name or a label.

    Returns:
        One of `CLASSES`, or `ANY_TUMOUR`.

    Raises:
        DataError: The spelling is unknown.

    >>> class_name("Glioma_tumor"), class_name("2_no_tumor"), class_name("Brain-Meningiomas")
    ('glioma', 'notumor', 'meningioma')
    """
    # (Turkish has a dotless i, whose capital is the I of all others.)
    letters = unicodedata.normalize("NFKD", text.casefold()).replace(
        "\N{LATIN SMALL LETTER DOTLESS I}", "i"
    )
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    if not re.fullmatch(r"[^a-z]*no[^a-z]*\d[^a-z]*", plain):  # (`No. 1` is a number, no class.)
        plain = re.sub(r"^[^a-z]+|[^a-z]+$", "", plain)
    words = [_singular(word) for word in re.split(r"[^a-z0-9]+", plain) if word]
    key = "".join(word for word in words if word not in ("brain", "mri"))
    try:
        return _BY_SPELLING[key.removeprefix("brain").replace("tumour", "tumor")]
    except KeyError:
        known = ", ".join(CLASSES)
        raise DataError(f"unknown class '{text}': the classes are {known}") from None


def _singular(word: str) -> str:
    return _PLURALS.get(word, word.removesuffix("s"))
