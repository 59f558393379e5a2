"""Measures `tumorscope batch`: rates, memory over a large archive, and what faults cost.

    python benchmarks/batch.py --data KAGGLE --files 100000

Four parts, each of which can be made alone (`--only`); the record keeps the others:

- `rates`: the same files through `predict`, `batch` with one worker and with two, in turn.
- `archive`: links to the files, and drawn DICOM files, classified on a Ray cluster of two nodes
  (processes on this machine). A worker and a node are killed, the command is stopped by Ctrl-C and
  by SIGKILL, and goes on; memory is measured all the while; in the end each file must have one
  answer, and an equal one wherever the picture is the same.
- `level`: a third as many files, and nothing goes wrong: the memory of workers that live long.
- `store`: files in an S3 server that stops answering, for a moment and for long.

Needs the packages of `[dev]`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import ray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from ray.cluster_utils import Cluster

from record import RESULTS, read_record, write_record
from tumorscope.images.listing import list_files
from tumorscope.phantoms.drawing import draw_phantom

_COMMAND = (sys.executable, "-m", "tumorscope.cli.main")

_SURROUNDINGS = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}

_ROUNDS = 3

_DRAWN = 50
"""One file in so many is a drawn DICOM file."""

_STORE = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(100_000)
"""


def main() -> None:
    """Measure and write `results/batch.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of pictures")
    parser.add_argument("--files", type=int, default=100_000, help="of the archive")
    parser.add_argument("--rate-files", type=int, default=1500)
    parser.add_argument("--only", choices=("rates", "archive", "level", "store"))
    options = parser.parse_args()
    files = [Path(path).resolve() for path in list_files(options.data).files]
    figures: dict[str, Any] = {}
    if options.only and (RESULTS / "batch.json").is_file():
        figures = _remembered(read_record("batch"), options.only)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if options.only in (None, "rates"):
            figures["rates"] = _rates(files[:: max(1, len(files) // options.rate_files)], place)
        if options.only in (None, "archive"):
            figures["archive"] = _archive(files, options.files, place)
        if options.only in (None, "level"):
            figures["level"] = _level(files, options.files // 3, place)
        if options.only in (None, "store"):
            figures["store"] = _store(files[:120], place)
    content = hashlib.sha256()
    for file in files:
        content.update(file.read_bytes())
    write_record(
        "batch",
        command=f"python benchmarks/batch.py --data KAGGLE --files {options.files}",
        figures=figures,
        seeds=[],
        n=figures.get("archive", {}).get("files", 0),
        data_fingerprint=content.hexdigest(),
    )


def _remembered(record: dict[str, Any], measured: str) -> dict[str, Any]:
    """Return a record's figures; those that are not measured now say where they come from."""
    figures: dict[str, Any] = record["figures"]
    origin = {name: record[name] for name in ("commit", "date", "machine")}
    for name, found in figures.items():
        if name != measured:
            found.setdefault("measured", origin)
    figures.get(measured, {}).pop("measured", None)
    return figures


