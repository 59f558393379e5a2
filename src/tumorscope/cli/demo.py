"""The arguments of `tumorscope demo`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the Kaggle set, or any other, for the phantoms"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="other phantoms, another training"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="where it all goes (default: demo)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from tumorscope.cli import run_demo  # noqa: PLC0415  (imports torch)

    return run_demo.run(options)
