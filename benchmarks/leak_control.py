"""Records what each split leaks: accuracy of a nearest neighbour on labels shuffled by group.

    python benchmarks/leak_control.py --data ROOT

writes `results/leak_control.json`; the same as `tumorscope crossval --control random-labels`.
"""

import argparse
from pathlib import Path

from record import write_record
from tumorscope.cli.show import progress
from tumorscope.datasets.locations import data_sources
from tumorscope.datasets.sources import read_data
from tumorscope.evaluation.controls import random_labels

SPLITS = ("kaggle-official", "kaggle-patient", "figshare-patient", "sartaj-official")


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--shuffles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found, fingerprints = {}, {}
    for split in SPLITS:
        catalogue = read_data(data_sources([options.data], split), progress=progress)
        fingerprints[split] = catalogue.fingerprint()
        control = random_labels(
            catalogue, split, shuffles=options.shuffles, seed=options.seed, progress=progress
        )
        print(control)
        found[split] = control.to_json()
        del found[split]["research_use_only"]
    write_record(
        "leak_control",
        command=f"python benchmarks/leak_control.py --data ROOT --shuffles {options.shuffles} "
        f"--seed {options.seed}",
        figures={"splits": found, "data_fingerprints": fingerprints},
        seeds=[options.seed],
        n=sum(control["n"] for control in found.values()),
        data_fingerprint=fingerprints[SPLITS[0]],
    )


if __name__ == "__main__":
    main()