def _rates(files: Sequence[Path], place: Path) -> dict[str, Any]:
    """Return files a second of `predict` and `batch`, without and with their start."""
    listed = place / "rates.txt"
    listed.write_text("\n".join(map(str, files)))
    ways = {
        "predict": ["predict", "--csv", *map(str, files)],
        "predict_one_thread": ["predict", "--csv", "--threads", "1", *map(str, files)],
        "batch_one_worker": ["batch", str(listed), "--workers", "1"],
        "batch_two_workers": ["batch", str(listed), "--workers", "2"],
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    working: dict[str, list[float]] = defaultdict(list)
    loads = []
    for number in range(_ROUNDS):
        for way, words in ways.items():
            loads.append(round(os.getloadavg()[0], 2))
            out = ["--out", str(place / f"{way}{number}")] if words[0] == "batch" else []
            began = time.perf_counter()
            done = subprocess.run(
                [*_COMMAND, *words, *out],
                capture_output=True,
                text=True,
                check=True,
                env=_SURROUNDINGS,
            )
            seconds[way].append(time.perf_counter() - began)
            told = re.search(r"files in .*: ([\d,.]+)/s", done.stderr)
            if told:
                working[way].append(float(told[1].replace(",", "")))
    best = {way: len(files) / min(taken) for way, taken in seconds.items()}
    figures = {
        "files": len(files),
        "seconds_with_start": {way: [round(s, 2) for s in all_] for way, all_ in seconds.items()},
        "files_per_second_while_classifying": dict(working),
        "files_per_second_with_start_best": {way: round(rate, 1) for way, rate in best.items()},
        "two_workers_to_one": round(
            statistics.median(
                two / one
                for one, two in zip(
                    working["batch_one_worker"], working["batch_two_workers"], strict=True
                )
            ),
            3,
        ),
        "batch_two_workers_to_predict": round(
            statistics.median(working["batch_two_workers"])
            / (len(files) / statistics.median(seconds["predict"])),
            3,
        ),
        "load_before_each": loads,
    }
    print(json.dumps(figures, indent=2), flush=True)
    return figures


def _archive(pictures: Sequence[Path], count: int, place: Path) -> dict[str, Any]:
    """Classify many files while things go wrong; return memory, faults and what was lost."""
    began = time.perf_counter()
    folder, out = place / "archive", place / "answers"
    targets = _lay_out(folder, pictures, count)
    laid = time.perf_counter() - began
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 1024**2}
    )
    store = {"num_cpus": 1, "object_store_memory": 80 * 1024**2}
    nodes = [cluster.add_node(**store) for _ in range(2)]
    first = ["batch", str(folder), "--block", "1000"]
    again = ["batch", "--resume"]
    shared = ["--out", str(out), "--ray", cluster.address, "--workers", "2"]
    memory: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    began = time.perf_counter()
    process = _started([*first, *shared], place)
    try:
        for share, fault in ((0.15, "worker"), (0.3, "node"), (0.5, "SIGINT"), (0.7, "SIGKILL")):
            _watch(process, out, share, count, memory, began)
            done = _done(out)
            if fault == "worker":
                os.kill(_pids("ray::Worker")[0], signal.SIGKILL)
            elif fault == "node":
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                time.sleep(20)
                nodes.append(cluster.add_node(**store))
            else:
                process.send_signal(signal.Signals[fault])
                process.wait()
                status = process.returncode
                process = _started([*again, *shared], place)
            faults.append(
                {"fault": f"{fault} killed" if fault in ("worker", "node") else fault}
                | {"blocks_done": done, "seconds": round(time.perf_counter() - began, 1)}
                | ({} if fault in ("worker", "node") else {"exit_status": status})
            )
        _watch(process, out, 1.1, count, memory, began)
    finally:
        process.kill()
        ray.shutdown()
        cluster.shutdown()
    seconds = time.perf_counter() - began
    figures = {
        "files": count,
        "exit_status": process.returncode,
        "seconds_to_lay_out": round(laid, 1),
        "seconds": round(seconds, 1),
        "files_per_second": round(count / seconds, 1),
        "faults": faults,
        **_checked(out, targets),
        "memory_mib": memory,
        "bytes_of_answers": sum(path.stat().st_size for path in out.rglob("part-*.parquet")),
    }
    print(json.dumps(figures, indent=2), flush=True)
    return figures


def _level(pictures: Sequence[Path], count: int, place: Path) -> dict[str, Any]:
    """Classify many files undisturbed; return memory."""
    folder, out = place / "level", place / "levels"
    _lay_out(folder, pictures, count)
    memory: list[dict[str, Any]] = []
    began = time.perf_counter()
    process = _started(["batch", str(folder), "--out", str(out), "--workers", "2"], place)
    try:
        _watch(process, out, 1.1, count, memory, began)
    finally:
        process.kill()
        process.wait()
    seconds = time.perf_counter() - began
    figures = {
        "files": count,
        "exit_status": process.returncode,
        "files_per_second": round(count / seconds, 1),
        "memory_mib": memory,
    }
    print(json.dumps(figures, indent=2), flush=True)
    return figures


