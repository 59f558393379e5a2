"""Files in memory are read as files on a disk are, and slices say where in the patient they lie."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info

from dicom_files import dicom, write_dicom
from tumorscope.images.dicom import read_file_header
from tumorscope.images.opening import open_slices
from tumorscope.images.reading import FileInMemory, UnreadableImageError
from tumorscope.images.slices import SliceChoice
from tumorscope.phantoms.drawing import draw_phantom

GREY = draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=2, size=72).image


def in_memory(path: Path) -> FileInMemory:
    return FileInMemory(str(path), path.read_bytes())


def volume(path: Path, affine: Any, kind: Any = nibabel.Nifti1Image) -> Path:
    values = np.stack([GREY.T[::-1, ::-1].astype(np.int16) + n for n in range(6)], axis=-1)
    nibabel.save(kind(values, affine), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(GREY).save(folder / "a.png")
    write_dicom(folder / "no ending", GREY)
    volume(folder / "v.nii.gz", np.diag([1, 1, 4, 1]))
    volume(folder / "w.nii", np.diag([1, 1, 4, 1]), nibabel.Nifti2Image)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff damaged")
    (folder / "text.nii").write_text("no volume")
    (folder / "notes.dcm").write_text("no picture")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["a.png", "no ending", "v.nii.gz", "w.nii"])
def test_memory_and_disk_give_the_same_slices(files: dict[str, Path], name: str) -> None:
    disk, memory = list(open_slices(files[name])), list(open_slices(in_memory(files[name])))
    assert len(disk) == len(memory) > 0
    for one, other in zip(disk, memory, strict=True):
        assert (one.path, one.number, one.volume) == (other.path, other.number, other.volume)
        np.testing.assert_array_equal(one.grey, other.grey)


@pytest.mark.parametrize("name", ["broken.jpg", "text.nii", "notes.dcm"])
def test_memory_and_disk_fail_in_the_same_words(files: dict[str, Path], name: str) -> None:
    messages = []
    for file in (files[name], in_memory(files[name])):
        with pytest.raises(UnreadableImageError) as caught:
            list(open_slices(file))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_name_of_a_file_in_memory_is_never_opened(files: dict[str, Path]) -> None:
    with pytest.raises(UnreadableImageError, match="not a JPEG, PNG, TIFF"):
        list(open_slices(FileInMemory(str(files["a.png"]), b"nothing of the kind")))


def test_packed_nifti_that_hides_its_voxels_far_away_is_refused_at_once() -> None:
    header = bytearray(nibabel.Nifti1Image(np.zeros((64, 64, 4), np.int16), np.eye(4)).to_bytes())
    header[108:112] = np.float32(3e9).tobytes()
    trap = FileInMemory("trap.nii.gz", gzip.compress(bytes(header)))
    with pytest.raises(UnreadableImageError, match="no voxels where it says"):
        list(open_slices(trap))


def test_dicom_file_packed_as_a_whole_is_refused_unread() -> None:
    dataset = dicom(GREY)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    buffer = DicomBytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(buffer, dataset.file_meta, enforce_standard=False)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(50_000_000)) + packer.flush()
    file = FileInMemory("bomb.dcm", buffer.getvalue() + bomb)
    with pytest.raises(UnreadableImageError, match="packed as a whole: save it uncompressed"):
        list(open_slices(file))
    assert read_file_header(file) is None


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1)])
def test_slices_of_a_volume_say_where_they_lie(
    tmp_path: Path, axis: str, flip: tuple[int, ...]
) -> None:
    """The voxel at a place in mm is the pixel that the slice's matrix puts there."""
    random = np.random.default_rng(1)
    values = random.integers(0, 250, (40, 44, 48)).astype(np.uint8)
    affine = np.diag([*flip, 1]).astype(float)
    affine[:3, 3] = 5, -7, 11
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "v.nii")
    slices = list(open_slices(tmp_path / "v.nii", SliceChoice(axis, slice(10, 13))))
    for image in slices:
        assert image.grey is not None
        assert image.affine is not None
        for row, column in random.integers(0, min(image.grey.shape), (5, 2)):
            place = image.affine @ (column, row, 0, 1)
            voxel = np.rint(np.linalg.solve(affine, place)).astype(int)[:3]
            assert values[tuple(voxel)] == image.grey[row, column]
    first, second = slices[0].affine, slices[1].affine
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first @ (0, 0, 1, 1), second @ (0, 0, 0, 1))


def test_oblong_pixels_keep_the_middle_of_the_slice_where_it_is(tmp_path: Path) -> None:
    affine = np.diag([1.0, 2.0, 6.0, 1.0])
    (first, *_) = open_slices(volume(tmp_path / "v.nii", affine))
    assert first.grey is not None
    assert first.affine is not None
    assert first.grey.shape == (144, 72)
    middle = first.affine @ (71 / 2, 143 / 2, 0, 1)
    np.testing.assert_allclose(middle[:2], [71 / 2, 2 * 71 / 2])
    np.testing.assert_allclose(np.linalg.norm(first.affine[:3, :2], axis=0), [1, 1])


def test_dicom_slices_say_where_they_lie(tmp_path: Path) -> None:
    axial = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SliceThickness": 5}
    path = write_dicom(
        tmp_path / "a.dcm",
        GREY,
        PixelSpacing=[0.5, 0.5],
        ImagePositionPatient=[-90, -100, 30],
        **axial,
    )
    (image,) = open_slices(path)
    assert image.affine is not None
    # The first pixel: DICOM's left and back are positive, here right and front are.
    np.testing.assert_allclose(image.affine @ (0, 0, 0, 1), [90, 100, 30, 1])
    np.testing.assert_allclose(image.affine @ (2, 4, 1, 1), [89, 98, 35, 1])
    nowhere = write_dicom(tmp_path / "b.dcm", GREY, PixelSpacing=[0.5, 0.5])
    senseless = write_dicom(
        tmp_path / "c.dcm",
        GREY,
        PixelSpacing=[0.5, 0.5],
        ImagePositionPatient=[0, 0, 0],
        ImageOrientationPatient=[1, 0, 0, 1, 0, 0],
    )
    for file in (nowhere, senseless):
        (image,) = open_slices(file)
        assert image.affine is None
