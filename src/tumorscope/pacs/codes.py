"""Coded concepts for classes, verdicts and measurements."""

from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from tumorscope.inference.decision import plain_name
from tumorscope.inference.results import Verdict

SCHEME: Final = "99TUMORSCOPE"
"""Designator of the private coding scheme, for what no standard scheme has a code."""

VERDICT: Final = Code("VERDICT", SCHEME, "Verdict of the model")

BRAIN_MRI: Final = Code("24590-2", "LN", "Brain MRI")

_VERDICTS: Final = {
    "confident": "Confident",
    "uncertain": "Uncertain: a person should look",
    "unsupported": "Unsupported: not a slice that the model can classify",
}

_CLASSES: Final = {
    "glioma": Code("393564001", "SCT", "Glioma"),
    "meningioma": Code("302820008", "SCT", "Intracranial meningioma"),
    "pituitary": Code("127024001", "SCT", "Neoplasm of pituitary gland"),
}
"""The classes that SNOMED CT names; for 'no tumour' nothing there is as careful."""


def coding_scheme() -> CodingSchemeIdentificationItem:
    """Return what an object that uses the private scheme says about it."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="tumorscope's classes, probabilities and verdicts"
    )


def class_code(label: str) -> Code:
    """Return the code of a class."""
    return _CLASSES.get(label) or Code(_value(label), SCHEME, plain_name(label).capitalize()[:64])


def probability_code(label: str) -> Code:
    """Return the code of a class's probability."""
    return Code(_value(f"P_{label}"), SCHEME, f"Probability of {plain_name(label)}"[:64])


def verdict_code(verdict: Verdict) -> Code:
    """Return the code of a verdict."""
    return Code(_value(verdict), SCHEME, _VERDICTS[verdict])


def _value(name: str) -> str:
    """Return a name as a code value, which has 16 characters at most."""
    return "".join(letter if letter.isalnum() else "_" for letter in name.upper())[:16]
