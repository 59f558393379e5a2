"""The arguments of `tumorscope tune`."""

import argparse
from pathlib import Path

from tumorscope.cli.choices import (
    DEFAULT_SPLIT,
    add_data_arguments,
    add_recipe_arguments,
    add_tracker_arguments,
)
from tumorscope.cli.numbers import count

DEFAULT_TRIALS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_data_arguments(parser, split=DEFAULT_SPLIT)
    parser.add_argument(
        "--fold", type=count, metavar="N", help="its training part is searched (default: 1)"
    )
    add_recipe_arguments(parser, several_devices=False)
    parser.add_argument(
        "--search", metavar="FILE", help="which fields vary (default: by optimizer)"
    )
    parser.add_argument(
        "--trials", type=int, metavar="N", help=f"how many (default: {DEFAULT_TRIALS})"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="no new trial after this")
    parser.add_argument("--storage", metavar="URL", help="a database that several machines share")
    parser.add_argument("--study", metavar="NAME", help="its name in there")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where it goes (default: runs/ and the time)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with one that stopped")
    add_tracker_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write all trials; - for the screen")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from tumorscope.cli import run_tune  # noqa: PLC0415  (imports torch)

    return run_tune.run(options)
