"""The parts of a MONAI bundle that its `configs/inference.json` names.

Each bundle carries this file and what it imports of this package, under another package name. It
needs MONAI, PyTorch, ONNX Runtime, NumPy and Pillow.
"""

import csv
import io
import json
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from monai.transforms.transform import MapTransform
from torch import Tensor, nn

from tumorscope.images.reading import UnreadableImageError, read_slice
from tumorscope.images.suitability import why_unsuitable
from tumorscope.inference.decision import decide, unsupported

_METADATA_KEY: Final = "tumorscope"


class ReadSliced(MapTransform):
    """Reads pictures as grey slices `[1, H, W]`, 0 to 255, as the model's training did.

    MONAI's own readers transpose pictures, cut 16 bits to 8 and pass over EXIF's rotation.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with slices in the place of paths."""
        read = {
            key: torch.from_numpy(read_slice(data[key]).astype(np.float32))[None]
            for key in self.key_iterator(data)
        }
        return {**data, **read}


class OnnxNetwork(nn.Module):
    """A complete ONNX file, which prepares its input itself, as a network of PyTorch.

    Args:
        path: The file.

    Attributes:
        facts: What the file says about itself.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._names = [port.name for port in self._session.get_outputs()]
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.facts: dict[str, Any] = json.loads(metadata[_METADATA_KEY])

    def takes(self, image: Tensor) -> bool:
        """Tell whether slices `[..., H, W]` are of the size that the file takes."""
        wanted = self._session.get_inputs()[0].shape[-2:]
        sides = zip(wanted, image.shape[-2:], strict=True)
        return all(not isinstance(side, int) or side == given for side, given in sides)

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities `[N, C]` of slices `[N, 1, H, W]`, grey values 0 to 255."""
        return self.outputs(image)["probabilities"]

    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """Return all outputs by name for slices `[N, 1, H, W]`."""
        answers = [self._session.run(None, {"pixels": pixels.cpu().numpy()}) for pixels in image]
        return {
            name: torch.from_numpy(np.concatenate(values)).to(image.device)
            for name, values in zip(self._names, zip(*answers, strict=True), strict=True)
        }


class TableEvaluator:
    """Classifies slices one by one and writes `predictions.csv`, a row a file.

    The columns are among those of `tumorscope predict --csv`; a file that cannot be read, or is of
    another size than the network takes, is a row, too.

    Args:
        dataset: Items with a path, whose transform makes a slice of it.
        network: The network.
        inferer: Calls it.
        device: Where slices are put.
        output_dir: Where the table goes.
    """

    def __init__(
        self,
        *,
        dataset: Any,
        network: OnnxNetwork,
        inferer: Callable[..., dict[str, Tensor]],
        device: torch.device | str,
        output_dir: str,
    ) -> None:
        self._dataset, self._network, self._inferer = dataset, network, inferer
        self._device, self._output = device, Path(output_dir)

    def run(self) -> None:
        """Classify all slices."""
        names: Sequence[str] = self._network.facts["classes"]
        columns = ["path", "label", "probability", *(f"probability_{name}" for name in names)]
        columns += ["verdict", "reason", "error"]
        self._output.mkdir(parents=True, exist_ok=True)
        table = self._output / "predictions.csv"
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._row(number) for number in range(len(self._dataset)))
        table.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))
        logging.getLogger(__name__).info("%s: %s", table, self._network.facts["intended_use"])

    def _row(self, number: int) -> dict[str, object]:
        path = self._dataset.data[number]["image"]
        try:
            slice_ = self._dataset[number]["image"]
        except RuntimeError as error:  # MONAI's, around that of a transform
            if not isinstance(error.__cause__, UnreadableImageError):
                raise
            return {"path": path, "error": str(error.__cause__).removeprefix(f"{path}: ")}
        if not self._network.takes(slice_):
            height, width = slice_.shape[-2:]
            return {"path": path, "error": f"{height}x{width} pixels: the file takes another size"}
        return {"path": path, **self._answer(slice_)}

    def _answer(self, slice_: Tensor) -> dict[str, object]:
        reason = why_unsuitable(slice_[0].numpy().astype(np.uint8))
        decision = unsupported(reason) if reason else self._decide(slice_)
        cells = decision.to_json()
        probabilities = cells.pop("probabilities") or {}
        return cells | {f"probability_{name}": value for name, value in probabilities.items()}

    def _decide(self, slice_: Tensor) -> Any:
        image = slice_[None].to(self._device)
        with torch.inference_mode():
            outputs = self._inferer(inputs=image, network=self._network.outputs)
        facts = self._network.facts
        score = outputs.get("ood_score")
        return decide(
            outputs["probabilities"][0].tolist(),
            facts["classes"],
            confident=facts["thresholds"]["confident"],
            ood_score=None if score is None else float(score[0]),
            ood_threshold=facts["thresholds"].get("ood_threshold"),
        )
