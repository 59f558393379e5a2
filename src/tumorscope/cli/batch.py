"""`tumorscope batch`: answers for an archive of any size, as Parquet."""

import argparse
import hashlib
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from tumorscope.cli.main import DISCLAIMER, STATUS_FAILED
from tumorscope.cli.numbers import amount, count, number_from_zero, share, threads
from tumorscope.counting import counted
from tumorscope.errors import DataError

if TYPE_CHECKING:
    from tumorscope.cluster.batch_run import BatchRun
    from tumorscope.cluster.storage import Location
    from tumorscope.cluster.worker import Done

_EVERY: Final = 30.0
"""Seconds between lines about how far it is, where no terminal shows a bar."""

_LARGEST_BLOCK: Final = 5000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the subcommand's arguments."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="folders, files, 'patterns', lists (@FILE, .txt, .csv); also s3://, gs://, hdfs://",
    )
    parser.add_argument("--out", required=True, metavar="DEST", help="a folder for the answers")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in DEST, if there is one"
    )
    parser.add_argument("--model", metavar="M", help="an .onnx file, or a bundled model's name")
    parser.add_argument(
        "--series", action="store_true", default=None, help="one answer for a series in a folder"
    )
    parser.add_argument(
        "--min-confidence", type=share, metavar="P", help="as in predict, and so are these:"
    )
    parser.add_argument("--tta", action="store_true", default=None, help="three zooms a slice")
    parser.add_argument("--axis", help="axial, coronal or sagittal (default: as acquired)")
    parser.add_argument("--slices", metavar="A:B", help="which slices of volumes")
    parser.add_argument("--volume", type=number_from_zero, metavar="N", help="which volume, from 0")
    parser.add_argument("--provider", metavar="NAME", help="cpu, cuda, tensorrt, openvino, ...")
    parser.add_argument(
        "--batch", type=count, default=32, metavar="N", help="slices at once (default: 32)"
    )
    parser.add_argument(
        "--block",
        type=count,
        default=_LARGEST_BLOCK,
        metavar="N",
        help=f"files a Parquet file, at the most (default: {_LARGEST_BLOCK})",
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="join this Ray cluster (or: auto)")
    parser.add_argument("--workers", type=count, metavar="N", help="default: one a core")
    parser.add_argument(
        "--threads", type=threads, default=1, metavar="N", help="cores a worker (default: 1)"
    )
    parser.add_argument(
        "--gpus-per-worker", type=amount, default=0.0, metavar="N", help="may be a part of one"
    )


def run(options: argparse.Namespace) -> int:
    """Classify all blocks that are not done yet."""
    from tumorscope.cluster.actor_pool import Crew, classify_blocks, ray_started  # noqa: PLC0415
    from tumorscope.cluster.storage import Location  # noqa: PLC0415
    from tumorscope.inference import DEFAULT_MODEL  # noqa: PLC0415  (keeps --help fast)
    from tumorscope.inference.model_file import find_model  # noqa: PLC0415

    folder = Location.of(options.out)
    model = find_model(options.model or DEFAULT_MODEL).read_bytes()
    run_ = _found(folder, model, options) or _begun(folder, model, options)
    done = run_.done()
    crew = Crew(
        workers=options.workers,
        threads=options.threads,
        gpus=options.gpus_per_worker,
        providers=[options.provider] if options.provider else None,
        batch_size=options.batch,
        address=options.ray,
    )
    left = run_.files - sum(run_.sizes[number] for number in done)
    if done:
        _say(f"{run_.files - left:,} of {run_.files:,} files are done")
    try:
        if left:
            to_do = (number for number in range(len(run_.sizes)) if number not in done)
            with ray_started(crew):
                _follow(classify_blocks(run_, to_do, model, crew), left)
    except KeyboardInterrupt:
        words = ["tumorscope", "batch", "--resume", "--out", options.out]
        raise KeyboardInterrupt(f"stopped; go on with: {shlex.join(words)}") from None
    except OSError as error:
        error.add_note("make room or mend it there, then go on with --resume")
        raise
    return _summed_up(run_)


