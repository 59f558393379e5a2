"""Measures a model on scans from hospitals and scanners that it was not trained on.

    python benchmarks/elsewhere.py --data ROOT [--model M] [--tta] [--name NAME]

writes `results/elsewhere_NAME.json`. Healthy heads of other scanners (a DICOM series, the ICBM 152
volume in three planes) may not be called a tumour; gliomas of another hospital should be; what
shows no head should be refused. Slices of one hospital (`lgg_tcga`, part `external_dev`) show
whether tumour and no tumour are told apart within one scan, whole series (`series_dev`) what
`predict --series` makes of them. None of these pictures was trained on, and nothing chosen by them.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sklearn.metrics import roc_auc_score

from record import write_record
from tumorscope.images.slices import AXES, SliceChoice
from tumorscope.inference import Classifier, Failure, Prediction
from tumorscope.inference.model_file import DEFAULT_MODEL
from tumorscope.inference.series_prediction import SeriesPrediction

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
        "healthy_dicom": _sum_up(
            classifier.predict(options.data / "dicom/healthy_child_t1"), "notumor"
        ),
        "healthy_icbm": {
            axis: _sum_up(
                classifier.predict(
                    options.data / "nifti/icbm152_t1.nii.gz", choice=SliceChoice(axis=axis)
                ),
                "notumor",
            )
            for axis in AXES
        },
        "glioma_tcia": _sum_up(
            _tcia(classifier, options.data / "external_dev/glioma_tcia"), "glioma"
        ),
        "lgg_external": _lgg(classifier, options.data / "lgg_tcga"),
        "series": _series(classifier, options.data),
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


def _lgg(classifier: Classifier, folder: Path) -> dict[str, object]:
    """Classify slices of one hospital's scans, with and without tumour, by sequence."""
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "external_dev"]
    found: dict[str, object] = {}
    for sequence in ("T1c", "T1", "FLAIR"):
        values: list[float] = []
        labels: list[bool] = []
        sums: dict[str, object] = {}
        for label in ("glioma", "notumor"):
            wanted = (label, sequence)
            files = [
                folder / row["file"] for row in rows if (row["class"], row["sequence"]) == wanted
            ]
            answers = classifier.predict(files)
            # (A slice that was refused has no probabilities.)
            judged = [item for item in answers if isinstance(item, Prediction) and item.label]
            values += [1 - item.probabilities["notumor"] for item in judged]
            labels += [label == "glioma"] * len(judged)
            sums[label] = _sum_up(answers, label)
        found[sequence] = {"auc": round(float(roc_auc_score(labels, values)), 4), **sums}
    return found


def _series(classifier: Classifier, root: Path) -> dict[str, object]:
    """Answer whole series, each as `predict --series` does."""
    dev, tcia = root / "series_dev", root / "external_dev/glioma_tcia"
    series: dict[str, list[list[Path]]] = {
        "healthy": [[path] for path in sorted((dev / "healthy_ixi").glob("*.nii.gz"))]
    }
    for folder in sorted((dev / "glioma_lgg").iterdir()):
        name = f"glioma {folder.name.rpartition('_')[2]}"
        series.setdefault(name, []).append(sorted(folder.iterdir()))
    scans: dict[str, list[tuple[int, Path]]] = {}
    with (tcia / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            path = next((tcia / "images").glob(f"{row['image']}.*"))
            name = f"{row['patient']} {row['time']}"
            scans.setdefault(name, []).append((int(row["slice"]), path))
    series["glioma TCIA"] = [[path for _, path in sorted(each)] for each in scans.values()]
    return {
        name: _sum_up_series([classifier.predict_series(files) for files in each])
        for name, each in series.items()
    }


def _sum_up_series(answers: Sequence[SeriesPrediction]) -> dict[str, object]:
    """Count labels and verdicts of whole series."""
    sure = Counter(str(item.label) for item in answers if item.verdict == "confident")
    return {
        "n": len(answers),
        "labels": dict(sorted(Counter(str(item.label) for item in answers).items())),
        "verdicts": dict(sorted(Counter(item.verdict for item in answers).items())),
        "confident_labels": dict(sorted(sure.items())),
    }


def _sum_up(
    answers: Sequence[Prediction | Failure], target: str | None = None
) -> dict[str, object]:
    """Count labels and verdicts; `tumour` are those called any tumour."""
    classified = [answer for answer in answers if isinstance(answer, Prediction)]
    labels = Counter(str(answer.label) for answer in classified if answer.label)
    tumours = [answer for answer in classified if answer.label not in (None, "notumor")]
    wrong = [item for item in classified if item.verdict == "confident" and item.label != target]
    return {
        "n": len(answers),
        "labels": dict(sorted(labels.items())),
        "verdicts": dict(sorted(Counter(answer.verdict for answer in classified).items())),
        **({"confident_wrong": round(len(wrong) / max(1, len(answers)), 4)} if target else {}),
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
