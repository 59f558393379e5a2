"""Arguments that several commands share: which data, which split, which recipe."""

import argparse
from pathlib import Path

from tumorscope.datasets.splits import PROTOCOLS


def add_data_arguments(parser: argparse.ArgumentParser, *, split: str | None) -> None:
    """Add `--data` and `--split`."""
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="DIR",
        help="a data set, or the folder that holds the public ones; may be given several times "
        "(default: $TUMORSCOPE_DATA, then what 'tumorscope download' fetched)",
    )
    parser.add_argument(
        "--split",
        default=split,
        metavar="NAME",
        choices=sorted(PROTOCOLS),
        help=f"how it is split: {', '.join(PROTOCOLS)}" + (f" (default: {split})" if split else ""),
    )


def add_recipe_arguments(parser: argparse.ArgumentParser, *, several_devices: bool = True) -> None:
    """Add `--recipe`, `--set`, `--seed` and what the machine may use."""
    parser.add_argument(
        "--recipe",
        default="quick",
        help="quick, standard, edge, student or a .toml file (default: quick)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a field, as in --set training.epochs=30; may be given several times",
    )
    parser.add_argument("--seed", type=int, help="short for --set training.seed=N")
    parser.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    if not several_devices:
        return
    parser.add_argument("--devices", type=int, default=1, help="devices a machine (default: 1)")
    parser.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")


def overrides(options: argparse.Namespace) -> list[str]:
    """Return `--set` and `--seed` as overrides of a recipe."""
    seed = [] if options.seed is None else [f"training.seed={options.seed}"]
    return [*options.set, *seed]
