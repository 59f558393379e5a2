"""The four classes, in the order used everywhere, and the data sets' other spellings of them."""

from typing import Final

from tumorscope.errors import DataError

CLASSES: Final = ("glioma", "meningioma", "notumor", "pituitary")
"""Class names in the order of every probability vector."""

TUMOUR_CLASSES: Final = ("glioma", "meningioma", "pituitary")
"""The classes that are tumours; the ones that figshare holds."""

NO_TUMOUR: Final = "notumor"
"""The class of slices that show no tumour."""

ANY_TUMOUR: Final = "tumour"
"""The label of a slice that shows a tumour of unknown kind: to learn from, never to judge on."""

_SPELLINGS: Final = {
    ANY_TUMOUR: ("tumor", "tumour", "yes"),
    "glioma": ("glioma", "gliomatumor", "gliomatumour"),
    "meningioma": ("meningioma", "meningiomatumor", "meningiomatumour"),
    "notumor": ("notumor", "notumour", "no", "normal", "healthy", "none"),
    "pituitary": ("pituitary", "pituitarytumor", "pituitarytumour", "pituitaryadenoma"),
}
_BY_SPELLING: Final = {spelling: name for name, all_ in _SPELLINGS.items() for spelling in all_}


def class_name(text: str) -> str:
    """Return the class that a data set's spelling means.

    Args:
        text: A folder name or a label: case, spaces, dashes and underscores do not matter.

    Returns:
        One of `CLASSES`, or `ANY_TUMOUR`.

    Raises:
        DataError: The spelling is unknown.

    >>> class_name("Glioma_tumor"), class_name("no_tumor")
    ('glioma', 'notumor')
    """
    key = "".join(letter for letter in text.lower() if letter.isalnum())
    try:
        return _BY_SPELLING[key]
    except KeyError:
        known = ", ".join(CLASSES)
        raise DataError(f"unknown class '{text}': the classes are {known}") from None
