"""Arguments that several commands share: which data, which split, which recipe."""

import argparse
from dataclasses import replace
from typing import Final

from tumorscope.datasets.locations import DataSource, data_sources
from tumorscope.datasets.splits import PROTOCOLS, check_fold, protocol_named
from tumorscope.errors import ModelError

DEFAULT_SPLIT: Final = "kaggle-patient"

_DEFAULTS: Final = {"split": DEFAULT_SPLIT, "fold": 1, "recipe": "quick"}
"""What `train`, `crossval` and `tune` take unless told otherwise."""

_SETTLED: Final = (
    "data",
    "no_patients",
    "split",
    "fold",
    "recipe",
    "set",
    "seed",
    "out",
    "search",
    "study",
    "tracker",
    "tracker_uri",
)
"""Options that a run keeps from its start to its end."""


def add_data_arguments(parser: argparse.ArgumentParser, *, split: str | None) -> None:
    """Add `--data` and `--split`.

    Args:
        parser: The command's.
        split: What `settle` makes of none; None where the command trains nothing.
    """
    names = [name for name, each in PROTOCOLS.items() if not split or each.kind != "external"]
    parser.add_argument(
        "--data",
        type=DataSource.of,
        action="append",
        metavar="DIR",
        help="a data set (a folder or a CSV table; NAME=DIR names it), or the folder of the "
        "public ones; may be repeated (default: $TUMORSCOPE_DATA, then the downloads)",
    )
    parser.add_argument(
        "--no-patients",
        action="store_true",
        default=None,
        help="take no patients from folder and file names",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        choices=sorted(names),
        help=f"how it is split: {', '.join(names)} (default: {split or 'that of the run'})",
    )


def add_recipe_arguments(parser: argparse.ArgumentParser, *, several_devices: bool = True) -> None:
    """Add `--recipe`, `--set`, `--seed` and what the machine may use."""
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="quick, standard, edge, edge-open, student or a .toml file (default: quick)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a field, as training.epochs=30; repeatable",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="short for --set training.seed=N")
    parser.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        metavar="NAME",
        help="auto, cpu or gpu (default: auto)",
    )
    if not several_devices:
        return
    for name, words in (("--devices", "devices a machine"), ("--nodes", "machines")):
        parser.add_argument(name, type=int, default=1, metavar="N", help=f"{words} (default: 1)")


def add_tracker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--tracker` and `--tracker-uri`."""
    parser.add_argument(
        "--tracker", choices=("mlflow",), metavar="mlflow", help="tell MLflow, too (a local store)"
    )
    parser.add_argument(
        "--tracker-uri", metavar="URI", help="tell this server or database of MLflow's"
    )


def named_sources(options: argparse.Namespace, split: str | None = None) -> list[DataSource]:
    """Return the data sets that `--data` names, or by default those that the split needs.

    Args:
        options: With what `add_data_arguments` describes.
        split: The protocol, where it is not that of `--split`.
    """
    found = data_sources(options.data or [], split or options.split)
    return [replace(source, patients=not options.no_patients) for source in found]


def overrides(options: argparse.Namespace) -> list[str]:
    """Return `--set` and `--seed`, and what the protocol asks for, as overrides of a recipe."""
    share = protocol_named(options.split).validation_share
    protocol = [] if share is None else [f"training.validation_share={share}"]
    seed = [] if options.seed is None else [f"training.seed={options.seed}"]
    return [*protocol, *options.set, *seed]


def settle(options: argparse.Namespace) -> None:
    """Fill in the defaults of a new run; beside `--resume`, refuse what the run has settled.

    Raises:
        DataError: A fold is asked for of a split that has none.
        ModelError: Such an option is given.
    """
    if options.resume:
        given = [
            f"--{name.replace('_', '-')}"
            for name in _SETTLED
            if getattr(options, name, None) not in (None, [])
        ]
        if given:
            raise ModelError(
                f"--resume goes on as {options.resume} began: leave out {', '.join(given)}, "
                "or start a new one"
            )
    else:
        check_fold(options.split or DEFAULT_SPLIT, getattr(options, "fold", None))
    for name, value in _DEFAULTS.items():
        if getattr(options, name, "") is None:
            setattr(options, name, value)
