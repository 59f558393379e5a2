"""Frames are shown as they are meant to be seen: their own window, slope, and component."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from dicom_files import write_dicom
from tumorscope.images.dicom_pixels import other_component
from tumorscope.images.opening import open_slices
from tumorscope.images.slices import SliceChoice
from tumorscope.phantoms.drawing import draw_phantom

GREY = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=64).image
DEEP = GREY.astype(np.uint16) * 16
WINDOW = {"WindowCenter": 1500, "WindowWidth": 3000}


def group(**elements: Any) -> Dataset:
    """A frame's functional groups: the window, the slope and the frame type that are given."""
    whole = Dataset()
    for keyword, names in {
        "FrameVOILUTSequence": ("WindowCenter", "WindowWidth"),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
        "MRImageFrameTypeSequence": ("FrameType", "ComplexImageComponent"),
    }.items():
        item = Dataset()
        for name in names:
            if name in elements:
                setattr(item, name, elements[name])
        if len(item):
            setattr(whole, keyword, Sequence([item]))
    return whole


def enhanced(path: Path, pixels: np.ndarray, *groups: Dataset, **tags: Any) -> Path:
    return write_dicom(
        path, pixels, PerFrameFunctionalGroupsSequence=Sequence(list(groups)), **tags
    )


@pytest.mark.parametrize("slope", [None, 0])
@pytest.mark.parametrize("intercept", [None, 0])
def test_a_slope_that_says_nothing_changes_nothing(
    tmp_path: Path, slope: int | None, intercept: int | None
) -> None:
    path = write_dicom(tmp_path / "a.dcm", DEEP, **WINDOW)
    (plain,) = open_slices(path)
    dataset = dcmread(path)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.save_as(path)
    (image,) = open_slices(path)
    assert np.array_equal(image.grey, plain.grey)


@pytest.mark.parametrize("high_bit", [11, 13, 15])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_the_high_bit_does_not_move_the_values(tmp_path: Path, high_bit: int, kind: type) -> None:
    """As pydicom and GDCM read it: the lowest bits hold the value, whatever the high bit says."""
    pixels = (DEEP // 4).astype(kind)
    path = write_dicom(tmp_path / "a.dcm", pixels, BitsStored=12, HighBit=high_bit)
    (image,) = open_slices(path)
    (plain,) = open_slices(write_dicom(tmp_path / "b.dcm", pixels))
    assert np.array_equal(image.grey, plain.grey)


def test_a_window_is_its_own_frame_s(tmp_path: Path) -> None:
    """The second frame has none: that of the first does not stay for it."""
    path = enhanced(
        tmp_path / "a.dcm", np.stack([DEEP, DEEP // 8]), group(**WINDOW), group(FrameType="M")
    )
    first, second = open_slices(path, SliceChoice(numbers=slice(None)))
    (alone,) = open_slices(write_dicom(tmp_path / "b.dcm", DEEP // 8))
    assert np.array_equal(second.grey, alone.grey)
    (windowed,) = open_slices(write_dicom(tmp_path / "c.dcm", DEEP, **WINDOW))
    assert np.array_equal(first.grey, windowed.grey)


def test_of_magnitude_and_field_map_the_magnitude_is_shown(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 4096, DEEP.shape).astype(np.uint16)
    path = enhanced(
        tmp_path / "a.dcm",
        np.stack([DEEP, noise, np.flipud(DEEP), noise]),
        group(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"]),
        group(FrameType=["ORIGINAL", "PRIMARY", "FIELD_MAP", "NONE"]),
        group(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"], ComplexImageComponent="MAGNITUDE"),
        group(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"], ComplexImageComponent="PHASE"),
    )
    images = list(open_slices(path))
    assert [image.number for image in images] == [0, 2]
    assert not any(image.unsupported for image in images)
    assert images[0].volume == "4 frames of 64 x 64 pixels, 1 of them field map, 1 of them phase"
    (asked,) = open_slices(path, SliceChoice(numbers=slice(1, 2)))
    assert asked.unsupported == "field map, not the magnitude of the signal"


def test_a_file_of_phase_alone_is_unsupported(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", DEEP, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
    (image,) = open_slices(path)
    assert image.unsupported == "phase, not the magnitude of the signal"
    frames = enhanced(
        tmp_path / "b.dcm", np.stack([DEEP] * 2), *[group(FrameType=[*"AB", "P"])] * 2
    )
    assert {image.unsupported for image in open_slices(frames)} == {image.unsupported}


@pytest.mark.parametrize(
    ("words", "component"),
    [
        (["ORIGINAL", "PRIMARY", "M", "ND"], ""),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P"], "phase"),
        (["DERIVED", "PRIMARY", "M", "SUBTRACTION"], ""),
        (["ORIGINAL", "P"], ""),
        ("ORIGINAL", ""),
        (None, ""),
    ],
)
def test_image_type_names_the_component(words: Any, component: str) -> None:
    dataset = Dataset()
    dataset.ImageType = words
    assert other_component(dataset) == component
