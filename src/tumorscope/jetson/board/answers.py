"""A slice and a runtime come in, the answer as `tumorscope predict --jsonl` writes it goes out."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tumorscope.images.preparation import prepare
from tumorscope.images.suitability import why_unsuitable
from tumorscope.inference.decision import OUT_OF_DISTRIBUTION, decide

if TYPE_CHECKING:
    from typing import Dict, Optional, Union

    from numpy.typing import NDArray

    from tumorscope.jetson.board.engines import OnnxRuntime, TensorRT
    from tumorscope.jetson.board.folder import Facts
    from tumorscope.jetson.board.frames import Slice


class Answer(NamedTuple):
    """What is said about a slice.

    Attributes:
        json: What is printed.
        heatmap: The label's class map, `[h, w]`, over the head; None where there is none.
    """

    json: "Dict[str, Any]"
    heatmap: "Optional[NDArray[np.float32]]" = None


def answer(seen: "Slice", runtime: "Union[OnnxRuntime, TensorRT]", facts: "Facts") -> Answer:
    """Judge a slice.

    Args:
        seen: The slice, or why it could not be read.
        runtime: The opened model.
        facts: What the bundle says about it.
    """
    if seen.grey is None:
        return Answer({"path": seen.path, "error": seen.error})
    said: "Dict[str, Any]" = {
        "path": seen.path,
        "slice": seen.number,
        "label": None,
        "probability": None,
        "probabilities": None,
        "verdict": "unsupported",
        "reason": why_unsuitable(seen.grey),
        "model": facts.title,
        "milliseconds": 0.0,
    }
    if said["reason"]:
        return Answer(said)
    grey = prepare(seen.grey, facts.side)
    began = time.perf_counter()
    outputs = runtime.ask(grey)
    took = 1000 * (time.perf_counter() - began)
    if facts.ood_threshold is not None and not float(outputs["ood_score"]) <= facts.ood_threshold:
        said.update(reason=OUT_OF_DISTRIBUTION, milliseconds=round(took, 2))
        return Answer(said)
    probabilities = outputs["probabilities"].tolist()
    best = int(np.argmax(outputs["probabilities"]))
    by_class = dict(zip(facts.classes, probabilities))
    verdict, reason = decide(by_class, facts.confident)
    said.update(
        label=facts.classes[best],
        probability=round(probabilities[best], 6),
        probabilities={name: round(value, 6) for name, value in by_class.items()},
        verdict=verdict,
        reason=reason,
        milliseconds=round(took, 2),
    )
    maps = outputs.get("heatmap")
    return Answer(said, None if maps is None else maps[best])
