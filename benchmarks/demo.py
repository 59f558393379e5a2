"""Measures `tumorscope demo` over several seeds: accuracy, heatmap, time.

    python benchmarks/demo.py [--seeds 1,2,3,4,5]

writes `results/demo.json` after each seed; what it says of others stays. Each seed draws other
phantoms and trains anew. Seconds of processor time count all cores together; the time on a clock
is that of a machine that may have had other work.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import RESULTS, read_record, write_record

_CODE = "from tumorscope.cli.main import main; import sys; sys.exit(main())"


def main() -> None:
    """Run the demo with each seed, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3,4,5", help="which seeds")
    options = parser.parse_args()
    seeds: dict[str, Any] = {}
    if (RESULTS / "demo.json").is_file():
        seeds = read_record("demo")["figures"]["seeds"]
    for seed in map(int, options.seeds.split(",")):
        seeds[str(seed)] = figures_of(seed)
        print(seed, json.dumps(seeds[str(seed)]))
        print(write(seeds))


def figures_of(seed: int) -> dict[str, Any]:
    """Run the demo; return its figures and the fingerprint of its phantoms."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", _CODE, "demo", "--seed", str(seed), "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        clock = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        evaluation = json.loads((out / "run" / "evaluation.json").read_text())
        phantoms = hashlib.sha256((out / "phantoms" / "slices.csv").read_bytes()).hexdigest()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "test_slices": evaluation["n"],
        "accuracy": evaluation["accuracy"],
        "peak_inside": evaluation["localisation"]["peak_inside"],
        "dice": evaluation["localisation"]["dice"],
        "seconds": round(clock, 1),
        "processor_seconds": round(used, 1),
        "phantoms": phantoms,
    }


def write(seeds: dict[str, Any]) -> Path:
    """Write the record of the seeds so far."""
    digest = hashlib.sha256("".join(found["phantoms"] for found in seeds.values()).encode())
    return write_record(
        "demo",
        command="python benchmarks/demo.py",
        figures={
            "lowest_accuracy": min(found["accuracy"] for found in seeds.values()),
            "lowest_peak_inside": min(found["peak_inside"] for found in seeds.values()),
            "seeds": seeds,
        },
        seeds=sorted(map(int, seeds)),
        n=sum(found["test_slices"] for found in seeds.values()),
        data_fingerprint=digest.hexdigest(),
    )


if __name__ == "__main__":
    main()
