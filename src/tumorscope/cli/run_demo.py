"""Runs the whole way on phantoms: audit, training, evaluation, export, prediction."""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.audit.audit import audit
from tumorscope.audit.audit_report import render_page
from tumorscope.audit.findings import findings
from tumorscope.audit.findings import verdict as audit_verdict
from tumorscope.classes import NO_TUMOUR
from tumorscope.cli import run_train as training
from tumorscope.cli.show import console, progress, show_evaluation, table
from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.locations import DataSource, data_sources
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import Partition
from tumorscope.errors import DataError, ModelError
from tumorscope.export import export_onnx, export_torchscript, verify
from tumorscope.files import write_text
from tumorscope.inference import Classifier, Prediction
from tumorscope.inference.overlay import write_overlay
from tumorscope.phantoms.drawing import write_phantoms
from tumorscope.phantoms.faulty_set import write_faulty_set
from tumorscope.training.fit import Hardware
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_evaluation import evaluate_run
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights

_PATIENTS, _SLICES = 64, 2
_DRAWN, _AUDITED = "phantoms", "audit.html"
_FILES = {_DRAWN, "faulty", _AUDITED, "run", "model.onnx", "model.torchscript", "overlay.png"}
"""What a demo leaves; one of the first two comes first."""

_SHOWN = 6
_NEARLY_EQUAL = 1e-4


def run(options: argparse.Namespace) -> int:
    """Draw or take data, audit, train, evaluate, export, classify."""
    training.quiet_libraries()
    began, out = time.perf_counter(), console()
    folder: Path = options.out
    if options.data:
        split, recipe = _split_for(options.data), load_recipe("quick")
        sources = audited = data_sources([options.data], split)
        if any(item.path.resolve().is_relative_to(folder.resolve()) for item in sources):
            raise DataError(f"{folder}: holds the data, and is made anew; name another with --out")
        _make_room(folder)
    else:
        split, recipe = "grouped-folds", load_recipe("demo", [f"training.seed={options.seed}"])
        _make_room(folder)
        _say_step(out, "1. Drawing phantoms", f": heads of {4 * _PATIENTS} patients, four classes")
        sources = [DataSource(folder / _DRAWN)]
        described = write_phantoms(
            folder / _DRAWN,
            patients_per_class=_PATIENTS,
            slices_per_patient=_SLICES,
            seed=options.seed,
            progress=progress,
        )
        write_faulty_set(described, folder / "faulty")
        audited = [DataSource(folder / "faulty")]
    _say_step(out, "2. Auditing", ": copies, leaks, double labels, shortcuts")
    found = audit(audited, progress=progress)
    write_text(folder / _AUDITED, render_page(found))
    if not options.data:
        out.print("In class folders of these slices such faults were planted. What is found:")
    rows = [(item.what, item.severity, f"{item.files:,}") for item in findings(found)]
    out.print(table("", ("finding", "severity", "files"), rows))
    out.print(audit_verdict(found), f"page: {folder / 'audit.html'}", sep="\n")

    _say_step(out, "3. Training", f": recipe {recipe.name}, tested on unseen patients")
    catalogue = read_data(sources, progress=progress)
    parts = training.make_partition(catalogue, split, 1, recipe)
    done = training.train(catalogue, parts, recipe, folder / "run", sources, Hardware())
    if done is None:
        return 0
    _say_step(out, "4. Evaluating")
    result = evaluate_run(done, parts, catalogue, progress=progress)
    report = result.save(done.path)
    _say_step(out, "5. Exporting", ": the network, ONNX and TorchScript must agree")
    model = _export(done, parts, folder, out)
    _say_step(out, "6. Classifying", ": a few test slices with the ONNX file, without torch")
    pictures = [folder / _AUDITED, *_classify(model, parts.test, folder, out)]
    out.print(f"\nDone in {time.perf_counter() - began:.0f} s.")
    show_evaluation(result, report)
    more = f"; then {' and '.join(map(str, pictures))}."
    out.print(Text.assemble((f"Open {report}", "bold"), more))
    return 0


def _say_step(out: Console, name: str, what: str = "") -> None:
    out.print(Text.assemble("\n", (name, "bold"), what))


def _make_room(folder: Path) -> None:
    """Take away what an earlier demo left; refuse a folder that holds anything else."""
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if found and (found - _FILES or not found & {_DRAWN, _AUDITED}):
        raise DataError(f"{folder}: not empty, and not from a demo; name another with --out")
    if found:
        shutil.rmtree(folder)


def _split_for(data: Path) -> str:
    """Return the patient-wise split that a data set has."""
    try:
        data_sources([data], "kaggle-patient")
    except DataError:
        return "grouped-folds"
    return "kaggle-patient"


def _export(run: RunFolder, parts: Partition, folder: Path, out: Console) -> Path:
    trained = load_weights(run.weights_file)
    inputs = read_inputs(parts.validation, size=trained.description.input_size)
    labels = np.array([parts.classes.index(item.label) for item in inputs.slices])
    files = (
        export_onnx(run, folder / "model.onnx"),
        export_torchscript(run, folder / "model.torchscript"),
    )
    rows = []
    for path in files:
        checked = verify(trained, path, inputs.grey, labels)
        if checked.largest_difference > _NEARLY_EQUAL:
            raise ModelError(
                f"{path}: differs from the network by {checked.largest_difference:.2g}"
            )
        rows.append(
            (
                path.name,
                f"{checked.largest_difference:.1e}",
                f"{checked.label_agreement:.0%}",
                f"{path.stat().st_size / 1e6:.1f} MB",
            )
        )
    title = f"On {len(inputs)} validation slices, against the trained network"
    out.print(table(title, ("file", "largest difference", "same label", "size"), rows))
    return files[0]


def _classify(model: Path, slices: tuple[Slice, ...], folder: Path, out: Console) -> list[Path]:
    """Classify test slices with the new model, one with the bundled one; return the overlays."""
    step = max(1, len(slices) // _SHOWN)
    chosen = slices[::step][:_SHOWN]
    answers = _answers(Classifier.load(model), chosen)
    rows = [(Path(item.name).name, item.label, *_words(answer)) for item, answer in answers]
    out.print(table("", ("slice", "target", "predicted", "probability", "verdict"), rows))
    tumours = [item for item in chosen if item.label != NO_TUMOUR]
    bundled = _answers(Classifier.load(), tumours[:1])
    for item, answer in bundled:
        label, probability, verdict = _words(answer)
        out.print(
            f"{answer.model}, which learned from real heads only, on {Path(item.name).name} "
            f"({item.label}): {label} {probability}, {verdict}"
        )
    shown = [answer for item, answer in answers if answer.label is not None and item in tumours]
    shown += [answer for _, answer in bundled if answer.label is not None]
    paths = [folder / "overlay.png"][: len(shown)]
    for path, answer in zip(paths, shown, strict=False):
        write_overlay(answer, path, note=f"{answer.model}. {RESEARCH_USE_ONLY}")
    return paths


def _answers(classifier: Classifier, slices: Sequence[Slice]) -> list[tuple[Slice, Prediction]]:
    answers = classifier.stream([item.path for item in slices], keep_pictures=True)
    return [
        (item, answer)
        for item, answer in zip(slices, answers, strict=True)
        if isinstance(answer, Prediction)
    ]


def _words(answer: Prediction) -> tuple[str, str, str]:
    """Return label, probability and verdict."""
    if answer.label is None or answer.probability is None:
        return "none", "", answer.verdict
    return answer.label, f"{answer.probability:.0%}", answer.verdict
