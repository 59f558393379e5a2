"""`tumorscope predict`: answers for slices, or for whole series, in files and folders."""

import argparse
import csv
import glob
import io
import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from tumorscope.cli.main import DISCLAIMER, STATUS_FAILED
from tumorscope.cli.numbers import count, number_from_zero, share, threads
from tumorscope.errors import DataError

if TYPE_CHECKING:
    from tumorscope.images.listing import Ignored
    from tumorscope.inference import Classifier, Failure, Prediction
    from tumorscope.inference.series_prediction import SeriesPrediction

    Answer: TypeAlias = "Prediction | SeriesPrediction | Failure"

T = TypeVar("T")

_UNREADABLE: Final = "cannot be read"

_MANY: Final = 50
"""From so many files on a bar shows how far it is (importing it takes longer than few files)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the subcommand's arguments."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="image files (see docs/inputs.md), folders, ZIPs, patterns; - reads a list from stdin",
    )
    parser.add_argument("--model", metavar="M", help="an .onnx file, or a bundled model's name")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array")
    form.add_argument("--jsonl", action="store_true", help="print a JSON object a line, at once")
    form.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument(
        "--overlay", type=Path, metavar="DIR", help="write each slice beside its heatmap there"
    )
    parser.add_argument(
        "--dicom-sr",
        type=Path,
        metavar="DIR",
        help="write a Structured Report and an overlay for each DICOM series there",
    )
    parser.add_argument("--deidentify", action="store_true", help="leave the patient out of these")
    parser.add_argument(
        "--min-confidence",
        type=share,
        metavar="P",
        help="call an answer confident from this probability on (default: the model's)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="classify each slice at three zooms: a little better, three times as long",
    )
    parser.add_argument(
        "--series", action="store_true", help="one answer for a volume, a series or a folder"
    )
    parser.add_argument(
        "--axis", help="cut volumes axial, coronal or sagittal (default: as acquired)"
    )
    parser.add_argument(
        "--slices", metavar="A:B", help="which slices of volumes: 10:20 (to 19), 7, all"
    )
    parser.add_argument(
        "--volume",
        type=number_from_zero,
        metavar="N",
        help="which volume of files or series that hold several, from 0",
    )
    parser.add_argument("--provider", metavar="NAME", help="cpu, cuda, tensorrt, openvino, ...")
    parser.add_argument("--threads", type=threads, metavar="N", help="default: one a core")
    parser.add_argument(
        "--batch",
        type=count,
        default=32,
        metavar="N",
        help="slices classified at once (default: 32)",
    )


def run(options: argparse.Namespace) -> int:
    """Judge all inputs and print the answers."""
    from tumorscope.images.listing import summarise  # noqa: PLC0415
    from tumorscope.images.opening import quieten_libraries  # noqa: PLC0415
    from tumorscope.images.slices import SliceChoice  # noqa: PLC0415
    from tumorscope.inference import DEFAULT_MODEL, Classifier  # noqa: PLC0415  (keeps --help fast)

    quieten_libraries()
    if options.dicom_sr:
        import tumorscope.pacs  # noqa: F401, PLC0415  (says at once when its packages are missing)
    elif options.deidentify:
        raise DataError("--deidentify is about what --dicom-sr DIR writes: give that, too")
    choice = SliceChoice.parse(options.axis, options.slices, options.volume)
    ignored: list[Ignored] = []
    files = _files(options.paths, ignored)
    if not files:
        why = summarise(ignored) if ignored else "the list on standard input is empty"
        raise DataError(f"no files: {why}")
    classifier = Classifier.load(
        options.model or DEFAULT_MODEL,
        threads=options.threads,
        providers=[options.provider] if options.provider else None,
        confident=options.min_confidence,
        tta=options.tta,
    )
    stream = classifier.stream(
        _shown(files),
        batch_size=options.batch,
        choice=choice,
        keep_pictures=options.overlay is not None,
    )
    reported: list[Prediction] = []
    if options.dicom_sr:
        stream = _remembered(stream, reported)
    answers: Iterable[Answer] = _with_overlays(stream, options.overlay, files)
    if options.series:
        answers = classifier.join_series(
            answers,  # type: ignore[arg-type]
            volume=options.volume,
        )
    failures = _writer(options)(answers, classifier)
    if ignored:
        print(f"tumorscope: {summarise(ignored)}", file=sys.stderr)
    if options.dicom_sr:
        failures += _report(reported, options, classifier)
    return STATUS_FAILED if failures else 0


def _files(paths: Iterable[str], ignored: "list[Ignored]") -> list[str]:
    """Return the files that the paths mean, in order; what means none stays as it is."""
    from tumorscope.images.listing import Ignored, is_litter  # noqa: PLC0415
    from tumorscope.series.finding import find_files  # noqa: PLC0415

    files: list[str] = []
    for path in paths:
        if path == "-":
            files += _files(_listed(), ignored)
        elif is_litter(path):  # (The shell, too, puts it in place of a pattern.)
            ignored.append(Ignored(path, "metadata"))
        elif os.path.isdir(path):  # noqa: PTH112  (also where nobody may look: reading says so)
            listing = find_files(path)
            files += listing.files or [path]
            ignored += listing.ignored
        elif glob.has_magic(path) and not os.path.exists(path):  # noqa: PTH110
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207  (absolute ones, too)
            files += _files(matches, ignored) or [path]
        else:
            files.append(path)
    return files


def _listed() -> Iterator[str]:
    """Yield the paths on standard input."""
    for number, line in enumerate(sys.stdin):
        if "\0" in line:
            raise DataError(
                "standard input is no list of paths, one a line; save a picture as a file first"
            )
        path = line.rstrip("\r\n")
        if number == 0:
            path = path.removeprefix("\ufeff")  # (Programs on Windows begin a text so.)
        if path and path != "-":
            yield path


def _shown(files: list[str]) -> Iterable[str]:
    """Return the files, with a bar when there are many and somebody looks."""
    if len(files) < _MANY or not sys.stderr.isatty():
        return files
    from tumorscope.cli.show import progress  # noqa: PLC0415

    return progress(files, total=len(files), label="Judging")


def _with_overlays(
    answers: "Iterable[Prediction | Failure]", folder: Path | None, files: "Iterable[str]"
) -> "Iterator[Prediction | Failure]":
    """Write the overlays as answers come, none in the place of a file, and let go of the slices."""
    if folder is None:
        yield from answers
        return
    from tumorscope.inference import Prediction  # noqa: PLC0415
    from tumorscope.inference.overlay import overlay_name, write_overlay  # noqa: PLC0415

    place = os.path.realpath(folder)
    parts = [os.path.split(file) for file in files]
    here = {where for where in {where for where, _ in parts} if os.path.realpath(where) == place}
    taken = {name.casefold() for where, name in parts if where in here}
    for answer in answers:
        if not isinstance(answer, Prediction):
            yield answer
            continue
        if answer.label is not None:
            note = f"{answer.model}. {DISCLAIMER}"
            write_overlay(answer, folder / overlay_name(answer, taken), note=note)
        yield replace(answer, picture=None)


def _remembered(
    answers: "Iterable[Prediction | Failure]", predictions: "list[Prediction]"
) -> "Iterator[Prediction | Failure]":
    """Pass answers on, and remember those to slices, without the slices."""
    from tumorscope.inference import Prediction  # noqa: PLC0415

    for answer in answers:
        if isinstance(answer, Prediction):
            predictions.append(replace(answer, picture=None))
        yield answer


def _report(
    predictions: "list[Prediction]", options: argparse.Namespace, classifier: "Classifier"
) -> int:
    """Write DICOM objects about the series, say which have none, and return their number."""
    from tumorscope.pacs.deidentification import Pseudonyms  # noqa: PLC0415
    from tumorscope.pacs.objects import write_objects  # noqa: PLC0415

    pseudonyms = Pseudonyms(secrets.token_bytes(32)) if options.deidentify else None
    paths, refused = write_objects(
        predictions,
        options.dicom_sr,
        classifier,
        volume=options.volume,
        pseudonyms=pseudonyms,
    )
    if not paths and not refused:
        refused = ["no MR series in DICOM files among the inputs: no report was written"]
    for line in refused:
        print(f"tumorscope: {_printable(line)}", file=sys.stderr)
    return len(refused)


def _writer(
    options: argparse.Namespace,
) -> "Callable[[Iterable[Answer], Classifier], int]":
    """Return what prints the answers and counts the failures."""
    if options.json:
        return _write_json
    if options.jsonl:
        return _write_jsonl
    if options.csv:
        return partial(_write_csv, series=options.series)
    return _write_series_table if options.series else _write_table


def _write_json(answers: "Iterable[Answer]", _: "Classifier") -> int:
    objects = [answer.to_json() for answer in answers]
    print(json.dumps(objects, indent=2))
    return sum("error" in item for item in objects)


def _write_jsonl(answers: "Iterable[Answer]", _: "Classifier") -> int:
    failures = 0
    for answer in answers:
        item = answer.to_json()
        failures += "error" in item
        print(json.dumps(item), flush=True)
    return failures


def _write_csv(answers: "Iterable[Answer]", classifier: "Classifier", *, series: bool) -> int:
    from tumorscope.inference.table_rows import columns, row  # noqa: PLC0415

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files are bytes: so written, the table holds them as they are.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    names = columns(classifier.facts.classes, series=series)
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    failures = 0
    for answer in answers:
        cells = row(answer)
        failures += "error" in cells
        writer.writerow(cells)
    return failures


def _write_table(answers: "Iterable[Answer]", classifier: "Classifier") -> int:
    """Print a table for people, then a line about each volume and one about all."""
    from tumorscope.inference import Failure, Prediction  # noqa: PLC0415
    from tumorscope.inference.table_rows import place_in_words  # noqa: PLC0415

    rows: list[tuple[str, ...]] = []
    notes: dict[str, str] = {}
    for answer in answers:
        if isinstance(answer, Failure):
            rows.append((answer.path, _UNREADABLE, "", answer.error))
        elif isinstance(answer, Prediction):
            rows.append((place_in_words(answer.path, answer.slice), *_words(answer)))
            if answer.volume or answer.note:
                notes[answer.path] = answer.volume or answer.note
    _print_rows([("file", "answer", "", "verdict"), *rows])
    return _print_summary(notes, [row[1] for row in rows], classifier)


def _write_series_table(answers: "Iterable[Answer]", classifier: "Classifier") -> int:
    """Print a table of series for people, then a line about each that needs one, and about all."""
    from tumorscope.inference import Failure, Prediction  # noqa: PLC0415
    from tumorscope.inference.table_rows import place_in_words  # noqa: PLC0415

    rows: list[tuple[str, ...]] = []
    notes: dict[str, str] = {}
    for answer in answers:
        if isinstance(answer, Failure):
            rows.append((answer.path, "", "", _UNREADABLE, "", "", answer.error))
        elif not isinstance(answer, Prediction):
            said, probability, verdict = _words(answer)
            places = ", ".join(
                place_in_words(path.removeprefix(answer.path).lstrip(os.sep), number).strip()
                for path, number in answer.decided_by
            )
            known = (answer.path, answer.series, str(answer.slices))
            rows.append((*known, said, probability, places, verdict))
            note = answer.note or answer.answers[0].volume
            if note:
                notes[f"{answer.path} {answer.series}".strip()] = note
    heads = ("file", "series", "slices", "answer", "", "decided by", "verdict")
    _print_rows([heads, *rows])
    return _print_summary(notes, [row[3] for row in rows], classifier)


def _print_summary(notes: dict[str, str], words: list[str], classifier: "Classifier") -> int:
    """Print notes, how often each answer was given, and what it is worth; count the failures."""
    print()
    for where, note in notes.items():
        print(f"{_printable(where)}: {note}")
    counts = Counter(words)
    found = ", ".join(f"{count} {what}" for what, count in counts.most_common())
    print(f"{classifier.facts.title}: {found}")
    print(DISCLAIMER)
    return counts[_UNREADABLE]


def _words(answer: "Prediction | SeriesPrediction") -> tuple[str, str, str]:
    """Return the answer, its probability and the verdict with its reason."""
    from tumorscope.inference.decision import plain_name  # noqa: PLC0415

    if answer.label is None or answer.probability is None:
        return answer.verdict, "", answer.reason
    verdict = answer.verdict + (f": {answer.reason}" if answer.reason else "")
    return plain_name(answer.label), f"{100 * answer.probability:.1f} %", verdict


def _print_rows(rows: list[tuple[str, ...]]) -> None:
    """Print rows with their columns aligned; the head of numbers is empty, they stand right."""
    shown = [tuple(_printable(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [
            cell.ljust(width) if head else cell.rjust(width)
            for cell, width, head in zip(row, widths, shown[0], strict=True)
        ]
        print("  ".join([*cells[:-1], row[-1]]).rstrip())


def _printable(text: str) -> str:
    """Return a text that any terminal takes: names of files may hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
