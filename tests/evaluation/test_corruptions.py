"""Corrupted slices: what each fault does by its formula, and that a stronger one does more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tumorscope.evaluation.corruptions import KINDS, SEVERITIES, Kind, corrupt
from tumorscope.images import cut_out, find_head, prepare
from tumorscope.phantoms.drawing import draw_phantom


def heads() -> list[NDArray[np.uint8]]:
    places = zip(("glioma", "pituitary", "notumor"), ("axial", "sagittal", "coronal"), strict=True)
    return [
        draw_phantom(label, plane=plane, patient_seed=seed, slice_number=2, size=160).image
        for seed, (label, plane) in enumerate(places)
    ]


HEADS = heads()


def change(kind: Kind, severity: int) -> float:
    """Mean difference from the clean slice, both seen at one size, over slices and seeds."""

    def seen(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
        return cut_out(grey, (0, grey.shape[0], 0, grey.shape[1]), 96).astype(np.float64)

    found = [
        np.abs(seen(corrupt(head, kind, severity, seed)) - seen(head)).mean()
        for head in HEADS
        for seed in range(8)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stronger_fault_changes_the_slice_more(kind: Kind) -> None:
    changes = [change(kind, severity) for severity in SEVERITIES]
    assert changes == sorted(changes)
    assert changes[-1] > 1.3 * changes[0] > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_the_slice_is_left_alone(kind: Kind) -> None:
    head = HEADS[0].copy()
    head.flags.writeable = False
    first = corrupt(head, kind, 5, 1)
    assert np.array_equal(first, corrupt(head, kind, 5, 1))
    others = [corrupt(head, kind, 5, seed) for seed in range(2, 12)]
    differ = [first.shape != other.shape or bool((first != other).any()) for other in others]
    assert any(differ) == (kind != "blur")


@settings(max_examples=60, deadline=None)
@given(
    grey=arrays.arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70))),
    kind=st.sampled_from(KINDS),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 2**32),
)
def test_any_picture_stays_one(
    grey: NDArray[np.uint8], kind: Kind, severity: int, seed: int
) -> None:
    answer = corrupt(grey, kind, severity, seed)
    assert answer.dtype == np.uint8
    assert answer.ndim == 2
    assert answer.flags.c_contiguous
    if kind == "rot90":
        assert sorted(answer.shape) == sorted(grey.shape)
    elif kind == "crop":
        assert answer.size
        assert all(now <= before for now, before in zip(answer.shape, grey.shape, strict=True))
    else:
        assert answer.shape == grey.shape
    assert prepare(answer, 32).shape == (32, 32)


@pytest.mark.parametrize(
    ("grey", "kind", "severity"),
    [
        (HEADS[0], "fog", 1),
        (HEADS[0], "blur", 0),
        (HEADS[0], "blur", 6),
        (HEADS[0].astype(np.float32), "blur", 1),
        (HEADS[0][None], "blur", 1),
        (HEADS[0][:0], "blur", 1),
    ],
)
def test_what_is_no_slice_or_no_fault_is_refused(
    grey: NDArray[np.uint8], kind: Kind, severity: int
) -> None:
    with pytest.raises(ValueError, match=r"no corruption|uint8 array"):
        corrupt(grey, kind, severity, 0)


def test_blur_is_a_bell_of_the_stated_width() -> None:
    edge = np.zeros((400, 400), np.uint8)
    edge[:, 200:] = 255
    top, bottom, left, right = find_head(edge)
    wanted = 0.015 * np.sqrt((bottom - top) * (right - left))
    slope = np.diff(corrupt(edge, "blur", 5, 0)[200].astype(float)) / 255
    place = np.arange(399) - 199
    assert np.sqrt((slope * place**2).sum()) == pytest.approx(wanted, rel=0.15)


def test_noise_is_rician_of_the_stated_width() -> None:
    grey = np.full((300, 300), 200, np.uint8)
    grey[:150] = 0
    noisy = corrupt(grey, "noise", 5, 3).astype(float)
    wanted = 0.11 * 200
    assert noisy[150:].std() == pytest.approx(wanted, rel=0.03)
    assert noisy[:150].mean() == pytest.approx(wanted * np.sqrt(np.pi / 2), rel=0.03)


def test_contrast_is_one_of_four_curves() -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    share = np.arange(256) / 255
    curves = {
        (gamma, gain): np.rint(np.clip(share**gamma * gain * 255, 0, 255)).astype(np.uint8)
        for gamma in (2.0, 0.5)
        for gain in (1.5, 1 / 1.5)
    }
    found = {
        name
        for seed in range(30)
        for name, curve in curves.items()
        if np.array_equal(corrupt(levels, "contrast", 5, seed)[0], curve)
    }
    assert found == set(curves)


@pytest.mark.parametrize(("severity", "ratio"), [(1, 1.5), (5, 6.0)])
def test_a_field_has_the_stated_ratio(severity: int, ratio: float) -> None:
    grey = np.full((200, 240), 180, np.uint8)
    shaded = corrupt(grey, "bias_field", severity, 4).astype(float)
    assert shaded.max() / shaded.min() == pytest.approx(ratio, rel=0.05)
    assert np.percentile(shaded, 99.5) == pytest.approx(180, abs=1)
    smooth = max(np.abs(np.diff(shaded, axis=axis)).max() for axis in (0, 1))
    assert smooth < 0.05 * 180


def test_a_crop_takes_one_side_of_the_head() -> None:
    head = HEADS[0]
    top, bottom, left, right = find_head(head)
    wanted = {
        "top": head[round(top + 0.2 * (bottom - top)) :],
        "bottom": head[: round(bottom - 0.2 * (bottom - top))],
        "left": head[:, round(left + 0.2 * (right - left)) :],
        "right": head[:, : round(right - 0.2 * (right - left))],
    }
    found = {
        name
        for seed in range(30)
        for name, rest in wanted.items()
        if np.array_equal(corrupt(head, "crop", 5, seed), rest)
    }
    assert found == set(wanted)


def test_turns_are_quarters_and_turn_the_stated_share() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    quarters = {np.rot90(grey, number).tobytes(): number for number in range(4)}
    turned = {
        severity: [
            quarters[corrupt(grey, "rot90", severity, seed).tobytes()] for seed in range(500)
        ]
        for severity in SEVERITIES
    }
    assert set(turned[5]) == {1, 2, 3}
    for severity, numbers in turned.items():
        assert np.count_nonzero(numbers) / 500 == pytest.approx(severity / 5, abs=0.06)
    # Who is turned at one severity is turned the same way at the next.
    for weak, strong in zip(turned[2], turned[3], strict=True):
        assert weak in (0, strong)
    again = corrupt(grey, "rot90", 5, 7)
    for _ in range(3):
        again = corrupt(again, "rot90", 5, 7)
    assert np.array_equal(again, grey)


def test_text_is_white_and_stays_in_the_corners() -> None:
    grey = np.full((224, 224), 40, np.uint8)
    reached = []
    for severity in SEVERITIES:
        written = np.mean([corrupt(grey, "text", severity, seed) != 40 for seed in range(20)], 0)
        reached.append(written.mean())
        assert not written[70:-70].any()
        assert not written[:, 105:119].any()
        assert corrupt(grey, "text", severity, 0).max() > 200
    assert 0 < reached[0] < 0.01
    assert 0.02 < reached[-1] < 0.12
