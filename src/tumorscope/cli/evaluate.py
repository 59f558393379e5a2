"""`tumorscope evaluate`: a run and a split come in, figures and a report go out."""

import argparse
from pathlib import Path

from tumorscope.cli.choices import add_data_arguments, data_paths
from tumorscope.cli.show import progress, write_json
from tumorscope.cli.train import make_partition, say
from tumorscope.datasets.sources import join_sets, read_set
from tumorscope.datasets.splits import PROTOCOLS
from tumorscope.errors import ModelError
from tumorscope.training.run_evaluation import evaluate_run
from tumorscope.training.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("model", type=Path, metavar="RUN", help="a run folder")
    add_data_arguments(parser, split=None)
    parser.add_argument("--fold", type=int, help="the fold that tests (default: the run's own)")
    parser.add_argument("--tta", action="store_true", help="judge each slice at three zooms")
    parser.add_argument("--json", metavar="FILE", help="write the figures, too; - for the screen")
    parser.add_argument(
        "--out", type=Path, help="where the report goes (default: in the run, by split)"
    )


def run(options: argparse.Namespace) -> int:
    """Judge a run on a test part."""
    model = RunFolder(options.model)
    facts = model.data()
    if not model.weights_file.is_file():
        raise ModelError(
            f"{model.path}: no weights yet; go on with: tumorscope train --resume {model.path}"
        )
    split = options.split or facts["split"]
    fold = options.fold or facts["fold"] or 1
    learned_from = [Path(path) for path in facts["data"]]
    if options.data is None and PROTOCOLS[split].source in ("", PROTOCOLS[facts["split"]].source):
        paths = learned_from
    else:
        paths = data_paths(options.data, split)
    # The data that the run learned from stands beside it, so that its twins are found in the test.
    known = {path.resolve() for path in paths}
    joined = [path for path in learned_from if path.exists() and path.resolve() not in known]
    sets = [read_set(path, progress=progress) for path in (*paths, *joined)]
    catalogue = join_sets(sets, progress=progress)
    asked = {item.source for part in sets[: len(paths)] for item in part.slices}
    parts = make_partition(
        catalogue.where(lambda item: item.source in asked), split, fold, model.recipe()
    )
    own = split == facts["split"] and parts.fold == facts["fold"] and not options.tta
    name = f"{split}-{parts.fold}" if parts.fold else split
    name += "-tta" if options.tta else ""
    folder = options.out or (model.path if own else model.path / "evaluations" / name)
    judgement = evaluate_run(model, parts, catalogue, folder, tta=options.tta, progress=progress)
    if options.json:
        write_json(options.json, judgement.evaluation.to_json())
    if options.json != "-":
        say(judgement)
    return 0
