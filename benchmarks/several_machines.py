"""Measures that training on several machines is training on one.

    python benchmarks/several_machines.py

Two processes stand for two machines, started as people start them there: with `MASTER_ADDR` and
`NODE_RANK`, by `torchrun`, and with the variables that Slurm sets. Without random augmentation and
dropout their steps are those of one process with the same global batch, up to rounding. Then one of
the two is killed: the other must end, and both must go on to the same weights.
"""

import argparse
import csv
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from record import write_record
from tumorscope.phantoms.drawing import write_phantoms

_TRAIN = ("-m", "tumorscope.cli.main", "train")

_FIELDS = {
    "network.size": "nano",
    "network.dropout": "0.0",
    "input.size": "32",
    "optimizer.learning_rate": "0.02",
    "training.epochs": "4",
    "training.precision": "fp32",
    "loss.mixup": "0.0",
    **dict.fromkeys(
        (
            *("augmentation.rotation", "augmentation.flip", "augmentation.shift"),
            *("augmentation.zoom", "augmentation.stretch", "augmentation.rot90"),
            *("augmentation.contrast", "augmentation.bias_field", "augmentation.blur"),
            *("augmentation.noise", "augmentation.strip", "augmentation.curve"),
            *("augmentation.coarse", "augmentation.paint"),
        ),
        "0.0",
    ),
}

_BATCH = 16

Started = list["subprocess.Popen[str]"]


def main() -> None:
    """Measure and write `results/several_machines.json`."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_phantoms(place / "phantoms", patients_per_class=8, slices_per_patient=4)
        alone = place / "alone"
        _ended([_start(_words(place, alone, _BATCH), {})])
        figures: dict[str, Any] = {}
        ways = {"MASTER_ADDR": _by_address, "torchrun": _by_torchrun, "Slurm": _by_slurm}
        for way, start in ways.items():
            run = place / way
            _ended(start(_words(place, run, _BATCH // 2, "--nodes", "2")))
            figures[way] = _difference(alone, run)
            print(way, figures[way], flush=True)
        figures["one of two killed"] = _killed(place, place / "MASTER_ADDR")
    write_record(
        "several_machines",
        command="python benchmarks/several_machines.py",
        figures=figures,
        seeds=[0],
        n=len(ways),
        data_fingerprint="drawn phantoms",
    )


def _words(place: Path, run: Path, batch: int, *others: str) -> list[str]:
    fields = {**_FIELDS, "training.batch_size": str(batch)}
    words = ["--data", str(place / "phantoms"), "--split", "grouped-folds", "--no-test"]
    words += ["--out", str(run), "--accelerator", "cpu", *others]
    return [
        *words,
        *(word for name, value in fields.items() for word in ("--set", f"{name}={value}")),
    ]


def _by_address(words: Sequence[str]) -> Started:
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    return [_start(words, {**shared, "NODE_RANK": str(rank)}) for rank in range(2)]


def _by_torchrun(words: Sequence[str]) -> Started:
    port = _free_port()
    launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", port]
    return [_start(words, {}, [*launcher, "--node-rank", str(rank)]) for rank in range(2)]


def _by_slurm(words: Sequence[str]) -> Started:
    shared = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_LOCALID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "MASTER_PORT": _free_port(),
    }
    return [
        _start(words, {**shared, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)})
        for rank in range(2)
    ]


def _killed(place: Path, whole: Path) -> dict[str, Any]:
    """Kill the second of two machines after an epoch, and go on with both."""
    run = place / "killed"
    first, second = _by_address(_words(place, run, _BATCH // 2, "--nodes", "2"))
    while not _epochs(run) and first.poll() is None:
        time.sleep(0.02)
    second.send_signal(signal.SIGKILL)
    began = time.perf_counter()
    _, said = first.communicate(timeout=600)
    second.communicate()
    figures = {
        "epochs_when_killed": _epochs(run),
        "exit_status_of_the_other": first.returncode,
        "seconds_until_it_ended": round(time.perf_counter() - began, 1),
        "it_said": said.strip().splitlines()[-1].replace(str(run), "RUN"),
    }
    _ended(_by_address(["--resume", str(run), "--accelerator", "cpu", "--nodes", "2", "--no-test"]))
    figures |= {"resumed": _difference(whole, run)}
    print(figures, flush=True)
    return figures


def _start(
    words: Sequence[str], variables: Mapping[str, str], launcher: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *launcher, *_TRAIN, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )


def _ended(processes: Started) -> None:
    for process in processes:
        _, said = process.communicate(timeout=600)
        if process.returncode:
            raise SystemExit(f"training ended with {process.returncode}: {said}")


def _epochs(run: Path) -> int:
    log = run / "log.csv"
    return max(0, len(log.read_text().splitlines()) - 1) if log.is_file() else 0


def _difference(one: Path, other: Path) -> dict[str, Any]:
    """Return how far the weights and the logged figures of two runs differ."""
    weights, others = (load_file(run / "weights.safetensors") for run in (one, other))
    rows, other_rows = (
        list(csv.DictReader((run / "log.csv").open(newline=""))) for run in (one, other)
    )
    losses = [
        abs(float(row[name]) - float(other_row[name]))
        for row, other_row in zip(rows, other_rows, strict=True)
        for name in ("train_loss", "validation_loss")
    ]
    return {
        "epochs": len(rows),
        "largest_difference_of_a_weight": max(
            float(abs(weights[name] - others[name]).max(initial=0.0)) for name in weights
        ),
        "largest_weight": max(float(abs(weights[name]).max(initial=0.0)) for name in weights),
        "largest_difference_of_a_loss": max(losses),
        "last_loss": float(rows[-1]["train_loss"]),
    }


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


if __name__ == "__main__":
    main()