def _lay_out(folder: Path, pictures: Sequence[Path], count: int) -> dict[str, str]:
    """Make an archive of folders of 500 files; return which picture each file shows."""
    drawn = [_draw_dicom(folder.parent / f"drawn{seed}.dcm", seed) for seed in range(20)]
    targets = {}
    for number in range(count):
        source = drawn[number // _DRAWN % 20] if number % _DRAWN == 0 else None
        source = source or pictures[number % len(pictures)]
        path = folder / f"{number // 500:04}" / f"{number:07}{source.suffix}"
        if number % 500 == 0:
            path.parent.mkdir(parents=True)
        path.symlink_to(source)
        targets[str(path)] = str(source)
    return targets


def _draw_dicom(path: Path, seed: int) -> Path:
    image = draw_phantom("glioma", plane="axial", patient_seed=seed, slice_number=3, size=256).image
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = MRImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = f"1.2.3.{seed}"
    file.Modality, file.SamplesPerPixel, file.PhotometricInterpretation = "MR", 1, "MONOCHROME2"
    file.Rows, file.Columns = image.shape
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 0
    file.PixelData = (image.astype(np.uint16) * 13).tobytes()
    file.save_as(path, enforce_file_format=True)
    return path


def _started(words: Sequence[str], place: Path) -> "subprocess.Popen[bytes]":
    log = (place / "log.txt").open("ab")
    return subprocess.Popen([*_COMMAND, *words], stdout=log, stderr=log, env=_SURROUNDINGS)


def _watch(
    process: "subprocess.Popen[bytes]",
    out: Path,
    share: float,
    count: int,
    memory: list[dict[str, Any]],
    began: float,
) -> None:
    """Note the memory of all processes until a share of the files is done or the command ends."""
    blocks = len(json.loads(_waited(out / "_run.json", process).read_text())["sizes"])
    while process.poll() is None and _done(out) < share * blocks:
        workers = [_resident(pid) for pid in _pids("ray::Worker")]
        memory.append(
            {
                "seconds": round(time.perf_counter() - began),
                "files_done": round(count * _done(out) / blocks),
                "command": _resident(process.pid),
                "largest_worker": max(workers, default=0),
                "ray": sum(_resident(pid) for pid in (*_pids("raylet"), *_pids("gcs_server"))),
            }
        )
        end = time.monotonic() + 15
        while process.poll() is None and _done(out) < share * blocks and time.monotonic() < end:
            time.sleep(0.5)
    if share < 1 and process.poll() is not None:
        raise SystemExit(f"the command ended with {process.returncode} before the next fault")


def _waited(path: Path, process: "subprocess.Popen[bytes]") -> Path:
    while not path.exists():
        if process.poll() is not None:
            raise SystemExit(f"the command ended with {process.returncode} before it began")
        time.sleep(0.2)
    return path


def _done(out: Path) -> int:
    return sum(1 for _ in out.glob("group=*/part-*.parquet"))


def _pids(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word in (entry / "cmdline").read_text(errors="replace").split("\0")[0]:
                found.append(int(entry.name))
    return found


def _resident(pid: int) -> int:
    """Return a process's memory in MiB, without what it shares; 0 when it is gone."""
    with contextlib.suppress(OSError, IndexError):
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") // 2**20
    return 0


def _checked(out: Path, targets: dict[str, str]) -> dict[str, Any]:
    """Count what is lost, doubled, an error, or another answer to the same picture."""
    found: Counter[str] = Counter()
    answers: dict[str, set[tuple[str | None, str]]] = defaultdict(set)
    probabilities: dict[str, list[float]] = defaultdict(list)
    errors = 0
    for part in out.glob("group=*/part-*.parquet"):
        table = pq.read_table(part, columns=["path", "label", "probability", "sha256", "error"])
        for row in table.to_pylist():
            found[row["path"]] += 1
            errors += row["error"] is not None
            picture = targets.get(row["path"]) or row["path"]
            answers[picture].add((row["label"], row["sha256"]))
            probabilities[picture].append(row["probability"] or 0.0)
    return {
        "lost": len(targets.keys() - found.keys()),
        "doubled": sum(number - 1 for number in found.values()),
        "unknown": len(found.keys() - targets.keys()),
        "errors": errors,
        "pictures": len(answers),
        "pictures_with_different_answers": sum(len(said) > 1 for said in answers.values()),
        "largest_difference_of_probability": max(
            max(said) - min(said) for said in probabilities.values()
        ),
        "parts": _done(out),
        "left_over": sum(1 for path in out.rglob(".*") if path.is_file()),
    }


def _store(files: Sequence[Path], place: Path) -> dict[str, Any]:
    """Read from an S3 server that stops answering, first for a moment, then for long."""
    import boto3  # noqa: PLC0415

    server = subprocess.Popen(
        [sys.executable, "-c", _STORE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        endpoint = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        _SURROUNDINGS.update(
            AWS_ENDPOINT_URL=endpoint,
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",  # noqa: S106
            AWS_REGION="us-east-1",
            AWS_EC2_METADATA_DISABLED="true",
        )
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",  # noqa: S106
        )
        client.create_bucket(Bucket="scans")
        for number, file in enumerate(files):
            client.upload_file(str(file), "scans", f"{number:05}{file.suffix}")
        outages = {
            name: _outage(server, place / name, seconds)
            for name, seconds in (("none", 0.0), ("short", 8.0), ("long", None))
        }
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()
    names = {f"s3://scans/{number:05}{file.suffix}" for number, file in enumerate(files)}
    for name, figures in outages.items():
        figures.update(_checked(place / name, dict.fromkeys(names, "")))
    print(json.dumps(outages, indent=2), flush=True)
    return {"files": len(files), "outages": outages}


def _outage(server: "subprocess.Popen[str]", out: Path, seconds: float | None) -> dict[str, Any]:
    """Stop the server after some blocks for so long, or until the command gives up."""
    words = ["batch", "s3://scans", "--out", str(out), "--block", "10", "--workers", "2"]
    began = time.perf_counter()
    process = _started(words, out.parent)
    _waited(out / "group=00000" / "part-00000003.parquet", process)
    if seconds != 0:
        server.send_signal(signal.SIGSTOP)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        server.send_signal(signal.SIGCONT)
    process.wait()
    figures = {"exit_status": process.returncode, "seconds": round(time.perf_counter() - began, 1)}
    if process.returncode == 2:
        figures["blocks_done"] = _done(out)
        said = (out.parent / "log.txt").read_text().splitlines()[-1]
        process = _started(["batch", "--resume", "--out", str(out)], out.parent)
        process.wait()
        figures |= {"said": said, "exit_status_resumed": process.returncode}
    return figures


if __name__ == "__main__":
    main()
