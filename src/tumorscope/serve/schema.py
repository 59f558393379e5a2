"""The API's answers as models: they are sent as these, and its OpenAPI description is made of them.

What `tumorscope predict --json` prints goes into them whole: a key that they lack is an error.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.inference.results import Verdict
from tumorscope.series.rule import SeriesRule
from tumorscope.serve.limits import Limits
from tumorscope.serve.uploads import FIELD


class Answer(BaseModel):
    """What the API sends."""

    model_config = ConfigDict(extra="forbid")

    def json_line(self) -> bytes:
        """Return it as JSON, without the keys that were not set."""
        return self.model_dump_json(exclude_unset=True).encode()


class SliceAnswer(Answer):
    """A model's answer to a slice, as `tumorscope predict --json` prints it."""

    path: str = Field(description="The file's name, as it was sent.")
    slice: int | None = Field(description="Which slice of a volume, from 0.")
    label: str | None = Field(description="The most probable class; null when not classified.")
    probability: float | None
    probabilities: dict[str, float] | None
    verdict: Verdict
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


class FileError(Answer):
    """Stands in the place of a file that cannot be read."""

    path: str
    error: str


class Place(Answer):
    """A slice of a file."""

    path: str
    slice: int | None


class VolumeAnswer(Answer):
    """A model's answer to a volume or series, as `tumorscope predict --series --json` prints it.

    Its slices' answers follow.
    """

    path: str = Field(description="The file, or the folder that all files of the series lie in.")
    series: str | None = Field(description="The series' UID, else its number.")
    slices: int = Field(description="How many slices were classified.")
    label: str | None
    probability: float | None
    probabilities: dict[str, float] | None
    verdict: Verdict
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


class Progress(Answer):
    """How far the work on volumes is: a line now and then in a stream."""

    files: int = Field(description="How many files there are, archives unpacked.")
    files_done: int
    slices_done: int


class ModelCard(Answer):
    """What a model's file says about itself."""

    id: str = Field(description="What ?model= takes.")
    title: str = Field(description="Name and version.")
    name: str
    version: str
    classes: list[str]
    input_size: int
    confident: list[float] = Field(
        description="The probability from which an answer is confident, class by class."
    )
    risk: float | None = Field(
        description="The largest expected share of a new patient's slices that are confident and "
        "wrong; null: nothing can be promised."
    )
    ood_threshold: float | None = Field(
        description="A slice with a larger OOD score is unsupported; null: there is no score."
    )
    series: SeriesRule = Field(description="How answers to whole series are calibrated.")
    temperature: float
    data: dict[str, Any] = Field(description="What the model learned from.")
    recipe: dict[str, Any] = Field(description="How it was trained.")
    created: str
    license: str
    intended_use: str


class Card(Answer):
    """What this service is; the first model answers where none is named."""

    tumorscope: str = Field(description="The package's version.")
    notice: str
    limits: Limits
    models: list[ModelCard]


class Problem(Answer):
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
    "model": "tumorscope-edge 1.2.0",
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
    403: "A page of another site asks.",
    408: "The request did not arrive in time.",
    413: "The request is too large, or holds too many files.",
    415: "The request is no multipart form.",
    421: "The service does not go by that name.",
    422: "There are no files, or a parameter is wrong.",
    429: "The service is busy; Retry-After says when to try again.",
    503: "The answer took too long.",
}


LINES: Final = "application/x-ndjson"
"""The kind of answers that come as lines of JSON."""


def responses(example: object, lines: str) -> dict[int | str, dict[str, Any]]:
    """Return what an operation may answer.

    Args:
        example: An answer.
        lines: What comes where lines are accepted.
    """
    good: dict[str, Any] = {
        "description": f"An answer for each, in order. {RESEARCH_USE_ONLY}",
        "content": {
            "application/json": {"example": example},
            LINES: {"schema": {"type": "string", "description": f"With Accept: {LINES}: {lines}"}},
        },
    }
    return {200: good, **problems(*_PROBLEMS)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how an operation tells of problems."""
    return {
        status: {
            "model": Problem,
            "description": _PROBLEMS[status],
            "content": {"application/json": {"example": {"error": _PROBLEMS[status]}}},
        }
        for status in statuses
    }


_LAST_LINE: Final = "A last line that holds only `error` says that the rest is missing."

SLICES: Final = responses(
    [_SLICE, _ERROR], f"each answer is a line of its own, sent once it is there. {_LAST_LINE}"
)
VOLUMES: Final = responses(
    [_VOLUME],
    "lines with `files`, `files_done` and `slices_done` about once a second, then each answer as "
    f"a line. {_LAST_LINE}",
)
