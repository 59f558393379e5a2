"""What the API's answers look like, for its OpenAPI description; nothing here runs on a request."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.serve.uploads import FIELD


class SliceAnswer(BaseModel):
    """A model's answer to a slice, as `tumorscope predict --json` prints it."""

    path: str = Field(description="The file's name, as it was sent.")
    slice: int | None = Field(description="Which slice of a volume, from 0.")
    label: str | None = Field(description="The most probable class; null when not classified.")
    probability: float | None
    probabilities: dict[str, float] | None
    verdict: str = Field(description="confident, uncertain or unsupported")
    reason: str = Field(description="Why the verdict is not confident; else empty.")
    model: str
    milliseconds: float
    note: str | None = Field(
        default=None, description="What else the file holds and was not used, where there is more."
    )
    heatmap: str | None = Field(
        default=None,
        description="With heatmap=png: a grey PNG in base64, of the slice's proportions; 255 "
        "where the network saw the label most.",
    )
    picture: str | None = Field(
        default=None, description="With picture=png: the slice as a grey PNG in base64."
    )
    affine: list[list[float]] | None = Field(
        default=None,
        description="With picture=png: turns (column, row, 0, 1) of the picture into mm towards "
        "the patient's right, front and top; null when the file does not say.",
    )


class FileError(BaseModel):
    """Stands in the place of a file that cannot be read."""

    path: str
    error: str


class Place(BaseModel):
    """A slice of a file."""

    path: str
    slice: int | None


class VolumeAnswer(BaseModel):
    """A model's answer to a volume or series, as `tumorscope predict --series --json` prints it.

    Its slices' answers follow.
    """

    path: str = Field(description="The file, or the folder that all files of the series lie in.")
    series: str | None = Field(description="The series' UID, else its number.")
    slices: int = Field(description="How many slices were classified.")
    label: str | None
    probability: float | None
    probabilities: dict[str, float] | None
    verdict: str
    reason: str
    model: str
    milliseconds: float
    decided_by: list[Place] = Field(description="The slices that decided.")
    note: str = Field(
        description="What to know of the series: several volumes or planes, what was left out."
    )
    answers: list[SliceAnswer] = Field(
        description="All slices, volume by volume along the body; copies are left out."
    )


class ModelCard(BaseModel):
    """What a model's file says about itself."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="What ?model= takes.")
    name: str
    version: str
    classes: list[str]
    input_size: int
    confident: list[float] = Field(
        description="The probability from which an answer is confident, class by class."
    )
    license: str
    intended_use: str


class Card(BaseModel):
    """What this service is; the first model answers where none is named."""

    tumorscope: str = Field(description="The package's version.")
    notice: str
    limits: dict[str, float]
    models: list[ModelCard]


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str


_SLICE: Final[dict[str, Any]] = {
    "path": "scan.jpg",
    "slice": None,
    "label": "meningioma",
    "probability": 0.94,
    "probabilities": {"glioma": 0.03, "meningioma": 0.94, "notumor": 0.01, "pituitary": 0.02},
    "verdict": "confident",
    "reason": "",
    "model": "tumorscope-edge 1.0.0",
    "milliseconds": 2.1,
}

_ERROR: Final = {
    "path": "notes.txt",
    "error": "not an image file of a kind that is read (docs/inputs.md)",
}

_VOLUME: Final[dict[str, Any]] = {
    **_SLICE,
    "path": "volume.nii.gz",
    "series": None,
    "slices": 3,
    "decided_by": [{"path": "volume.nii.gz", "slice": number} for number in (11, 12, 13)],
    "note": "",
    "answers": [{**_SLICE, "path": "volume.nii.gz", "slice": number} for number in (11, 12, 13)],
}
_VOLUME.pop("slice")

UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "JPEG, PNG, DICOM or NIfTI files.",
                        }
                    },
                }
            }
        },
    }
}
"""How files are sent."""

_PROBLEMS: Final = {
    400: "The form is damaged.",
    401: "The token is missing or wrong.",
    408: "The request did not arrive in time.",
    413: "The request is too large, or holds too many files.",
    415: "The request is no multipart form.",
    422: "There are no files, or a parameter is wrong.",
    429: "The service is busy; Retry-After says when to try again.",
    503: "The answer took too long.",
}


def responses(example: object) -> dict[int | str, dict[str, Any]]:
    """Return what an operation may answer."""
    good: dict[str, Any] = {
        "description": f"An answer for each, in order. {RESEARCH_USE_ONLY}",
        "content": {"application/json": {"example": example}},
    }
    problems: dict[int | str, dict[str, Any]] = {
        status: {
            "model": Problem,
            "description": words,
            "content": {"application/json": {"example": {"error": words}}},
        }
        for status, words in _PROBLEMS.items()
    }
    return {200: good, **problems}


SLICES: Final = responses([_SLICE, _ERROR])
VOLUMES: Final = responses([_VOLUME])
