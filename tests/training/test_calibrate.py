"""What is written of a run's calibration holds to the last digit."""

from hypothesis import given
from hypothesis import strategies as st

from tumorscope.training.calibrate import rounded_up


@given(threshold=st.floats(0, 1))
def test_a_threshold_is_never_rounded_down(threshold: float) -> None:
    rounded = rounded_up(threshold)
    assert threshold <= rounded <= min(1.0, threshold + 1.1e-6)
    assert rounded == round(rounded, 6)
