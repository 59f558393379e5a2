"""Builds the tables of the pages from the records in `results/`."""

import argparse
import json
import sys
from functools import partial

import card
from card import between, table
from record import RESULTS, ROOT, read_record
from tumorscope.files import write_text

_START, _END = "<!-- table:{} -->", "<!-- /table -->"
_PROTOCOLS = {
    "kaggle-official": "`kaggle-official`: Kaggle's own split",
    "kaggle-patient": "`kaggle-patient`: five folds by patient",
    "figshare-patient": "`figshare-patient`: five strict folds, 3 classes",
    "figshare-cvind": "`figshare-cvind`: five folds as in published results, 3 classes",
    "sartaj-official": "`sartaj-official`: SARTAJ's own split",
}
_RECIPES = dict.fromkeys(_PROTOCOLS, "quick") | {"figshare-cvind": "figshare"}
"""The recipe that was measured first on each protocol."""


def main() -> int:
    """Rebuild the tables, or with `--check` say whether they are as the records have them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = 0
    for page in (ROOT / "README.md", ROOT / "MODEL_CARD.md", *sorted((ROOT / "docs").glob("*.md"))):
        before = page.read_text(encoding="utf-8")
        after = rebuild(before)
        stale += before != after
        if before != after and not options.check:
            write_text(page, after)
    return int(stale > 0 and options.check)


def rebuild(text: str) -> str:
    """Return a page with every marked table built anew."""
    tables = {
        "accuracy": accuracy_table,
        "speed": speed_table,
        "audit": audit_table,
        "formats": formats_table,
        "altered": altered_table,
        "label-errors": label_errors_table,
        "jetson": jetson_table,
        "protocols": protocols_table,
        "leak": leak_table,
        "remember": remember_table,
        "control": control_table,
        "elsewhere": elsewhere_table,
        "architectures": architectures_table,
        **{f"leaderboard-{split}": partial(leaderboard_table, split) for split in _PROTOCOLS},
        "bundled": card.bundled_table,
        "card-data": card.data_table,
        "card-figures": card.figures_table,
        "card-fold": card.fold_table,
        "card-zooms": card.zooms_table,
        "card-classes": card.classes_table,
        "card-hospital": card.hospital_table,
        "card-unseen": card.unseen_table,
        "card-series": card.series_table,
        "card-calibration": card.calibration_table,
        "card-planes": card.planes_table,
        "card-verdicts": card.verdicts_table,
        "card-mistakes": card.mistakes_table,
        "shortcuts": card.shortcuts_table,
        "ood": card.ood_table,
        "ood-limit": card.ood_limit_table,
        "corruptions": card.corruptions_table,
    }
    for name, build in tables.items():
        start = _START.format(name)
        if start in text:
            head, rest = text.split(start, 1)
            text = f"{head}{start}\n{build()}\n{_END}{rest.split(_END, 1)[1]}"
    return text


def accuracy_table() -> str:
    """Return the accuracies of the recipes on the protocols."""
    measured = ["accuracy", "95 % interval", "miss rate", "on its training images"]
    leaked = "test images with patient or near-duplicate in training"
    rows = [["recipe", "test", "test images", "groups", *measured, leaked]]
    for recipe, split in (
        *((recipe, name) for name, recipe in _RECIPES.items()),
        ("figshare", "kaggle-official"),
        ("edge", "kaggle-patient"),
        ("figshare", "figshare-patient"),
        ("student", "sartaj-official"),
    ):
        record = read_record(f"{recipe}_{split}")
        first = record["figures"]["by_seed"][0]
        seeds = len(record["seeds"])
        note = f" (mean of {seeds} seeds)" if seeds > 1 else ""
        missed = first["miss_rate"]
        kind = ", soup of two" if recipe == "figshare" else ""
        kind += ", sets added" if len(record["figures"].get("sets", [])) > 1 else ""
        rows.append(
            [
                f"`{recipe}`{kind}",
                _PROTOCOLS[split],
                f"{record['n']:,}",
                f"{first['groups']:,}",
                f"**{record['figures']['mean_accuracy']:.1%}**{note}",
                between(first["interval"]["accuracy"]),
                "" if missed is None else f"{missed:.1%}",
                f"{first['training_accuracy']:.1%}",
                f"{first['leaked']:,}",
            ]
        )
    return table(rows)


def leaderboard_table(split: str) -> str:
    """Return the leaderboard's entries for a protocol, the most accurate first."""
    columns = ["folds", "test images", "accuracy", "95 % interval", "ECE", "in training"]
    rows = [["entry", "by", "trained", *columns, "seeds", "M weights", "ResNet-18 = 1", "command"]]
    records = [json.loads(path.read_text()) for path in (RESULTS / "leaderboard").glob("*.json")]
    own = [record for record in records if record["figures"]["split"] == split]
    for record in sorted(
        own, key=lambda record: (-record["figures"]["accuracy"], record["command"])
    ):
        found = record["figures"]
        weights, time = found["parameters"], found["of_resnet18"]
        rows.append(
            [
                found["entry"] if found["ours"] else f"**{found['entry']}**",
                found["by"],
                found["training"],
                ", ".join(map(str, found["folds"])) or "none",
                f"{found['n']:,}",
                f"{found['accuracy']:.1%}",
                between(found["interval"]["accuracy"]),
                f"{found['ece']:.3f}",
                f"{found['leaked']:,}",
                ", ".join(map(str, record["seeds"])),
                "" if weights is None else f"{weights / 1e6:.3g}",
                "" if time is None else f"{time:.2g}",
                f"`{record['command']}`",
            ]
        )
    return table(rows)


