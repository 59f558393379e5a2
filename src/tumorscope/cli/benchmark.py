"""`tumorscope benchmark`: measures a model in every runtime that is installed."""

import argparse
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tumorscope.cli.main import DISCLAIMER, STATUS_FAILED
from tumorscope.cli.numbers import count, threads
from tumorscope.counting import counted
from tumorscope.errors import DataError

if TYPE_CHECKING:
    from tumorscope.latency.timing import Benchmark

_DRAWN: Final = 24
"""Phantoms that are drawn where no pictures are named."""

_SIDE: Final = 256
_AT_LEAST: Final = 240
"""Files that a pass reads: fewer are read several times."""

_AT_MOST: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("model", metavar="MODEL", help="an .onnx file, or a bundled model's name")
    parser.add_argument(
        "--runtime",
        default="all",
        metavar="NAME",
        help="onnx (on the processor), onnx-PROVIDER (as onnx-cuda), openvino, or all that are "
        "installed here (default: all)",
    )
    parser.add_argument("--threads", type=threads, metavar="N", help="default: one a core")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help=f"pictures to read, up to {_AT_MOST:,} (default: {_DRAWN} drawn heads, again and "
        "again)",
    )
    parser.add_argument(
        "--calls",
        type=count,
        default=500,
        metavar="N",
        help="timed calls with one slice in each runtime (default: 500)",
    )
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for the screen")


def run(options: argparse.Namespace) -> int:
    """Measure the model and show the figures."""
    from tumorscope.cli.show import progress, write_json  # noqa: PLC0415
    from tumorscope.inference.model_file import find_model  # noqa: PLC0415  (keeps --help fast)
    from tumorscope.latency.timing import benchmark  # noqa: PLC0415

    path = find_model(options.model)
    runtimes = None if options.runtime == "all" else [options.runtime]
    with tempfile.TemporaryDirectory() as name:
        files = _pictures(options.images) if options.images else _draw(Path(name))
        result = benchmark(
            path,
            _repeated(files),
            runtimes=runtimes,
            threads=options.threads,
            calls=options.calls,
            progress=progress,
        )
    if options.json:
        write_json(options.json, result.to_json())
    if options.json != "-":
        _show(result)
    return STATUS_FAILED if result.unreadable else 0


def _pictures(folder: Path) -> list[Path]:
    """Return the first pictures of a folder and of the folders in it."""
    from tumorscope.images import PICTURE_SUFFIXES  # noqa: PLC0415

    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: name one with JPEG or PNG files")
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURE_SUFFIXES)
    files = list(islice(found, _AT_MOST))
    if not files:
        raise DataError(f"{folder}: no JPEG or PNG file in this folder: name another")
    return files


def _draw(folder: Path) -> list[Path]:
    """Write phantoms as JPEG files."""
    from PIL import Image  # noqa: PLC0415

    from tumorscope.classes import CLASSES  # noqa: PLC0415
    from tumorscope.cli.show import progress  # noqa: PLC0415
    from tumorscope.phantoms.drawing import draw_phantom  # noqa: PLC0415
    from tumorscope.phantoms.outlines import PLANES  # noqa: PLC0415

    files = []
    for number in progress(range(_DRAWN), total=_DRAWN, label="drawing heads"):
        phantom = draw_phantom(
            CLASSES[number % len(CLASSES)],
            plane=PLANES[number % len(PLANES)],
            patient_seed=number,
            slice_number=2,
            size=_SIDE,
        )
        files.append(folder / f"{number:02}.jpg")
        Image.fromarray(phantom.image).save(files[-1], quality=90)
    return files


def _repeated(files: Sequence[Path]) -> list[Path]:
    """Return the files, again and again where they are few."""
    return list(files) * max(1, -(-_AT_LEAST // len(files)))


def _show(result: "Benchmark") -> None:
    from tumorscope.cli.show import console, table  # noqa: PLC0415

    out = console()
    title = (
        f"{result.model}, {result.size_bytes / 1e6:.1f} MB, {result.input_size} pixels, "
        f"{counted(result.threads, 'thread')} on {result.processor}"
    )
    columns = ("runtime", "p50 ms", "p95 ms", "p99 ms", "slices/s", "start s", "files/s", "MiB")
    rows = [
        (
            f"{timing.runtime} {timing.version}",
            f"{timing.p50_ms:.2f}",
            f"{timing.p95_ms:.2f}",
            f"{timing.p99_ms:.2f}",
            f"{timing.images_per_second:,.0f}",
            f"{timing.cold_start_seconds:.2f}",
            f"{timing.files_per_second:,.0f}",
            "" if timing.peak_memory_mib is None else f"{timing.peak_memory_mib:,.0f}",
        )
        for timing in result.runtimes
    ]
    out.print(table(title, columns, rows))
    first = result.runtimes[0]
    out.print(
        f"\np50 to p99: calls with {_slices(first.latency_batch)}; slices/s: calls with "
        f"{_slices(first.throughput_batch)}; start: of a process, to its first answer;\n"
        f"files/s: from file to answer ({result.reading_files_per_second:,.0f} without network); "
        "MiB: peak memory"
    )
    for runtime, reason in result.refused.items():
        out.print(f"{runtime} left out: {reason}")
    for complaint in result.unreadable:
        out.print(f"left out: {complaint}")
    out.print(DISCLAIMER)


def _slices(number: int) -> str:
    return "1 slice" if number == 1 else f"{number} slices"
