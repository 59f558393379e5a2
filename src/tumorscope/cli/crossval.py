"""The arguments of `tumorscope crossval`."""

import argparse
from pathlib import Path

from tumorscope.cli.choices import (
    DEFAULT_SPLIT,
    add_data_arguments,
    add_recipe_arguments,
    add_tracker_arguments,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_data_arguments(parser, split=DEFAULT_SPLIT)
    add_recipe_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where it goes (default: runs/ and the time)"
    )
    add_tracker_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the pooled metrics; - for the screen")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--resume", type=Path, metavar="DIR", help="go on with one that stopped")
    instead.add_argument(
        "--control",
        choices=("random-labels",),
        metavar="KIND",
        help="train nothing, but measure what the split leaks: random-labels",
    )
    instead.add_argument(
        "--folds-out",
        type=Path,
        metavar="DIR",
        help="train nothing, but write the folds for other tools",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.control:
        from tumorscope.cli import run_control  # noqa: PLC0415  (keeps --help fast)

        return run_control.run(options)
    if options.folds_out:
        from tumorscope.cli import run_folds  # noqa: PLC0415  (keeps --help fast)

        return run_folds.run(options)
    from tumorscope.cli import run_crossval  # noqa: PLC0415  (imports torch)

    return run_crossval.run(options)
