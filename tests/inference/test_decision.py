"""One function decides, and what is no number is never an answer."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorscope.classes import CLASSES
from tumorscope.inference.decision import NOT_FINITE, decide

CASES = json.loads((Path(__file__).parent / "decisions.json").read_text())
"""Outputs, thresholds and what is decided; `classify.cpp` is held to the same file."""


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_golden_decisions(case: dict[str, object]) -> None:
    score = case["ood_score"]
    decision = decide(
        [float(value) for value in case["probabilities"]],
        CLASSES,
        confident=case["confident"],
        ood_score=None if score is None else float(score),
        ood_threshold=case["ood_threshold"],
    )
    assert decision.to_json() == case["decision"]


_ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(_ANY, min_size=4, max_size=4), st.none() | _ANY, st.none() | st.floats(0, 10), _ANY)
def test_whatever_comes_the_answer_is_whole(
    values: list[float], score: float | None, limit: float | None, at: float
) -> None:
    decision = decide(values, CLASSES, confident=[at] * 4, ood_score=score, ood_threshold=limit)
    json.dumps(decision.to_json(), allow_nan=False)
    assert (decision.verdict == "unsupported") == (decision.label is None)
    assert bool(decision.reason) == (decision.verdict != "confident")
    finite = all(map(math.isfinite, values)) and (score is None or math.isfinite(score))
    assert finite == (decision.reason != NOT_FINITE)
    if decision.label is not None:
        assert decision.probability == max(values)
