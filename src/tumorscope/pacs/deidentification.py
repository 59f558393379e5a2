"""Takes the patient out of what an object would repeat.

The method is the Basic Application Level Confidentiality Profile (DICOM PS3.15, E.2), applied to
what is copied from the images: identifiers become pseudonyms, dates and descriptions go.
"""

import hashlib
import hmac
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Final

from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.sr.codedict import codes

from tumorscope.pacs.references import Source

_DUMMIES: Final = {"ContentDate": "19000101", "ContentTime": "000000"}
"""Dates that an object must have."""


class Pseudonyms:
    """Gives every identifier another one, always the same for the same one.

    Args:
        key: What the pseudonyms depend on: without it nobody can find out whose they are.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hide(self, source: Source) -> Source:
        """Return the source without the patient."""
        patient = str(source.identity.PatientID or source.identity.PatientName or "")
        pseudonym = f"TS-{self._digest('patient', patient).hex()[:16].upper()}"
        identity = Dataset()
        identity.PatientName, identity.PatientID = f"{pseudonym}^", pseudonym
        identity.StudyInstanceUID = self._uid(source.study_uid)
        for keyword in (
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "ReferringPhysicianName",
            "StudyID",
        ):
            setattr(identity, keyword, "")
        places = tuple(copy(place) for place in source.places)
        for place in places:
            if place is not None:
                place.FrameOfReferenceUID = self._uid(place.FrameOfReferenceUID)
        return replace(
            source,
            identity=identity,
            study_uid=str(identity.StudyInstanceUID),
            series_uid=self._uid(source.series_uid),
            instance_uid=self._uid(source.instance_uid),
            places=places,
        )

    def _uid(self, uid: str) -> str:
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16])}"

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{kind}|{text}".encode(), hashlib.sha256)


def mark_deidentified(dataset: Dataset) -> None:
    """Take the dates out of an object made of a hidden source, and say what was done."""
    for holder, element in list(_elements(dataset)):
        if element.VR not in ("DA", "TM", "DT") or not element.value:
            continue
        if element.keyword in _DUMMIES:
            element.value = _DUMMIES[element.keyword]
        else:
            del holder[element.tag]
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethod = "tumorscope: basic profile for all that is copied"
    method = Dataset()
    code = codes.DCM.BasicApplicationConfidentialityProfile
    method.CodeValue, method.CodingSchemeDesignator = code.value, code.scheme_designator
    method.CodeMeaning = code.meaning
    dataset.DeidentificationMethodCodeSequence = [method]


def _elements(dataset: Dataset) -> Iterator[tuple[Dataset, DataElement]]:
    """Yield all elements, those of sequences too, each with what it stands in."""
    for element in dataset:
        yield dataset, element
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