def protocols_table() -> str:
    """Return how large the test parts are, and how much of them was seen in training."""
    counted = ["folds", "test images", "different slices", "groups"]
    rows = [["`--split`", *counted, "images whose patient or near-duplicate is in training"]]
    for split, recipe in _RECIPES.items():
        first = read_record(f"{recipe}_{split}")["figures"]["by_seed"][0]
        counts = (first["n"], first["by_slice"]["n"], first["groups"], first["leaked"])
        folds = str(len(first["by_fold"]) or "none")
        rows.append([f"`{split}`", folds, *(f"{count:,}" for count in counts)])
    return table(rows)


def leak_table() -> str:
    """Return what one recipe reaches on Kaggle's own split and by patient."""
    head = ["recipe", "Kaggle's own split", "by patient"]
    leaky, apart = (read_record(f"quick_{name}") for name in ("kaggle-official", "kaggle-patient"))
    first = leaky["figures"]["by_seed"][0]
    shares = [f"{record['figures']['mean_accuracy']:.1%}" for record in (leaky, apart)]
    leaked = f"{first['leaked']:,} of {first['n']:,}; by patient 0"
    return table(
        [
            [*head, "test images with their patient in training"],
            ["`quick`", *shares, leaked],
        ]
    )


def control_table() -> str:
    """Return what each split leaks, by labels that mean nothing."""
    rows = [["`--split`", "test images", "accuracy on shuffled labels", "over shuffles", "chance"]]
    for split, found in read_record("leak_control")["figures"]["splits"].items():
        shares = (f"**{found['accuracy']:.1%}**", between(found["range"]), f"{found['chance']:.1%}")
        rows.append([f"`{split}`", f"{found['n']:,}", *shares])
    return table(rows)


def remember_table() -> str:
    """Return what the bundled model's network reaches by remembering, and on new patients."""
    trained = {
        "to remember (`figshare`)": "figshare_kaggle-official",
        "to generalise (`edge`, sets added)": "edge_kaggle-patient",
    }
    rows = [["trained", "test", "test images", "accuracy"]]
    for how, name in trained.items():
        record = read_record(name)
        count, seeds = record["n"], len(record["seeds"])
        mean = f" (mean of {seeds} seeds)" if seeds > 1 else ""
        test = "Kaggle's own" if "official" in name else "by patient"
        share = record["figures"]["mean_accuracy"]
        rows.append([how, test, f"{count:,}", f"{share:.1%}{mean}"])
    return table(rows)


def elsewhere_table() -> str:
    """Return what the bundled model makes of scans that nothing was trained on."""
    figures = read_record("elsewhere_edge")["figures"]
    sets = {
        "healthy child, T1, DICOM series": figures["healthy_dicom"],
        **{
            f"ICBM 152 average head, {axis}": found
            for axis, found in figures["healthy_icbm"].items()
        },
        "treated glioma of another hospital, clearly visible": figures["glioma_tcia"],
        **{
            f"no brain MRI: {name.replace('_', ' ')}": found
            for name, found in figures["not_brain_mri"].items()
        },
    }
    rows = [["slices", "n", "called a tumour", "confidently so", "called glioma", "refused"]]
    for name, found in sets.items():
        refused = found["verdicts"].get("unsupported", 0) / found["n"]
        shares = (found["tumour"], found["tumour_confident"], found["glioma"], refused)
        rows.append([name, str(found["n"]), *(f"{share:.1%}" for share in shares)])
    return table(rows)


def speed_table() -> str:
    """Return what the audit and the training cost."""
    audit, throughput = read_record("audit")["figures"], read_record("throughput")["figures"]
    quick = read_record("quick_kaggle-official")["figures"]["by_seed"]
    slowest = max(result["seconds"] for result in quick) / 60
    rows = {
        "`train --recipe quick` on Kaggle's 5,700 training images, whole command, slowest of "
        f"{len(quick)}": f"{slowest:.1f} minutes",
        "images/s of `train` as a share of the bare step loop": (
            f"{throughput['share_of_bare_loop']:.0%}"
        ),
        "peak memory of training at 224 px, batch 64": (
            f"{throughput['peak_memory_gib_224']:.1f} GiB"
        ),
        f"`audit` of {read_record('audit')['n']:,} images": (
            f"{audit['processor_seconds']:.0f} s of one core, {audit['peak_memory_mib']:.0f} MiB"
        ),
        "near-duplicate pairs that the audit finds": f"{audit['recall']:.1%}",
        "reported pairs that join two patients": f"{audit['share']:.2%}",
    }
    return table([("what", "figure"), *rows.items()])


