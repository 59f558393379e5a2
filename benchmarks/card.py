"""Builds the tables of the model card from the records in `results/`."""

import csv
from collections import Counter
from collections.abc import Sequence
from typing import Any

from record import RESULTS, read_record
from tumorscope.inference import Classifier

_NAMES = {
    "glioma": "glioma",
    "meningioma": "meningioma",
    "notumor": "no tumour",
    "pituitary": "pituitary tumour",
}

_SHARES = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro F1": "macro_f1",
    "expected calibration error": "ece",
    "selective accuracy at 90 % coverage": "selective_accuracy",
    "miss rate": "miss_rate",
}


def data_table() -> str:
    """Return how many slices the bundled network was trained on, as its file says."""
    facts = Classifier.load().facts
    counts = facts.data["counts"]
    rows = [["class", "training", "validation, for calibration"]]
    for label in sorted({*counts["train"], *counts["validation"]}):
        name = _NAMES.get(label, "a tumour of unknown kind")
        parts = (counts[part].get(label, 0) for part in ("train", "validation"))
        rows.append([name, *(f"{count:,}" for count in parts)])
    return table(rows)


def figures_table() -> str:
    """Return accuracy, calibration and localisation over the folds by patient."""
    columns = {
        "`kaggle-patient`": "edge_kaggle-patient",
        "`kaggle-patient`, 0.1.0": "edge_kaggle-patient_before",
        "`figshare-patient`": "figshare_figshare-patient",
    }
    found = {title: read_record(name)["figures"]["by_seed"][0] for title, name in columns.items()}
    rows = [["measure", *columns]]
    sizes = [f"{each['n']:,}, {each['groups']:,}" for each in found.values()]
    rows.append(["test images, patients", *sizes])
    for title, name in _SHARES.items():
        rows.append([title, *(_share(each, name) for each in found.values())])
    for title, level in {"slice (copies count once)": "by_slice", "patient": "by_patient"}.items():
        each_level = [each[level] for each in found.values()]
        rows.append(
            [f"accuracy by {title}"]
            + [f"{level['accuracy']:.1%} of {level['n']:,}" for level in each_level]
        )
    places = [each["localisation"] for each in found.values()]
    for title, name in {
        "heatmap's peak inside the outline": "peak_inside",
        "overlap with the outline (Dice)": "dice",
    }.items():
        rows.append([title, *(_share(place, name) for place in places)])
    ensemble = read_record("ensemble_figshare-patient")["figures"]
    title = f"accuracy of the mean of {len(ensemble['members'])} networks"
    shown = _share(ensemble, "accuracy")
    rows.append([title, *(shown if "figshare" in name else "" for name in columns.values())])
    return table(rows)


def fold_table() -> str:
    """Return the bundled file's figures on the fold that it did not learn from."""
    (found,) = read_record("tumorscope-edge_kaggle-patient_fold-1")["figures"]["by_seed"]
    rows = [["measure", f"{found['n']:,} slices of {found['groups']} patients and groups"]]
    rows += [[title, _share(found, name)] for title, name in _SHARES.items()]
    places = {"heatmap's peak inside the outline": "peak_inside", "overlap (Dice)": "dice"}
    rows += [[title, _share(found["localisation"], name)] for title, name in places.items()]
    for verdict, each in found["verdicts"].items():
        right = "" if each["accuracy"] is None else f", {each['accuracy']:.1%} of them right"
        rows.append([f"`{verdict}`", f"{each['share']:.1%}{right}"])
    return table(rows)


