"""A file is what its content says, whatever it is called."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_files import dicom, write_dicom
from tumorscope.images.opening import open_slices
from tumorscope.images.reading import FileInMemory, UnreadableImageError
from tumorscope.phantoms.drawing import draw_phantom

GREY = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=64).image
DEEP = GREY.astype(np.uint16) * 16


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.nii", "a", "a.txt", "a.dcm.bak"])
@pytest.mark.parametrize("form", ["PNG", "DICOM"])
def test_the_ending_does_not_matter(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / name
    if form == "PNG":
        Image.fromarray(GREY).save(path, "PNG")
    else:
        write_dicom(path, GREY)
    (image,) = open_slices(path)
    assert np.array_equal(image.grey, GREY)
    (image,) = open_slices(FileInMemory(name, path.read_bytes()))
    assert np.array_equal(image.grey, GREY)


@pytest.mark.parametrize("syntax", ["explicit", ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("meta", [True, False])
def test_dicom_without_preamble_or_ending(tmp_path: Path, syntax: str, meta: bool) -> None:  # noqa: FBT001
    dataset = dicom(DEEP)
    if syntax != "explicit":
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = DEEP.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "IM0001"
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()[132:]
    if not meta:
        content = content[12 + int.from_bytes(content[8:12], "little") :]
    path.write_bytes(content)
    (image,) = open_slices(path)
    (plain,) = open_slices(write_dicom(tmp_path / "b.dcm", DEEP))
    assert np.array_equal(image.grey, plain.grey)


def test_dicom_that_begins_like_a_tiff_file_is_dicom(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.tif", GREY)
    content = path.read_bytes()
    path.write_bytes(b"II*\0" + content[4:])
    (image,) = open_slices(path)
    assert np.array_equal(image.grey, GREY)


def test_pages_are_slices(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.roll(GREY, shift, 1)) for shift in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    images = list(open_slices(tmp_path / "a.tif"))
    assert [image.number for image in images] == [0, 1, 2]
    assert all(np.array_equal(image.grey, page) for image, page in zip(images, pages, strict=True))


def test_a_small_page_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    page = Image.fromarray(GREY)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page.resize((20, 20)), page])
    first, small, last = open_slices(tmp_path / "a.tif")
    assert (first.unsupported, last.unsupported) == ("", "")
    assert small.unsupported == "20x20 pixels are too few (at least 32 a side)"
    assert [image.number for image in (first, small, last)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xyz", b"something else", "not an image file of a kind that is read (docs/inputs.md)"),
        ("IM1", b"", "an empty file"),
        ("a.dcm", b"", "a DICOM file without a picture"),
        ("a.nii.gz", b"", "an empty file"),
        ("a.png", b"", "an empty file"),
        ("a.jpg", b"text", "not a JPEG, PNG, TIFF, BMP, GIF or WebP picture"),
        ("a.dcm", b"text" * 50, "a DICOM file without"),
        ("a.nii", b"text", "damaged NIfTI file"),
    ],
)
def test_what_is_none_of_these_is_named(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for file in (tmp_path / name, FileInMemory(name, content)):
        with pytest.raises(UnreadableImageError) as caught:
            list(open_slices(file))
        assert reason in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "slice.png"
    os.mkfifo(pipe)
    with pytest.raises(UnreadableImageError, match="not a file but a pipe"):
        list(open_slices(pipe))
