#!/usr/bin/env python3
"""Classifies pictures, folders or a camera: one JSON object a slice, a line each.

python3 classify.py scans/                       on the board, with the engine built there
python3 classify.py scans/ --runtime onnx        on any PC with ONNX Runtime
python3 classify.py --camera 0 --frames 100      a camera that OpenCV knows
python3 classify.py scans/ --overlay pictures/   the slices beside their heatmaps, too
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import tumorscope.jetson.board  # noqa: F401  (first: says in one line what this Python lacks)
from tumorscope import RESEARCH_USE_ONLY
from tumorscope.inference.decision import plain_name
from tumorscope.jetson.board.answers import answer, read_ahead
from tumorscope.jetson.board.board_overlay import write_overlay
from tumorscope.jetson.board.engines import RUNTIMES, open_runtime
from tumorscope.jetson.board.folder import BoardError, check_files, read_facts
from tumorscope.jetson.board.frames import find_pictures, read_camera, read_pictures

if TYPE_CHECKING:
    from typing import Counter as Counts
    from typing import Iterator, List, Optional, Tuple

    from tumorscope.jetson.board.folder import Facts
    from tumorscope.jetson.board.frames import Slice

HERE = Path(__file__).resolve().parent

_MOST_SIDE = 2048
"""What classify.cpp's engine takes at most: see build_engine.sh."""


def main(arguments: "Optional[List[str]]" = None, folder: Path = HERE) -> int:
    """Run the command.

    Args:
        arguments: What stands after `classify.py`; the process's own when left out.
        folder: The bundle.

    Returns:
        The exit status: 0 done, 1 some files failed, 2 the bundle or the board is not in order.
    """
    options = _parser().parse_args(arguments)
    try:
        slices, others = _slices(options)
        facts = read_facts(folder)
        check_files(folder)
        work = _write_raw if options.raw else _classify
        status = work(slices, facts, folder, options)
    except BoardError as error:
        _complain(str(error))
        return 2
    except BrokenPipeError:  # `| head` has seen enough.
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror or error}{where}: check the path, the rights and the space")
        return 1
    except KeyboardInterrupt:
        return 130
    _say_passed_over(others)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=RESEARCH_USE_ONLY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="JPEG and PNG files, folders")
    parser.add_argument("--camera", metavar="SOURCE", help="a number, a film, a GStreamer pipeline")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many frames")
    parser.add_argument("--runtime", choices=RUNTIMES, default="tensorrt", help="(tensorrt)")
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="write pictures there")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="write the slices as PGM frames, for classify.cpp, do not classify",
    )
    return parser


def _slices(options: argparse.Namespace) -> "Tuple[Iterator[Slice], List[str]]":
    """Return the slices that are asked for, and the files that were passed over."""
    if bool(options.paths) == (options.camera is not None):
        raise BoardError("give pictures or folders, or --camera")
    if options.camera is not None:
        return read_camera(options.camera, options.frames), []
    pictures, others = find_pictures(options.paths)
    return read_pictures(pictures), others


def _classify(
    slices: "Iterator[Slice]", facts: "Facts", folder: Path, options: argparse.Namespace
) -> int:
    runtime = open_runtime(options.runtime, folder, facts)
    counts: "Counts[str]" = Counter()
    for number, ready in enumerate(read_ahead(slices, facts.side)):
        seen, given = ready.seen, answer(ready, runtime, facts)
        if options.overlay and seen.grey is not None and given.json["label"]:
            # (File systems take names of 255 bytes.)
            stem = Path(seen.path).stem.encode("utf-8", "ignore")[:200].decode("utf-8", "ignore")
            name = f"{number + 1:05}_{stem}.png"
            write_overlay(seen.grey, given, options.overlay / name)
        sys.stdout.write(json.dumps(given.json) + "\n")
        sys.stdout.flush()
        label = given.json.get("label")
        failed = "cannot be read" if "error" in given.json else "unsupported"
        counts[plain_name(label) if label else failed] += 1
    found = ", ".join(f"{count} {what}" for what, count in counts.most_common())
    sys.stderr.write(f"{facts.title}, {runtime.title}: {found}\n{RESEARCH_USE_ONLY}\n")
    return 1 if counts["cannot be read"] else 0


def _say_passed_over(others: "List[str]") -> None:
    """Name the files in folders that are not read here."""
    if others:
        what = (
            "a file that is no picture" if len(others) == 1 else f"{len(others)} files, no pictures"
        )
        more = "" if len(others) == 1 else ", ..."
        sys.stderr.write(
            f"passed over: {what} ({others[0]}{more}); 'tumorscope predict' reads DICOM and NIfTI\n"
        )


def _write_raw(slices: "Iterator[Slice]", *_: object) -> int:
    """Write the slices as binary PGM, one after the other; name those that cannot be read."""
    left_out = 0
    for seen in slices:
        large = seen.grey is not None and max(seen.grey.shape) > _MOST_SIDE
        if seen.grey is None or large:
            left_out += 1
            why = f"more than {_MOST_SIDE} pixels a side" if large else seen.error
            sys.stderr.write(f"left out: {seen.path}: {why}\n")
        else:
            height, width = seen.grey.shape
            sys.stdout.buffer.write(f"P5\n{width} {height}\n255\n".encode())
            sys.stdout.buffer.write(seen.grey.tobytes())
    sys.stdout.buffer.flush()
    return 1 if left_out else 0


def _complain(message: str) -> None:
    sys.stderr.write("classify.py: {}\n".format(" ".join(message.split())))


if __name__ == "__main__":
    sys.exit(main())
