"""Classifies slices on the board; an answer is what `tumorscope predict --jsonl` writes.

The processor reads and prepares a slice while the GPU classifies the one before.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from tumorscope.images.preparation import prepare
from tumorscope.images.suitability import why_unsuitable
from tumorscope.inference.decision import Decision, decide, unsupported

if TYPE_CHECKING:
    from typing import Dict, Iterator, Optional, Union

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


class Ready(NamedTuple):
    """A slice that is ready to be classified.

    Attributes:
        seen: The slice, or why it could not be read.
        reason: Why there is nothing to classify; empty where there is.
        grey: The model's input, uint8, `[S, S]`; None where there is none.
    """

    seen: "Slice"
    reason: str
    grey: "Optional[NDArray[np.uint8]]"


def make_ready(seen: "Slice", side: int) -> Ready:
    """Prepare a slice.

    Args:
        seen: The slice, or why it could not be read.
        side: Side of the model's input in pixels.
    """
    if seen.grey is None:
        return Ready(seen, seen.error, None)
    reason = why_unsuitable(seen.grey)
    return Ready(seen, reason, None if reason else prepare(seen.grey, side))


def read_ahead(slices: "Iterator[Slice]", side: int) -> "Iterator[Ready]":
    """Read and prepare slices in another thread, one further than what is being classified.

    Args:
        slices: They are read as they are asked for.
        side: Side of the model's input in pixels.
    """

    def following() -> "Optional[Ready]":
        seen = next(slices, None)
        return None if seen is None else make_ready(seen, side)

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(following)
        while True:
            ready = ahead.result()
            if ready is None:
                return
            ahead = reader.submit(following)
            yield ready


def answer(ready: Ready, runtime: "Union[OnnxRuntime, TensorRT]", facts: "Facts") -> Answer:
    """Classify a slice.

    Args:
        ready: The slice, prepared.
        runtime: The opened model.
        facts: What the bundle says about it.
    """
    seen = ready.seen
    if seen.grey is None:
        return Answer({"path": seen.path, "error": seen.error})
    if ready.grey is None:
        return Answer(_json(seen, unsupported(ready.reason), facts, 0.0))
    began = time.perf_counter()
    outputs = runtime.ask(ready.grey[None, None])
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
