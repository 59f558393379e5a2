#!/usr/bin/env python3
"""The bundle checks itself: PASS, or where it differs from what was exported.

python3 verify.py                     on the board, with the engine built there
python3 verify.py --runtime onnx      on any PC with ONNX Runtime

Files are compared with their checksums, pictures read and prepared here (by Python and by the graph
that classify.cpp uses) with the inputs that the export made of them, and the model's answers to
these inputs with the answers then.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import tumorscope.jetson.board  # noqa: F401  (first: says in one line what this Python lacks)
from tumorscope import RESEARCH_USE_ONLY
from tumorscope.images.preparation import prepare
from tumorscope.jetson.board.engines import RUNTIMES, open_preparation, open_runtime
from tumorscope.jetson.board.folder import BoardError, changed_files, read_facts
from tumorscope.jetson.board.golden import (
    ALLOWED,
    check_answers,
    check_facts,
    check_preparation,
    read_golden,
)

if TYPE_CHECKING:
    from typing import List, Optional

HERE = Path(__file__).resolve().parent


def main(arguments: "Optional[List[str]]" = None, folder: Path = HERE) -> int:
    """Run the checks.

    Args:
        arguments: What stands after `verify.py`; the process's own when left out.
        folder: The bundle.

    Returns:
        The exit status: 0 it passes, 1 something differs, 2 it cannot be checked.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=RESEARCH_USE_ONLY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runtime", choices=RUNTIMES, default="tensorrt", help="(tensorrt)")
    options = parser.parse_args(arguments)
    try:
        facts = read_facts(folder)
        golden = read_golden(folder)
        runtime = open_runtime(options.runtime, folder, facts)
        graph = open_preparation(options.runtime, folder, facts.side)
        found = {
            "files": changed_files(folder),
            "facts": check_facts(facts, golden, runtime),
            "preparation": check_preparation(
                folder, golden, lambda grey: prepare(grey, facts.side)
            ),
            "its graph": check_preparation(
                folder, golden, lambda grey: graph.ask(grey[None])["grey"][0]
            ),
            "answers": check_answers(facts, golden, runtime, ALLOWED[options.runtime]),
        }
    except BoardError as error:
        sys.stderr.write(f"verify.py: {error}\n")
        return 2
    for part, differences in found.items():
        sys.stdout.write("{:<12} {}\n".format(part, "differ" if differences else "as exported"))
        sys.stdout.writelines(f"  {line}\n" for line in differences)
    passed = not any(found.values())
    verdict = "PASS" if passed else "FAIL"
    sys.stdout.write(f"{verdict}: {facts.title}, {runtime.title}\n{RESEARCH_USE_ONLY}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
