"""Each compression has a decoder that survives damaged files; what has none is told."""

import time
from pathlib import Path

import jpeg_ls
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from dicom_files import lossless_jpeg, write_dicom, write_encapsulated
from tumorscope.images.dicom_decoders import can_decode
from tumorscope.images.opening import open_slices
from tumorscope.images.reading import UnreadableImageError
from tumorscope.phantoms.drawing import draw_phantom

GREY = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=64).image
DEEP = GREY.astype(np.uint16) * 16


def test_lossless_jpeg_is_a_plug_in_of_pydicom(tmp_path: Path) -> None:
    code = lossless_jpeg(DEEP, precision=16)
    path = write_encapsulated(tmp_path / "a.dcm", DEEP, JPEGLosslessSV1, [code])
    assert np.array_equal(dcmread(path).pixel_array, DEEP)


@pytest.mark.parametrize("padding", [b"\0", b"\0\0", b"\0" * 9])
@pytest.mark.parametrize("behind", [b"", b"\0"])
def test_jpeg_ls_with_padding_before_its_end(tmp_path: Path, padding: bytes, behind: bytes) -> None:
    code = bytes(jpeg_ls.encode_array(DEEP))
    padded = code[:-2] + padding + code[-2:] + behind
    path = write_encapsulated(tmp_path / "a.dcm", DEEP, JPEGLSLossless, [padded])
    (image,) = open_slices(path)
    (plain,) = open_slices(write_dicom(tmp_path / "b.dcm", DEEP))
    assert np.array_equal(image.grey, plain.grey)


def test_jpeg_ls_cut_off_is_refused(tmp_path: Path) -> None:
    code = bytes(jpeg_ls.encode_array(DEEP))
    path = write_encapsulated(tmp_path / "a.dcm", DEEP, JPEGLSLossless, [code[:-40] + code[-2:]])
    with pytest.raises(UnreadableImageError, match="damaged DICOM file"):
        list(open_slices(path))


def test_jpeg_ls_without_its_end_marker_is_read(tmp_path: Path) -> None:
    code = bytes(jpeg_ls.encode_array(DEEP))
    path = write_encapsulated(tmp_path / "a.dcm", DEEP, JPEGLSLossless, [code[:-2]])
    (image,) = open_slices(path)
    (plain,) = open_slices(write_dicom(tmp_path / "b.dcm", DEEP))
    assert np.array_equal(image.grey, plain.grey)


def test_damaged_jpeg_ls_without_its_end_marker_takes_no_time(tmp_path: Path) -> None:
    header = bytes(jpeg_ls.encode_array(DEEP))[:25]
    path = write_encapsulated(tmp_path / "a.dcm", DEEP, JPEGLSLossless, [header + b"\0"])
    start = time.perf_counter()
    with pytest.raises(UnreadableImageError, match="damaged DICOM file"):
        list(open_slices(path))
    assert time.perf_counter() - start < 1  # (CharLS alone takes 4 s.)


def test_jpeg_ls_that_asks_for_more_pixels_is_refused_unread(tmp_path: Path) -> None:
    code = bytes(jpeg_ls.encode_array(DEEP)).replace(b"\0\x40\0\x40", b"\xff\xff\xff\xff", 1)
    path = write_encapsulated(tmp_path / "a.dcm", DEEP, JPEGLSLossless, [code])
    with pytest.raises(UnreadableImageError, match="damaged DICOM file"):
        list(open_slices(path))


def test_what_is_decoded() -> None:
    assert can_decode(JPEG2000Lossless, bits=16, samples=1)
    assert can_decode(JPEGExtended12Bit, bits=8, samples=1)
    assert not can_decode(JPEGExtended12Bit, bits=12, samples=1)
    assert not can_decode(JPEGLosslessSV1, bits=8, samples=3)
    assert not can_decode(HTJ2KLossless, bits=8, samples=1)
