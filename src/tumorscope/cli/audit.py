"""The arguments of `tumorscope audit`."""

import argparse
from pathlib import Path

from tumorscope.datasets.locations import DataSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the subcommand's arguments."""
    parser.add_argument(
        "folders",
        nargs="+",
        type=DataSource.of,
        metavar="DIR",
        help="a data set: pictures at any depth in folders named after classes (glioma, "
        "no_tumor…), or a CSV table (docs/data.md); several DIR are audited as one data set",
    )
    parser.add_argument(
        "--no-patients",
        action="store_true",
        help="take no patients from folder and file names",
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="PATH",
        help="rank likely label errors by predictions out of fold: a folder of crossval, or a CSV "
        "file",
    )
    parser.add_argument(
        "--label-errors", type=Path, metavar="FILE", help="write the ranking as a CSV table"
    )
    parser.add_argument(
        "--off-topic",
        action="store_true",
        help="list pictures that are no brain MRI, by the bundled model",
    )
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON; - prints it")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="FILE",
        help="write a CSV table: file, class, twin_cluster, group",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from tumorscope.cli import run_audit  # noqa: PLC0415  (imports scikit-learn)

    return run_audit.run(options)
