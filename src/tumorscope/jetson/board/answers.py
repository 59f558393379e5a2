"""Classifies a slice on the board; the answer is what `tumorscope predict --jsonl` writes."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tumorscope.images.preparation import prepare
from tumorscope.images.suitability import why_unsuitable
from tumorscope.inference.decision import Decision, decide, unsupported

if TYPE_CHECKING:
    from typing import Dict, Optional, Union

    import numpy as np
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
    """Classify a slice.

    Args:
        seen: The slice, or why it could not be read.
        runtime: The opened model.
        facts: What the bundle says about it.
    """
    if seen.grey is None:
        return Answer({"path": seen.path, "error": seen.error})
    reason = why_unsuitable(seen.grey)
    if reason:
        return Answer(_json(seen, unsupported(reason), facts, 0.0))
    grey = prepare(seen.grey, facts.side)
    began = time.perf_counter()
    outputs = runtime.ask(grey)
    took = 1000 * (time.perf_counter() - began)
    decision = decide(
        outputs["probabilities"].tolist(),
        facts.classes,
        confident=facts.confident,
        ood_score=float(outputs["ood_score"]) if "ood_score" in outputs else None,
        ood_threshold=facts.ood_threshold,
    )
    maps = outputs.get("heatmap")
    if decision.label is None or maps is None:
        return Answer(_json(seen, decision, facts, took))
    return Answer(_json(seen, decision, facts, took), maps[facts.classes.index(decision.label)])


def _json(seen: "Slice", decision: Decision, facts: "Facts", took: float) -> "Dict[str, Any]":
    return {
        "path": seen.path,
        "slice": seen.number,
        **decision.to_json(),
        "model": facts.title,
        "milliseconds": round(took, 2),
    }
