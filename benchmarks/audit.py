"""Measures how well the audit finds the near-duplicates and label errors of the Kaggle set.

    python benchmarks/audit.py --data PATH/kaggle

writes `results/audit.json`. A slice that `groups.csv` matched to figshare has a known patient, so
pairs that were missed and pairs that join two patients can be counted. Label errors are ranked by
predictions out of fold that `measure.py` kept, plain and with some labels changed.
"""

import argparse
import csv
import hashlib
import io
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from record import write_record
from tumorscope.audit.audit import Audit, audit
from tumorscope.audit.label_errors import LabelErrors
from tumorscope.audit.out_of_fold import find_label_errors
from tumorscope.classes import CLASSES
from tumorscope.images import read_slice
from tumorscope.near_duplicates.detection import describe, find_near_duplicates

COMMAND = "python benchmarks/audit.py --data PATH/kaggle"
PREDICTIONS = Path(__file__).parents[1] / "results/predictions/quick_kaggle-patient_0.csv"
ALTERED = 300
CHANGED_LABELS = 100
SEED = 0

Row = dict[str, str]
Pair = tuple[str, str]


def main() -> None:
    """Run the audit, compare it with the table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with groups.csv")
    folder: Path = parser.parse_args().data
    with (folder / "groups.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    wall, processor = time.perf_counter(), time.process_time()
    result = audit([folder])
    figures = {
        **against_table(result, rows),
        "seconds": round(time.perf_counter() - wall, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "unique_slices": result.unique_slices,
        "pairs_by_kind": result.as_dict()["near_duplicates"],
        "across_official_split": {
            name: {
                "files": sum(item.split == name for item in result.files),
                "with_twin_on_other_side": result.leaked(name),
            }
            for name in result.splits
        },
        "label_conflict_pairs": len(result.label_conflicts),
        "shortcuts": {item.fact: round(item.balanced_accuracy, 4) for item in result.shortcuts},
        "shortcut_chance": result.shortcuts[0].chance,
        "label_errors": label_errors(result),
        "altered_copies_found": altered_copies(result),
    }
    path = write_record(
        "audit",
        command=COMMAND,
        figures=figures,
        seeds=[SEED],
        n=len(result.files),
        data_fingerprint=fingerprint(result),
    )
    print(path.read_text())


def against_table(result: Audit, rows: dict[str, Row]) -> dict[str, object]:
    """Count pairs that the table expects and pairs that join two patients."""
    found = {
        tuple(sorted((result.files[pair.first].name, result.files[pair.second].name)))
        for pair in result.pairs
    }
    expected = set(pairs_sharing(rows.values(), "figshare_index"))
    known = [pair for pair in found if all(rows[name]["patient"] for name in pair)]
    two = [pair for pair in known if rows[pair[0]]["group"] != rows[pair[1]]["group"]]
    same_slice = sum(pair in expected for pair in known)
    clusters = {item.name: item.cluster for item in result.files}
    no_tumour = list(
        pairs_sharing((row for row in rows.values() if row["class"] == "notumor"), "twin_cluster")
    )
    other_fold = [pair for pair in found if rows[pair[0]]["fold"] != rows[pair[1]]["fold"]]
    return {
        "pairs_expected": len(expected),
        "pairs_found": len(expected & found),
        "recall": round(len(expected & found) / len(expected), 5),
        "pairs_reported": len(found),
        "pairs_reported_known_patients": len(known),
        "pairs_joining_two_patients": len(two),
        "share": round(len(two) / len(known), 5),
        "pairs_of_neighbouring_slices": len(known) - len(two) - same_slice,
        "pairs_no_tumour_clusters": len(no_tumour),
        "recall_no_tumour_clusters": round(
            sum(clusters[one] == clusters[other] for one, other in no_tumour) / len(no_tumour), 5
        ),
        "pairs_in_two_folds_of_table": len(other_fold),
        "files_in_two_folds_of_table": len({name for pair in other_fold for name in pair}),
    }


def pairs_sharing(rows: Iterable[Row], column: str) -> Iterator[Pair]:
    """Yield the pairs of files with the same entry in a column, empty entries left out."""
    names = defaultdict(list)
    for row in rows:
        if row[column]:
            names[row[column]].append(row["file"])
    for same in names.values():
        yield from combinations(sorted(same), 2)


def label_errors(result: Audit) -> dict[str, object]:
    """Rank label errors as they are, and with the labels of some slices changed."""
    random = np.random.default_rng(SEED)
    plain = ranked(result, [item.label for item in result.files])
    clusters = np.array([item.cluster for item in result.files])
    labels = [item.label for item in result.files]
    chosen = random.choice(np.unique(clusters), CHANGED_LABELS, replace=False)
    changed = np.isin(clusters, chosen)
    for cluster in chosen:
        (place, *_) = places = np.flatnonzero(clusters == cluster)
        other = random.choice([name for name in CLASSES if name != labels[place]])
        for place in places:
            labels[place] = str(other)
    found = ranked(result, labels)
    scores = np.full(len(labels), -1.0)
    scores[[item.place for item in found.ranked]] = [item.score for item in found.ranked]
    first = [changed[item.place] for item in found.ranked[: int(changed.sum())]]
    return {
        "predictions": PREDICTIONS.name,
        "predicted": plain.predicted,
        "as_labelled": plain.agreeing,
        "learned_from": plain.learned_from,
        "likely_errors": len(plain.ranked),
        "changed_slices": CHANGED_LABELS,
        "changed_files": int(changed.sum()),
        "changed_files_ranked": sum(bool(changed[item.place]) for item in found.ranked),
        "changed_among_as_many_first": round(float(np.mean(first)), 4),
        "auroc": round(float(roc_auc_score(changed, scores)), 4),
    }


def ranked(result: Audit, labels: list[str]) -> LabelErrors:
    """Rank label errors where the files are labelled so."""
    return find_label_errors(
        PREDICTIONS,
        [replace(item.item, label=label) for item, label in zip(result.files, labels, strict=True)],
        [item.cluster for item in result.files],
        [item.unit for item in result.files],
    )


def altered_copies(result: Audit) -> dict[str, float]:
    """Alter some slices in known ways and return, by way, the share that is found again."""
    chosen: dict[int, Path] = {}
    for place in np.random.default_rng(SEED).permutation(len(result.files)):
        chosen.setdefault(result.files[place].cluster, result.files[place].item.path)
        if len(chosen) == ALTERED:
            break
    slices = [read_slice(path) for path in chosen.values()]
    originals = [describe(grey) for grey in slices]
    shares = {}
    for name, alter in ALTERATIONS.items():
        copies = (np.asarray(alter(Image.fromarray(grey))) for grey in slices)
        described = originals + [describe(grey) for grey in copies]
        found = {(pair.first, pair.second) for pair in find_near_duplicates(described)}
        hits = sum((place, place + len(slices)) in found for place in range(len(slices)))
        shares[name] = round(hits / len(slices), 4)
    return shares


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """Compress a picture as JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def scaled(picture: Image.Image, across: float, down: float) -> Image.Image:
    """Resize a picture by two factors."""
    return picture.resize((round(picture.width * across), round(picture.height * down)))


