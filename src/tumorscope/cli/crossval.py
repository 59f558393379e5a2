"""`tumorscope crossval`: trains and judges on every fold, and pools the answers in one report."""

import argparse
from pathlib import Path

from tumorscope.cli.choices import add_data_arguments, add_recipe_arguments, data_paths, overrides
from tumorscope.cli.main import DISCLAIMER
from tumorscope.cli.show import console, progress, write_json
from tumorscope.cli.train import default_folder, make_partition, quiet_libraries, train
from tumorscope.data.protocols import folds_of
from tumorscope.data.sources import read_data
from tumorscope.errors import ModelError
from tumorscope.evaluation.predictions import Predictions
from tumorscope.evaluation.report import verdict
from tumorscope.training.fit import Hardware
from tumorscope.training.judge import judge, judge_pooled
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_data_arguments(parser, split="kaggle-patient")
    add_recipe_arguments(parser)
    parser.add_argument("--out", type=Path, help="where it goes (default: runs/ and the time)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with one that stopped")
    parser.add_argument("--json", metavar="FILE", help="write the pooled figures; - for the screen")


def run(options: argparse.Namespace) -> int:
    """Train and judge fold by fold; what is finished already is kept."""
    quiet_libraries()
    folder, resuming = options.resume, bool(options.resume)
    if resuming:
        first = RunFolder(folder / "fold-1")
        recipe, facts = first.recipe(), first.data()
        split, paths = facts["split"], [Path(path) for path in facts["data"]]
    else:
        recipe = load_recipe(options.recipe, overrides(options))
        split = options.split
        paths = data_paths(options.data, split)
        folder = options.out or default_folder(recipe, f"{split}-crossval")
        if folder.exists() and any(folder.iterdir()):
            raise ModelError(f"{folder}: not empty; go on with it by --resume, or name another")
    hardware = Hardware(
        accelerator=options.accelerator, devices=options.devices, nodes=options.nodes
    )
    catalogue = read_data(paths, progress=progress)
    runs = []
    for fold in folds_of(catalogue, split):
        done = RunFolder(folder / f"fold-{max(fold, 1)}")
        runs.append(done)
        if not done.evaluation_file.is_file():
            parts = make_partition(catalogue, split, fold, recipe)
            if not done.weights_file.is_file():
                begun = resuming and done.recipe_file.is_file()
                finished = train(catalogue, parts, recipe, done.path, paths, hardware, resume=begun)
                if finished is None:
                    continue
            judge(done, parts, catalogue, done.path, progress=progress)
        accuracy = Predictions.load(done.path / "predictions.csv")
        right = (accuracy.truth == accuracy.said).mean()
        console().print(f"fold {max(fold, 1)}: accuracy {right:.2%} of {len(accuracy):,} images")
    judgement = judge_pooled(runs, catalogue, folder)
    if options.json:
        write_json(options.json, judgement.evaluation.to_json())
    out = console()
    if options.json != "-":
        for sentence in verdict(judgement.evaluation):
            out.print(sentence)
        out.print(f"report: {judgement.report}")
        out.print(DISCLAIMER)
    return 0