def formats_table() -> str:
    """Return how each format of the bundled model compares with its network."""
    record = read_record("formats")
    first = record["figures"]["onnx"]
    rows = [["format", "same label", "largest difference of a probability", "time", "megabytes"]]
    for name, found in record["figures"].items():
        if isinstance(found, dict):
            rows.append(
                [
                    f"`{name}`",
                    f"{found['label_agreement']:.1%}",
                    f"{found['largest_difference']:.1g}",
                    f"{found['milliseconds'] / first['milliseconds']:.1f}",
                    f"{found['size'] / 1e6:.1f}",
                ]
            )
    return table(rows)


def audit_table() -> str:
    """Return the known near-duplicates that the audit finds, and what it reports wrongly."""
    record = read_record("audit")
    found = record["figures"]
    rows = {
        "pictures, different slices among them": f"{record['n']:,}, {found['unique_slices']:,}",
        "pairs known to show one figshare slice": f"{found['pairs_expected']:,}",
        "of these found": f"{found['pairs_found']:,} ({found['recall']:.1%})",
        "pairs reported whose patients are known": f"{found['pairs_reported_known_patients']:,}",
        "of these joining two patients": (
            f"{found['pairs_joining_two_patients']:,} ({found['share']:.2%})"
        ),
        "of these joining two neighbouring slices of one patient": (
            f"{found['pairs_of_neighbouring_slices']:,}"
        ),
    }
    return table([("", "count"), *rows.items()])


def altered_table() -> str:
    """Return the share of altered copies that the audit finds, by alteration."""
    shares = read_record("audit")["figures"]["altered_copies_found"]
    rows = {name: f"{share:.0%}" for name, share in shares.items()}
    return table([("alteration", "found"), *rows.items()])


def label_errors_table() -> str:
    """Return what the ranking of label errors finds of labels that were changed."""
    found = read_record("audit")["figures"]["label_errors"]
    changed = found["changed_files"]
    rows = {
        "pictures with a prediction out of fold": f"{found['predicted']:,}",
        "of these with a copy in another fold": f"{found['learned_from']:,}",
        "of these predicted as labelled": f"{found['as_labelled'] / found['predicted']:.1%}",
        "likely label errors, as published": f"{found['likely_errors']:,}",
        f"labels changed ({found['changed_slices']:,} slices)": f"{changed:,}",
        "of these in the ranking": f"{found['changed_files_ranked'] / changed:.0%}",
        f"changed labels among the first {changed:,}": (
            f"{found['changed_among_as_many_first']:.0%}"
        ),
        "AUROC of the score": f"{found['auroc']:.3f}",
    }
    return table([("", "count"), *rows.items()])


def jetson_table() -> str:
    """Return what the bundle for the Jetson takes, estimates marked as such."""
    record = read_record("jetson")
    figures, runner = record["figures"], record["figures"]["runner"]
    rows = {
        f"bundle of `{figures['model']}`": f"{figures['bundle']['jetson-nano'] / 1e6:.1f} MB",
        "same label as `tumorscope predict`, official test images": (
            f"{runner['same_label_as_predict']:,} of {runner['images']:,}"
        ),
        "largest difference of a probability": f"{runner['largest_difference']:.1g}",
        "same label in 16 bits, simulated on a processor": (
            f"{figures['sixteen_bits']['label_agreement']:.2%}"
        ),
        "peak memory of the runner on a PC": f"{runner['peak_memory_mb']:.0f} MB",
    }
    for target, cost in figures["estimate"].items():
        rows[f"**estimate** for a slice, `{target}`"] = (
            f"{cost['milliseconds']:.1f} ms "
            f"({cost['gigaflop']:.2f} GFLOP, {cost['kernels']} kernels)"
        )
    for name, known in figures["known_networks_on_a_nano"].items():
        measured = known["measured_by_others"]
        rows[f"{name} on a Nano, 224 px: estimate by the same rule; measured by others"] = (
            f"{known['estimate']['milliseconds']:.1f} ms; {measured['milliseconds']:.1f} ms "
            f"({measured['slices_a_second']:.0f} images/s)"
        )
    return table([("what", "figure"), *rows.items()])


def architectures_table() -> str:
    """Return accuracy and cost of networks that were trained alike."""
    figures = read_record("architectures")["figures"]
    size = ["M weights", "M multiply-adds", "time of one image, ResNet-18 as published = 1"]
    rows = [["network", "accuracy", "95 % interval", *size]]
    for name, found in figures["networks"].items():
        rows.append(
            [
                f"`{name}`",
                f"{found['accuracy']:.1%}",
                between(found["interval"]["accuracy"]),
                f"{found['parameters'] / 1e6:.2f}",
                f"{found['multiply_adds'] / 1e6:,.0f}",
                f"{found['of_resnet18']:.2f}",
            ]
        )
    return table(rows)


if __name__ == "__main__":
    sys.exit(main())