def padded(picture: Image.Image, level: int) -> Image.Image:
    """Put a picture, off the middle, on a larger canvas."""
    canvas = Image.new("L", (round(picture.width * 1.4), round(picture.height * 1.2)), level)
    canvas.paste(picture, (picture.width // 4, picture.height // 10))
    return canvas


def cropped(picture: Image.Image, share: float) -> Image.Image:
    """Cut a share of the height off at the bottom, as a crop through the neck does."""
    return picture.crop((0, 0, picture.width, round(picture.height * (1 - share))))


def toned(picture: Image.Image, tone: Callable[[NDArray[np.float64]], object]) -> Image.Image:
    """Send grey values from 0 to 1 through a curve."""
    curve = np.clip(np.asarray(tone(np.linspace(0, 1, 256))), 0, 1)
    return picture.point([round(255 * value) for value in curve])


def noisy(picture: Image.Image, spread: float) -> Image.Image:
    """Add Gaussian noise of some grey levels."""
    noise = np.random.default_rng(SEED).normal(0, spread, (picture.height, picture.width))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg quality 20": lambda picture: jpeg(picture, 20),
    "half the size": lambda picture: scaled(picture, 0.5, 0.5),
    "squashed to two thirds": lambda picture: scaled(picture, 1, 0.667),
    "padded with black": lambda picture: padded(picture, 0),
    "padded with white": lambda picture: padded(picture, 255),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "half a turn": lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
    "darker, less contrast": lambda picture: toned(picture, lambda grey: 0.1 + 0.5 * grey),
    "gamma 0.5": lambda picture: toned(picture, lambda grey: grey**0.5),
    "gamma 2": lambda picture: toned(picture, lambda grey: grey**2),
    "sharpened": lambda picture: picture.filter(ImageFilter.UnsharpMask(2, 300, 0)),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(2)),
    "noise of 10 grey levels": lambda picture: noisy(picture, 10),
    "bottom tenth cut off": lambda picture: cropped(picture, 0.1),
    "bottom fifth cut off": lambda picture: cropped(picture, 0.2),
    "turned by 2 degrees": lambda picture: picture.rotate(2, Image.Resampling.BILINEAR),
    "turned by 5 degrees": lambda picture: picture.rotate(5, Image.Resampling.BILINEAR),
    "turned by 10 degrees": lambda picture: picture.rotate(10, Image.Resampling.BILINEAR),
    "a quarter turn": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "inverted": lambda picture: toned(picture, lambda grey: 1 - grey),
}


def fingerprint(result: Audit) -> str:
    """Return a SHA-256 over the names and sizes of the files."""
    digest = hashlib.sha256()
    for item in result.files:
        digest.update(f"{item.name}\0{item.item.path.stat().st_size}\0".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