def zooms_table() -> str:
    """Return what the mean over three zooms changes."""
    rows = [["measure", "one look", "`--tta`"]]
    shares = {
        "accuracy": "accuracy",
        "selective accuracy at 90 % coverage": "selective_accuracy",
        "miss rate": "miss_rate",
        "expected calibration error": "ece",
    }
    for recipe, split in (("edge", "kaggle-patient"), ("figshare", "figshare-patient")):
        plain = read_record(f"{recipe}_{split}")["figures"]["by_seed"][0]
        careful = read_record(f"ensemble_{split}_tta")["figures"]
        for title, name in shares.items():
            if plain[name] is not None:
                cells = (_share(plain, name), _share(careful, name))
                rows.append([f"`{split}`: {title}", *cells])
    looks = [read_record(f"elsewhere_{name}")["figures"] for name in ("edge", "edge_tta")]
    healthy = [[look["healthy_dicom"], *look["healthy_icbm"].values()] for look in looks]
    for title, sets in {
        "healthy heads from elsewhere called a tumour": healthy,
        "another hospital's gliomas called a tumour": [[look["glioma_tcia"]] for look in looks],
    }.items():
        cells = []
        for each in sets:
            called = sum(round(found["tumour"] * found["n"]) for found in each)
            cells.append(f"{called} of {sum(found['n'] for found in each)}")
        rows.append([title, *cells])
    return table(rows)


def hospital_table() -> str:
    """Return what both bundled models make of one hospital's slices, within one scan."""
    rows = [["sequence", "model", "AUC", "tumour: called a tumour, glioma", "confident, wrong"]]
    rows[0].append("no tumour: called a tumour")
    for title, figures in _versions().items():
        for sequence, found in figures["lgg_external"].items():
            tumour, free = found["glioma"], found["notumor"]
            rows.append(
                [
                    f"{sequence}, {tumour['n']} and {free['n']} slices",
                    title,
                    f"{found['auc']:.3f}",
                    f"{tumour['tumour']:.1%}, {tumour['glioma']:.1%}",
                    f"{tumour['confident_wrong']:.1%}",
                    f"{free['tumour']:.1%}",
                ]
            )
    return table(rows)


def bundled_table() -> str:
    """Return what both bundled models make of scans from elsewhere, in a few lines."""
    versions = _versions()
    rows = [["scans that nothing was trained on", "n", *versions]]
    for sequence in ("T1c", "T1", "FLAIR"):
        slices = [each["lgg_external"][sequence] for each in versions.values()]
        count = slices[0]["glioma"]["n"] + slices[0]["notumor"]["n"]
        title = f"another hospital's {sequence}: tumour against none within one scan, AUC"
        rows.append([title, f"{count} slices", *(f"{each['auc']:.2f}" for each in slices)])
    of_hospital = [list(each["lgg_external"].values()) for each in versions.values()]
    for title, kind, key in (
        ("its slices with a glioma called glioma", "glioma", "glioma"),
        ("its slices without a tumour called a tumour", "notumor", "tumour"),
        ("its slices with a glioma: confident and wrong", "glioma", "confident_wrong"),
    ):
        rows.append([title, *_pooled([[each[kind] for each in all_] for all_ in of_hospital], key)])
    for title, healthy, right in (
        ("healthy series called a tumour", True, "notumor"),
        ("glioma series not called glioma", False, "glioma"),
    ):
        series = [
            [found for name, found in each["series"].items() if (name == "healthy") == healthy]
            for each in versions.values()
        ]
        counts = [sum(found["n"] for found in each) for each in series]
        wrongs = [
            sum(found["n"] - found["labels"].get(right, 0) for found in each) for each in series
        ]
        rows.append([title, f"{counts[0]} series", *map(str, wrongs)])
    return table(rows)


def _pooled(sets: Sequence[Sequence[dict[str, Any]]], key: str) -> list[str]:
    """Return the number of slices and, version by version, the share of all of them."""
    counts = [sum(found["n"] for found in each) for each in sets]
    hits = [sum(round(found[key] * found["n"]) for found in each) for each in sets]
    shares = [f"{hit / count:.0%}" for hit, count in zip(hits, counts, strict=True)]
    return [f"{counts[0]} slices", *shares]


