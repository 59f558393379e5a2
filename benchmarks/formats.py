"""Makes every format of a model file and compares it; `results/formats.json`.

    python benchmarks/formats.py --data KAGGLE [--model M]

Each format and the network that is in the model file answer all official test images of the Kaggle
set, whether it learned from them or not. Formats whose runtime is not installed are left out.
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
from tumorscope.export.rebuilt_network import unpack
from tumorscope.export.samples import read_sample
from tumorscope.inference.model_file import DEFAULT_MODEL, find_model, open_model
from tumorscope.training.trained_network import load_weights

AGREEMENT: Final = {"onnx-fp16": 0.995, "onnx-int8": 0.99, "litert-int8": 0.99}
"""Label agreement that a format must reach."""

FULL_AGREEMENT: Final = 0.999
"""The same for the formats in float32."""

MEASURED: Final = (
    "onnx",
    "onnx-fp16",
    "onnx-int8",
    "torchscript",
    "openvino",
    "litert",
    "litert-int8",
    "triton",
    "monai-bundle",
)


def main() -> int:
    """Make and compare the formats; the exit status is 1 when one falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the Kaggle set")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    options = parser.parse_args()
    figures: dict[str, object] = {"opset_newest": newest_opset()}
    good = True
    with tempfile.TemporaryDirectory() as folder:
        model = find_model(options.model)
        run = unpack(model, Path(folder) / "run", [options.data])
        trained = load_weights(run.weights_file)
        slices = [item for item in read_set(options.data).slices if item.split == "test"]
        sample = read_sample(slices, trained.description, origin="official test images")
        for name in MEASURED:
            path = Path(folder) / FORMATS[name].file
            try:
                export_run(run, name, path, data=[options.data], check=False)
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
        facts = open_model(model).facts
    write_record(
        "formats",
        command="python benchmarks/formats.py --data KAGGLE",
        figures=figures | {"model": facts.title},
        seeds=[facts.recipe["training"]["seed"]],
        n=len(sample.labels),
        data_fingerprint=facts.data["fingerprint"],
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
