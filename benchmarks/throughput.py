"""Measures what the `train` command adds to the bare step loop, and its peak memory.

    python benchmarks/throughput.py --data DIR

Both sides run in turn on the same machine: the bare forward, backward and optimizer step on
random tensors of the recipe's shape, and the whole training with reading, augmentation, Lightning,
counting and logging. The share is images/s of the second by images/s of the first.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from record import write_record
from tumorscope.classes import CLASSES
from tumorscope.networks.factory import build_network
from tumorscope.training.memory import keep_freed_memory
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder

_ROUNDS = 3
_STEPS = 40


def main() -> None:
    """Measure and write `results/throughput.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--bare", action="store_true", help="only the bare loop, to standard output"
    )
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare_loop()))
        return
    shares, bare_rates, train_rates = [], [], []
    fingerprint, count = "", 0
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            run = RunFolder(Path(name) / "run")
            _train(options.data, run.path, ["training.epochs=2"])
            train_rates.append(max(row["images_per_second"] for row in run.history()))
            fingerprint = run.data()["fingerprint"]
            count = sum(run.data()["counts"]["train"].values())
        bare_rates.append(
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, "--data", options.data, "--bare"],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
        )
        shares.append(train_rates[-1] / bare_rates[-1])
    with tempfile.TemporaryDirectory() as name:
        _train(
            options.data,
            Path(name) / "run",
            ["training.epochs=1", "input.size=224", "training.batch_size=64"],
        )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    write_record(
        "throughput",
        command="python benchmarks/throughput.py --data DIR",
        figures={
            "share_of_bare_loop": round(statistics.median(shares), 4),
            "shares": [round(share, 4) for share in shares],
            "train_images_per_second": train_rates,
            "bare_images_per_second": bare_rates,
            "peak_memory_gib_224": round(peak, 3),
        },
        seeds=[0],
        n=count,
        data_fingerprint=fingerprint,
    )


def bare_loop() -> float:
    """Return images/s of forward, backward and step on random tensors of the recipe's shape."""
    keep_freed_memory()
    recipe = load_recipe("quick")
    network = build_network(recipe.network, CLASSES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    size, batch = recipe.input.size, recipe.training.batch_size
    grey = (torch.rand(batch, 1, size, size) * 255).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 4, (batch,))
    began = 0.0
    for step in range(_STEPS + 5):
        if step == 5:
            began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(network(grey), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return round(_STEPS * batch / (time.perf_counter() - began), 1)


def _train(data: str, folder: Path, overrides: list[str]) -> None:
    command = [sys.executable, "-m", "tumorscope.cli.main", "train", "--recipe", "quick"]
    command += ["--split", "kaggle-official", "--data", data, "--out", str(folder), "--no-test"]
    for override in overrides:
        command += ["--set", override]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
