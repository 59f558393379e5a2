"""`tumorscope info`: sums up a run folder."""

import argparse
from pathlib import Path
from typing import Any

from tumorscope.cli.main import DISCLAIMER
from tumorscope.cli.show import console, table, write_json
from tumorscope.training.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for the screen")


def run(options: argparse.Namespace) -> int:
    """Sum up a run."""
    facts = summary(RunFolder(options.run_folder))
    if options.json:
        write_json(options.json, facts)
        return 0
    out = console()
    rows = [(name, _words(value)) for name, value in facts.items() if value is not None]
    out.print(table(str(options.run_folder), ("", ""), rows))
    out.print(DISCLAIMER)
    return 0


def summary(folder: RunFolder) -> dict[str, Any]:
    """Return what is known about a run; None where it has not come so far."""
    recipe, data, history = folder.recipe(), folder.data(), folder.history()
    best = max(history, key=lambda row: row.get("validation_accuracy", 0.0), default=None)
    metrics = folder.metrics()
    network = recipe.network.name
    return {
        "state": _state(folder),
        "recipe": recipe.name,
        "network": f"{network} {recipe.network.size}" if network == "slicenet" else network,
        "input": f"{recipe.input.size} pixels",
        "split": data["split"],
        "fold": data["fold"] or None,
        "training slices": sum(data["counts"]["train"].values()),
        "validation slices": sum(data["counts"]["validation"].values()),
        "epochs": f"{len(history)} of {recipe.training.epochs * recipe.training.soup}",
        "best validation accuracy": best and round(best.get("validation_accuracy", 0.0), 4),
        "test images": metrics.get("n"),
        "test accuracy": metrics.get("accuracy"),
        "95 % interval": metrics.get("interval", {}).get("accuracy"),
        "calibration error": metrics.get("ece"),
        "miss rate": metrics.get("miss_rate"),
        "test images whose group is in training": data["test_slices_whose_group_was_learned"],
        "data fingerprint": data["fingerprint"][:16],
        "report": str(folder.report_file) if folder.report_file.is_file() else None,
    }


def _state(folder: RunFolder) -> str:
    if folder.evaluation_file.is_file():
        return "trained and evaluated"
    if folder.weights_file.is_file():
        return "trained"
    return f"stopped; go on with: tumorscope train --resume {folder.path}"


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " to ".join(f"{end:.4f}" for end in value)
    return str(value)
