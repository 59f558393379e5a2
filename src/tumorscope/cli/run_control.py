"""Measures what a split leaks, by labels that mean nothing."""

import argparse

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.cli.choices import named_sources, settle
from tumorscope.cli.show import console, progress, write_json
from tumorscope.datasets.sources import read_data
from tumorscope.evaluation.controls import random_labels


def run(options: argparse.Namespace) -> int:
    """Run the control; no network is trained."""
    settle(options)
    catalogue = read_data(named_sources(options), progress=progress)
    found = random_labels(catalogue, options.split, seed=options.seed or 0, progress=progress)
    if options.json:
        write_json(options.json, found.to_json())
    if options.json != "-":
        console().print(str(found))
        console().print(RESEARCH_USE_ONLY)
    return 0