def series_table() -> str:
    """Return what both bundled models make of whole series, by the same rule."""
    rows = [["series", "model", "n", "answers", "confident"]]
    for title, figures in _versions().items():
        for name, found in figures["series"].items():
            counts = [
                ", ".join(f"{_NAMES[label]} {count}" for label, count in found[key].items())
                for key in ("labels", "confident_labels")
            ]
            rows.append([name, title, str(found["n"]), counts[0], counts[1] or "none"])
    return table(rows)


def calibration_table() -> str:
    """Return what was measured on held-out slices when the thresholds were chosen."""
    figures = read_record("calibration_edge")["figures"]
    rows = [["held-out slices", "n", "confident", "confident, wrong", "missed or false alarm"]]
    errors = {"tumour": "tumours_missed", "no tumour": "no_tumour_called_a_tumour"}
    for name, parts in figures["confident"]["sets"].items():
        rates = figures["false_negative_cost"]["error_rates"][name]
        for kind, sure in parts.items():
            shares = (
                sure["confident"],
                sure["confident_and_wrong"],
                rates[errors[kind]],
            )
            cells = (f"{share:.1%}" for share in shares)
            rows.append([f"{name}, {kind}", f"{sure['n']:,}", *cells])
    return table(rows)


def unseen_table() -> str:
    """Return what each run makes of the hospital and the scanners that it did without."""
    rows = [["run", "slices", "n, patients", "tumour against none, AUC", "missed", "right kind"]]
    rows[0].append("false alarms")
    for run, figures in read_record("unseen_hospital")["figures"].items():
        for name, found in figures["sets"].items():
            if name.startswith("kaggle"):  # (These are of the run's own validation.)
                continue
            area = ""
            if "auc" in found:
                low, high = found["auc interval"]
                area = f"{found['auc']:.3f} ({low:.3f} to {high:.3f})"
            shares = (found[key] for key in ("missed", "right kind", "false alarms"))
            rows.append(
                [
                    run,
                    name,
                    f"{found['n']:,}, {found['patients']}",
                    area,
                    *("" if share is None else f"{share:.1%}" for share in shares),
                ]
            )
    return table(rows)


def shortcuts_table() -> str:
    """Return how well facts of the scan tell the training data's tumours."""
    found = read_record("shortcuts")["figures"]["auc"]
    rows = [["fact", *found]]
    facts = next(iter(found.values()))
    return table(
        rows + [[fact, *(f"{aucs[fact]:.2f}" for aucs in found.values())] for fact in facts]
    )


def ood_table() -> str:
    """Return how scores tell what is out of distribution, set by set."""
    figures = read_record("ood")["figures"]
    rows = [["pictures", "n", *(f"{score}: AUC, refused" for score in figures["scores"])]]
    for name, count in figures["n"].items():
        found = [sets[name] for sets in figures["scores"].values()]
        cells = (f"{each['auc']:.3f}, {each['refused']:.1%}" for each in found)
        rows.append([name, str(count), *cells])
    return table(rows)


def ood_limit_table() -> str:
    """Return what the limit of the OOD score refuses of what a score did without."""
    figures = read_record("ood_limit")["figures"]
    rows = [["what the score did without", "refused"]]
    for name, share in figures["refused of a place that the score did without"].items():
        rows.append([name, f"{share:.1%}"])
    kinds = figures["refused of kinds of outliers that the score did without"]
    rows.append(["two kinds of made-up outliers at a time, the mean", f"{kinds:.1%}"])
    return table(rows)


def _versions() -> dict[str, Any]:
    """Return the external figures of the bundled model and of the one before it."""
    found = [read_record(name)["figures"] for name in ("elsewhere_edge_before", "elsewhere_edge")]
    return {each["model"].rpartition(" ")[2]: each for each in found}