def _found(folder: "Location", model: bytes, options: argparse.Namespace) -> "BatchRun | None":
    """Return the run in the folder, which must be the one that the options mean.

    Raises:
        DataError: It is another one, or is not to be gone on with.
    """
    from tumorscope.cluster.batch_run import find_run  # noqa: PLC0415

    found = find_run(folder)
    if found is None:
        return None
    if not options.resume:
        raise DataError(f"{folder}: holds a run: go on with it by --resume, or name a new folder")
    if hashlib.sha256(model).hexdigest() != found.model_sha256:
        raise DataError(
            f"{folder}: begun with the model {found.model} (SHA-256 {found.model_sha256[:12]}…), "
            "this is another: give that one by --model, or begin anew in another folder"
        )
    begun = {"sources": list(found.sources), **asdict(found.options)}
    for name, value in {"sources": options.sources or None, **_answer_options(options)}.items():
        if value is not None and value != begun[name]:
            raise DataError(
                f"{folder}: begun with {name}={begun[name]}, not {value}: leave it out to go on, "
                "or begin anew in another folder"
            )
    return found


def _begun(folder: "Location", model: bytes, options: argparse.Namespace) -> "BatchRun":
    """List the archive and write down what is to be done."""
    from tumorscope.cluster.archive import list_blocks  # noqa: PLC0415
    from tumorscope.cluster.batch_run import BatchOptions, begin_run  # noqa: PLC0415
    from tumorscope.images.slices import SliceChoice  # noqa: PLC0415
    from tumorscope.inference import DEFAULT_MODEL, Classifier  # noqa: PLC0415

    if not options.sources:
        raise DataError("name what is to be classified: folders, files, patterns or lists")
    given = _answer_options(options)
    asked = BatchOptions(**{name: value for name, value in given.items() if value is not None})
    SliceChoice.parse(asked.axis, asked.slices, asked.volume)
    facts = Classifier.load(
        options.model or DEFAULT_MODEL, threads=1, providers=["cpu"], tta=asked.tta
    ).facts
    ignored: Counter[str] = Counter()
    began = told = time.monotonic()
    files = 0

    def listed(more: int) -> None:
        nonlocal told, files
        files += more
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            _say(f"{counted(files, 'file')} listed, {files / (told - began):,.0f}/s")

    blocks = list_blocks(
        options.sources,
        largest=options.block,
        whole_folders=asked.series,
        not_in=folder,
        ignored=ignored,
    )
    run_ = begin_run(
        folder,
        blocks,
        ignored=ignored,
        model=facts.title,
        model_sha256=hashlib.sha256(model).hexdigest(),
        classes=facts.classes,
        options=asked,
        sources=options.sources,
        listed=listed,
    )
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in ignored.most_common())
    _say(
        f"{counted(run_.files, 'file')} in {counted(len(run_.sizes), 'block')}"
        + (f"; ignored: {kinds}" * bool(kinds))
    )
    return run_


def _answer_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the answers depend on, by the names of `BatchOptions`; None: not given."""
    return {
        "series": options.series,
        "axis": options.axis,
        "slices": options.slices,
        "volume": options.volume,
        "confident": options.min_confidence,
        "tta": options.tta,
    }


def _follow(blocks: "Iterable[Done]", files: int) -> None:
    """Show how far it is while blocks are done: a bar, or in a log a line now and then."""
    from tumorscope.cli.show import progress  # noqa: PLC0415

    began = told = time.monotonic()
    done = errors = 0

    def each_file() -> Iterator[None]:
        nonlocal told, done, errors
        for block in blocks:
            done += block.files
            errors += block.errors
            yield from repeat(None, block.files)
            now = time.monotonic()
            if now - told > _EVERY and not sys.stderr.isatty():
                told, rate = now, done / (now - began)
                left = (files - done) / rate / 60
                _say(
                    f"{done:,} of {counted(files, 'file')}, {rate:,.1f}/s, {left:,.0f} min left"
                    f", {counted(errors, 'error')}"
                )

    for _ in progress(each_file(), total=files, label="classifying"):
        pass
    seconds = time.monotonic() - began
    _say(f"{counted(done, 'file')} in {seconds:,.0f} s: {done / seconds:,.1f}/s")


def _summed_up(run_: "BatchRun") -> int:
    """Print what the answers are; return the exit status."""
    counts = run_.count()
    answers = counts["error"].pop(None, 0)
    errors = counts["error"].total()
    found_in = f"{answers:,} series" if run_.options.series else counted(answers, "slice")
    found = [
        f"{number:,} {name}"
        for kind in ("label", "verdict")
        for name, number in counts[kind].most_common()
        if name is not None
    ]
    print(f"{run_.folder}: {counted(run_.files, 'file')}, {found_in}, {counted(errors, 'error')}")
    print(f"{run_.model}: {', '.join(found) or 'no answer'}")
    print(DISCLAIMER)
    return STATUS_FAILED if errors else 0


def _say(line: str) -> None:
    print(f"tumorscope: {line}", file=sys.stderr, flush=True)
