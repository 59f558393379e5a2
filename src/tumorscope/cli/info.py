"""`tumorscope info`: sums up a run folder or a model file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tumorscope.cli.main import DISCLAIMER
from tumorscope.cli.show import console, resume_command, table, write_json
from tumorscope.errors import ModelError
from tumorscope.inference.model_file import find_model, open_model
from tumorscope.inference.thresholds import risk_in_words, thresholds_in_words

if TYPE_CHECKING:
    from tumorscope.inference.model_file import ModelFacts
    from tumorscope.training.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "what", metavar="WHAT", help="a run folder, a model file, or a bundled model's name"
    )
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - for the screen")


def run(options: argparse.Namespace) -> int:
    """Sum up a run or a model file."""
    path = Path(options.what)
    facts = sum_up_run(path) if path.is_dir() else sum_up_model(find_model(path))
    if options.json:
        write_json(options.json, facts)
        return 0
    out = console()
    rows = [(name, _words(name, value)) for name, value in facts.items() if value is not None]
    out.print(table(options.what, ("", ""), rows))
    out.print(DISCLAIMER)
    return 0


def sum_up_model(path: Path) -> dict[str, Any]:
    """Return what a model file says about itself; None where it says nothing.

    Raises:
        ModelError: What it says is damaged.
    """
    facts = open_model(path).facts
    try:
        return _sum_up(facts)
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: its metadata are damaged ({error}): export it again") from None


def _sum_up(facts: "ModelFacts") -> dict[str, Any]:
    data, network, counts = facts.data, facts.recipe.get("network"), facts.data.get("counts")
    return {
        "model": facts.title,
        "made": facts.created,
        "network": network and _network(network["name"], network["size"]),
        "classes": ", ".join(facts.classes),
        "input": f"{facts.input_size} pixels",
        "split": data.get("split"),
        "fold": data.get("fold") or None,
        "training slices": counts and sum(counts["train"].values()),
        "validation slices": counts and sum(counts["validation"].values()),
        "confident from a probability of": thresholds_in_words(facts.confident, facts.classes),
        "confident and wrong": risk_in_words(facts.risk),
        "refuses what is no brain slice": "yes" if facts.ood_threshold is not None else "no",
        "data fingerprint": data.get("fingerprint", "")[:16] or None,
        "licence": facts.license,
    }


def sum_up_run(path: Path) -> dict[str, Any]:
    """Return what is known about a run; None where it has not come so far."""
    from tumorscope.training.run_folder import RunFolder  # noqa: PLC0415  (a plain install has none)

    folder = RunFolder(path)
    recipe, data, history = folder.recipe(), folder.data(), folder.history()
    best = max(history, key=lambda row: row.get("validation_accuracy", 0.0), default=None)
    metrics = folder.metrics()
    return {
        "state": _state(folder),
        "recipe": recipe.name,
        "network": _network(recipe.network.name, recipe.network.size),
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


def _network(name: str, size: str) -> str:
    return f"{name} {size}" if name == "slicenet" else name


def _state(folder: "RunFolder") -> str:
    if folder.evaluation_file.is_file():
        return "trained and evaluated"
    if folder.weights_file.is_file():
        return "trained"
    return f"stopped; go on with: {resume_command('train', folder.path)}"


def _words(name: str, value: object) -> str:
    if isinstance(value, float | list):  # of a run
        return _metric_words(name, value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _metric_words(name: str, value: float | list[float]) -> str:
    from tumorscope.evaluation.wording import (  # noqa: PLC0415  (a plain install has none)
        decimal,
        percent,
        percent_interval,
    )

    if isinstance(value, list):
        return f"{percent_interval((value[0], value[1]))} %"
    return decimal(value) if name == "calibration error" else percent(value)