def classes_table() -> str:
    """Return sensitivity and the like class by class."""
    found = read_record("edge_kaggle-patient")["figures"]["by_seed"][0]
    measures = ("sensitivity", "specificity", "precision", "f1", "roc_auc")
    rows = [["class", "test images", "sensitivity", "specificity", "precision", "F1", "ROC AUC"]]
    for label, figures in found["per_class"].items():
        rows.append(
            [_NAMES[label], f"{figures['n']:,}"] + [_share(figures, name) for name in measures]
        )
    return table(rows)


def planes_table() -> str:
    """Return accuracy plane by plane."""
    figures = read_record("planes")["figures"]
    (planes,) = figures["runs"].values()
    rows = [["plane", "test images", "patients", "accuracy"]]
    for plane, found in planes.items():
        share = f"{found['accuracy']:.1%} ({between(found['interval'])})"
        rows.append([plane, f"{found['n']:,}", str(found["groups"]), share])
    alike, seen = figures["of_these_told_alike"], figures["told_by_eye"]
    return f"{table(rows)}\n\nOf {seen} slices told by eye, {alike} were told alike."


def verdicts_table() -> str:
    """Return share and accuracy of each verdict of networks that are calibrated."""
    found = read_record("edge_kaggle-patient")["figures"]["by_seed"][0]["verdicts"]
    rows = [
        [verdict, f"{found[verdict]['share']:.1%}, {found[verdict]['accuracy']:.1%}"]
        for verdict in ("confident", "uncertain", "unsupported")
    ]
    return table([["verdict", "`kaggle-patient`: share, accuracy"], *rows])


def corruptions_table() -> str:
    """Return the share of accuracy that is kept by corruption."""
    figures = read_record("corruptions_tumorscope-edge")["figures"]
    rows = [["corruption", "of the clean accuracy, mean of five severities", "at the highest"]]
    for kind, kept in figures["kept"].items():
        strongest = figures["accuracy"][kind][-1] / figures["clean"]
        rows.append([kind, f"{kept:.1%}", f"{strongest:.1%}"])
    mean = f"{figures['mean_kept']:.1%} ({between(figures['mean_kept_interval'])})"
    rows.append(["mean", mean, ""])
    return table(rows)


def mistakes_table() -> str:
    """Return the slices and patients that most wrong answers come from."""
    with (RESULTS / "mistakes_kaggle-patient.csv").open(newline="") as file:
        wrong = list(csv.DictReader(file))
    groups = Counter((row["group"], row["label"]) for row in wrong)
    worst = groups.most_common(12)
    rows = [["group", "class", "wrong answers", "predicted", "the most probable of them"]]
    for (group, label), count in worst:
        own = [row for row in wrong if (row["group"], row["label"]) == (group, label)]
        predicted = Counter(row["predicted"] for row in own).most_common()
        first = own[0]
        rows.append(
            [
                group,
                _NAMES[label],
                str(count),
                ", ".join(f"{_NAMES[name]} {times}" for name, times in predicted),
                f"`{first['file'].rsplit('/', 1)[-1]}` ({float(first['probability']):.2f})",
            ]
        )
    share = sum(count for _, count in worst) / len(wrong)
    lead = (
        f"{len(wrong)} test images of `kaggle-patient` are wrong, of {len(groups)} groups; "
        f"{share:.0%} of them are of these twelve:"
    )
    return f"{lead}\n\n{table(rows)}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def between(ends: Sequence[float]) -> str:
    """Return the ends of an interval of shares in percent: `92.6 to 96.0 %`."""
    low, high = ends
    return f"{low * 100:.1f} to {high * 100:.1f} %"


def _share(figures: dict[str, Any], name: str) -> str:
    value, ends = figures[name], figures["interval"].get(name)
    if value is None:
        return ""
    digits = 2 if name in ("ece", "miss_rate") else 1
    text = f"{value * 100:.{digits}f} %"
    if ends is not None:
        text += f" ({ends[0] * 100:.{digits}f} to {ends[1] * 100:.{digits}f})"
    return text
