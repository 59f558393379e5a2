"""A model file and scans from elsewhere come in, a record of what it makes of them goes out.

    python benchmarks/elsewhere.py --data ROOT [--model M] [--tta] [--name NAME]

writes `results/elsewhere_NAME.json`. Healthy heads of other scanners (a DICOM series, the ICBM 152
volume in three planes) may not be called a tumour; gliomas of another hospital should be; what
shows no head should be refused. None of these pictures was trained on.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from record import write_record
from tumorscope.images.slices import AXES, SliceChoice
from tumorscope.inference import Classifier, Failure, Prediction
from tumorscope.inference.model_file import DEFAULT_MODEL

_CLEAR = 60
"""Tumour pixels above which a slice of the other hospital shows the tumour clearly."""


def main() -> None:
    """Classify everything and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    parser.add_argument("--tta", action="store_true", help="the mean over three zooms")
    parser.add_argument("--name", default="edge", help="part of the record's name")
    options = parser.parse_args()
    classifier = Classifier.load(options.model, tta=options.tta)
    figures = {
        "model": classifier.facts.title,
        "healthy_dicom": _sum_up(classifier.predict(options.data / "dicom/healthy_child_t1")),
        "healthy_icbm": {
            axis: _sum_up(
                classifier.predict(
                    options.data / "nifti/icbm152_t1.nii.gz", choice=SliceChoice(axis=axis)
                )
            )
            for axis in AXES
        },
        "glioma_tcia": _sum_up(_tcia(classifier, options.data / "external_dev/glioma_tcia")),
        "not_brain_mri": {
            folder.name: _sum_up(classifier.predict(folder))
            for folder in sorted((options.data / "not_brain_mri").iterdir())
        },
    }
    write_record(
        f"elsewhere_{options.name}",
        command=f"python benchmarks/elsewhere.py --data ROOT --model {Path(options.model).name}"
        + " --tta" * options.tta
        + f" --name {options.name}" * (options.name != "edge"),
        figures=figures,
        seeds=[],
        n=_count(figures),
        data_fingerprint=str(classifier.facts.data.get("fingerprint", "")),
    )


def _tcia(classifier: Classifier, folder: Path) -> list[Prediction | Failure]:
    """Classify the slices that show the tumour clearly."""
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["tumour_pixels"]) > _CLEAR]
    found = [next((folder / "images").glob(f"{row['image']}.*")) for row in rows]
    return classifier.predict(found)


def _sum_up(answers: Sequence[Prediction | Failure]) -> dict[str, object]:
    """Count labels and verdicts; `tumour` are those called any tumour."""
    classified = [answer for answer in answers if isinstance(answer, Prediction)]
    labels = Counter(str(answer.label) for answer in classified if answer.label)
    tumours = [answer for answer in classified if answer.label not in (None, "notumor")]
    return {
        "n": len(answers),
        "labels": dict(sorted(labels.items())),
        "verdicts": dict(sorted(Counter(answer.verdict for answer in classified).items())),
        "tumour": round(len(tumours) / max(1, len(answers)), 4),
        "tumour_confident": round(
            sum(answer.verdict == "confident" for answer in tumours) / max(1, len(answers)), 4
        ),
        "glioma": round(labels["glioma"] / max(1, len(answers)), 4),
        "unreadable": len(answers) - len(classified),
    }


def _count(figures: object) -> int:
    """Add up every `n`."""
    if not isinstance(figures, dict):
        return 0
    own = figures["n"] if isinstance(figures.get("n"), int) else 0
    return own + sum(_count(value) for value in figures.values())


if __name__ == "__main__":
    main()
