"""Evaluates a model file on a fold that it was not trained on.

    python benchmarks/held_out_fold.py --data KAGGLE [--model M] [--split kaggle-patient] [--fold 1]

writes `results/MODEL_SPLIT_fold-K.json`. The bundled model did without fold 1 of `kaggle-patient`.
"""

import argparse
from pathlib import Path

import tumorscope
from measure import FIGURES
from record import write_record
from tumorscope.cli.show import progress
from tumorscope.datasets.splits import PROTOCOLS
from tumorscope.inference.model_file import DEFAULT_MODEL


def main() -> None:
    """Evaluate and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the data set of the split")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    parser.add_argument("--split", choices=sorted(PROTOCOLS), default="kaggle-patient")
    parser.add_argument("--fold", type=int, default=1)
    options = parser.parse_args()
    model = tumorscope.load(options.model)
    result = tumorscope.evaluate(
        model, split=options.split, data=options.data, fold=options.fold, progress=progress
    )
    found = result.to_json()
    kept = ("n", "groups", *FIGURES, "by_slice", "by_patient", "verdicts", "per_class", "confusion")
    figures = {name: found[name] for name in (*kept, "localisation")}
    figures["interval"] = {name: found["interval"].get(name) for name in FIGURES}
    write_record(
        f"{model.facts.name}_{options.split}_fold-{options.fold}",
        command=f"python benchmarks/held_out_fold.py --data DIR --fold {options.fold}",
        figures={"model": model.facts.title, "by_seed": [figures]},
        seeds=[0],
        n=found["n"],
        data_fingerprint=found["facts"]["data fingerprint"],
    )


if __name__ == "__main__":
    main()
