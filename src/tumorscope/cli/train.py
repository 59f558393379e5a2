"""The arguments of `tumorscope train`."""

import argparse
from pathlib import Path

from tumorscope.cli.choices import (
    DEFAULT_SPLIT,
    add_data_arguments,
    add_recipe_arguments,
    add_tracker_arguments,
)
from tumorscope.cli.numbers import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_data_arguments(parser, split=DEFAULT_SPLIT)
    parser.add_argument("--fold", type=count, metavar="N", help="the fold that tests (default: 1)")
    add_recipe_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where it goes (default: runs/ and the time)"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run that stopped")
    add_tracker_arguments(parser)
    parser.add_argument("--no-test", action="store_true", help="leave the test part alone")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from tumorscope.cli import run_train  # noqa: PLC0415  (imports torch)

    return run_train.run(options)
