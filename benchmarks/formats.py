"""A finished run comes in; `results/formats.json` tells how its exported formats compare with it.

Every format is made, and the file and the trained network answer all official test images of the
Kaggle set, whether the run learned from them or not. Formats whose runtime is not installed are
left out.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

import onnx

from record import write_record
from tumorscope.datasets.sources import read_set
from tumorscope.errors import MissingExtraError
from tumorscope.export import FORMATS, export_run, newest_opset, verify
from tumorscope.export.samples import read_sample
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights

AGREEMENT: Final = {"onnx-fp16": 0.995, "onnx-int8": 0.99}
"""Label agreement that a format must reach."""

FULL_AGREEMENT: Final = 0.999
"""The same for the formats in float32."""

MEASURED: Final = (
    "onnx",
    "onnx-fp16",
    "onnx-int8",
    "torchscript",
    "openvino",
    "triton",
    "monai-bundle",
)


def main() -> int:
    """Make and compare the formats; the exit status is 1 when one falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--data", type=Path, action="append", help="where its data is now")
    parser.add_argument("--record", default="formats", help="the record's name")
    options = parser.parse_args()
    run = RunFolder(options.run)
    trained = load_weights(run.weights_file)
    slices = [
        item
        for path in options.data or run.sources()
        for item in read_set(path).slices
        if (item.source, item.split) == ("kaggle", "test")
    ]
    sample = read_sample(slices, trained.description, origin="official test images")
    figures: dict[str, object] = {"opset_newest": newest_opset()}
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in MEASURED:
            path = Path(folder) / FORMATS[name].file
            try:
                export_run(run, name, path, data=options.data, check=False)
            except MissingExtraError as error:
                print(error)
                continue
            kind = FORMATS[name]
            found = verify(
                trained,
                path,
                sample.grey,
                sample.labels,
                picture=None if kind.tolerance else sample.picture,
                opener=kind.open,
            )
            needed = AGREEMENT.get(name, FULL_AGREEMENT)
            good &= found.label_agreement >= needed
            figures[name] = found.to_json() | {"label_agreement_needed": needed}
            if path.suffix == ".onnx":
                figures[name] |= {"opset": onnx.load(path).opset_import[0].version}
            print(f"{name}: {found}")
    write_record(
        options.record,
        command="python benchmarks/formats.py RUN",
        figures=figures | {"recipe": run.recipe().name, "split": run.data()["split"]},
        seeds=[run.recipe().training.seed],
        n=len(sample.labels),
        data_fingerprint=run.data()["fingerprint"],
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
