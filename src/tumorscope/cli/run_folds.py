"""Writes the folds of a split for other training tools; trains nothing."""

import argparse

from tumorscope.cli.choices import named_sources, overrides, settle
from tumorscope.cli.show import console, left_out, progress
from tumorscope.datasets.fold_folders import write_folds
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import folds_of, partition
from tumorscope.images.listing import summarise
from tumorscope.training.recipe import load_recipe


def run(options: argparse.Namespace) -> int:
    """Write lists and folders of links, fold by fold."""
    settle(options)
    training = load_recipe(options.recipe, overrides(options)).training
    catalogue = read_data(named_sources(options), progress=progress)
    for note in catalogue.notes:
        console().print(note)
    if catalogue.ignored:
        console().print(summarise(catalogue.ignored))
    for line in left_out(catalogue.skipped, "in audit --json"):
        console().print(line)
    parts = [
        partition(
            catalogue,
            split=options.split,
            fold=fold,
            validation_share=training.validation_share,
            seed=training.seed,
        )
        for fold in folds_of(catalogue, options.split)
    ]
    for line in write_folds(parts, options.folds_out):
        console().print(line)
    return 0
