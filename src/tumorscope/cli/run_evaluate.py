"""Evaluates any model, or a file of predictions: metrics and a report."""

import argparse
import json
import re
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tumorscope.cli.choices import named_sources
from tumorscope.cli.show import progress, resume_command, show_evaluation, write_json
from tumorscope.datasets.catalogue import Catalogue
from tumorscope.datasets.locations import SETS
from tumorscope.datasets.sources import join_sets, read_set
from tumorscope.datasets.splits import PROTOCOLS, check_fold, partition, protocol_named
from tumorscope.errors import DataError, MissingExtraError, ModelError
from tumorscope.evaluation import EvaluationResult, evaluate
from tumorscope.evaluation.predictor import test_name

_OF_THE_RUN: Final = "/of the run"
"""What stands behind the name of a set that a run learned from, beside another of that name."""


def run(options: argparse.Namespace) -> int:
    """Evaluate a model on a test part."""
    if Path(options.model).is_dir():
        result, folder = _evaluate_run(options)
    else:
        if options.split is None:
            raise DataError(f"name the test with --split: {', '.join(sorted(PROTOCOLS))}")
        result = evaluate(
            options.model,
            data=named_sources(options, options.split),
            split=options.split,
            fold=options.fold,
            tta=options.tta,
            progress=progress,
        )
        name = _folder_name(result.evaluation.title)
        folder = options.out or _unused(Path("evaluations") / name, result)
    report = result.save(folder)
    if options.json:
        write_json(options.json, result.to_json())
    if options.json != "-":
        show_evaluation(result, report)
    return 0


def _folder_name(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-")


def _unused(folder: Path, result: EvaluationResult) -> Path:
    """Return the folder, with a number behind its name where other evaluations stand there.

    Two models, or two data sets, may have one name; the same evaluation takes its own place again.
    """
    place, number, own = folder, 1, result.to_json()
    while place.exists() and not _holds(place, own):
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    return place


def _holds(folder: Path, evaluation: dict[str, Any]) -> bool:
    """Tell whether a folder's report is that of an evaluation, made earlier."""
    try:
        earlier = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(earlier == evaluation)


def _only(joined: Catalogue, sets: Sequence[Catalogue]) -> Catalogue:
    """Return what some of the joined data sets hold, and what of theirs was left out."""
    given = [item for part in sets for item in part.slices]
    names = {item.source for item in given}
    kept = joined.where(lambda item: item.source in names)
    # Comparing slices leaves those out that cannot be read.
    lost = {item.name for item in given} - {item.name for item in kept.slices}
    skipped = [item for part in sets for item in part.skipped]
    skipped += [item for item in joined.skipped if item.name in lost]
    return replace(
        kept,
        skipped=tuple(dict.fromkeys(skipped)),
        ignored=tuple(item for part in sets for item in part.ignored),
        notes=tuple(note for part in sets for note in part.notes),
    )


def _beside(part: Catalogue, names: Container[str]) -> Catalogue:
    """Return a set that a run learned from; a published one may stand beside one of its name.

    Both are parts of one set then, in which a name is one picture and a patient one person.
    """
    source = part.slices[0].source
    if source not in SETS or source not in names:
        return part
    slices = tuple(replace(item, source=source + _OF_THE_RUN) for item in part.slices)
    return replace(part, slices=slices)


def _evaluate_run(options: argparse.Namespace) -> tuple[EvaluationResult, Path]:
    """Evaluate a run, and say where its report goes."""
    try:  # a run needs PyTorch, all else does not
        from tumorscope.training.run_evaluation import evaluate_run  # noqa: PLC0415
        from tumorscope.training.run_folder import RunFolder  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", str(error.name)) from None
    model = RunFolder(Path(options.model))
    facts, recipe = model.data(), model.recipe()
    if not model.weights_file.is_file():
        raise ModelError(
            f"{model.path}: no weights yet; go on with: {resume_command('train', model.path)}"
        )
    split = options.split or facts["split"]
    check_fold(split, options.fold)
    fold = options.fold or facts["fold"] or 1
    learned_from = model.sources()
    protocol = protocol_named(split)
    of_run = protocol.source in ("", protocol_named(facts["split"]).source)
    if options.data is None and of_run and protocol.kind != "external":
        sources = learned_from
    else:
        sources = named_sources(options, split)
    # What the run was trained on stands beside it, so that near-duplicates of it are found.
    known = {str(source) for source in sources}
    joined = [item for item in learned_from if item.path.exists() and str(item) not in known]
    asked = [read_set(source, progress=progress) for source in sources]
    names = {part.slices[0].source for part in asked}
    own = [_beside(read_set(source, progress=progress), names) for source in joined]
    catalogue = join_sets([*asked, *own], progress=progress)
    named = _only(catalogue, asked)
    parts = partition(
        named,
        split=split,
        fold=fold,
        validation_share=recipe.training.validation_share,
        seed=recipe.training.seed,
    )
    same = split == facts["split"] and parts.fold == facts["fold"] and not options.tta
    same = same and named.fingerprint() == facts["fingerprint"]
    name = f"{split}-{parts.fold}" if parts.fold else _folder_name(test_name(parts))
    name += "-tta" if options.tta else ""
    slices = tuple(
        replace(item, source=item.source.removesuffix(_OF_THE_RUN)) for item in catalogue.slices
    )
    at_hand = replace(catalogue, slices=slices)
    found = evaluate_run(model, parts, named, known=at_hand, tta=options.tta, progress=progress)
    place = model.path if same else _unused(model.path / "evaluations" / name, found)
    return found, options.out or place
