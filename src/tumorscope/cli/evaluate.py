"""The arguments of `tumorscope evaluate`."""

import argparse
from pathlib import Path

from tumorscope.cli.choices import add_data_arguments
from tumorscope.cli.numbers import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a model file, a bundled model's name, a run folder, another ONNX classifier with a "
        "TOML file beside it, or a CSV file of predictions (docs/evaluate.md)",
    )
    add_data_arguments(parser, split=None)
    parser.add_argument(
        "--fold",
        type=count,
        metavar="N",
        help="the fold that tests (default: a run's own, all of a CSV, else 1)",
    )
    parser.add_argument("--tta", action="store_true", help="the mean over three zooms")
    parser.add_argument("--json", metavar="FILE", help="write the metrics, too; - for the screen")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the report goes (default: in the run, or evaluations/)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from tumorscope.cli import run_evaluate  # noqa: PLC0415  (imports scikit-learn)

    return run_evaluate.run(options)
