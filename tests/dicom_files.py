"""Pixels and tags come in, a DICOM file as scanners and archives write it goes out."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from heads import head


def dicom(pixels: NDArray[Any], **tags: Any) -> Dataset:
    """A DICOM data set of one or several frames; a tag that is None is left out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "MR"
    colour = pixels.shape[-1] == 3
    dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    if pixels.ndim - colour == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def write_dicom(path: Path, pixels: NDArray[Any], **tags: Any) -> Path:
    """Write an uncompressed file."""
    dicom(pixels, **tags).save_as(path, enforce_file_format=True)
    return path


PATIENT = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "MRN-4711",
    "IssuerOfPatientID": "St. Elsewhere",
    "PatientBirthDate": "19640812",
    "PatientSex": "F",
    "StudyDate": "20210304",
    "StudyTime": "111213",
    "AccessionNumber": "ACC-0815",
    "ReferringPhysicianName": "House^Gregory",
    "StudyID": "STUDY-42",
}
"""What says whose study a series is."""


def write_series(
    folder: Path, *, count: int = 4, seed: int = 1, size: int = 96, **tags: Any
) -> list[Path]:
    """Write an MR series of phantoms as a scanner would; `tags` change what the files say."""
    study = f"1.2.826.0.1.3680043.10.999.{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        image = head(seed, slice_number=number, size=size)
        facts: dict[str, Any] = {
            **PATIENT,
            "StudyInstanceUID": study,
            "SeriesInstanceUID": f"{study}.7",
            "SOPInstanceUID": f"{study}.7.{number + 1}",
            "SeriesNumber": 7,
            "InstanceNumber": number + 1,
            "ImagePositionPatient": [0, 0, 5 * number],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [1, 1],
            "BodyPartExamined": "HEAD",
            **tags,
        }
        facts = {keyword: value for keyword, value in facts.items() if value is not None}
        path = folder / f"{facts['PatientName']} {number:02}.dcm"
        paths.append(write_dicom(path, image.astype(np.uint16) * 8, **facts))
    return paths


def write_enhanced(
    path: Path, frames: list[NDArray[Any]], facts: list[dict[str, Any]], **tags: Any
) -> Path:
    """Write an enhanced MR file; each frame's `position` is a height, `time` a temporal index."""
    dataset = dicom(
        np.stack(frames).astype(np.uint16) * 8,
        SOPClassUID=EnhancedMRImageStorage,
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.4",
        **PATIENT,
        **tags,
    )
    dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [1, 1]
    shared.PixelMeasuresSequence[0].SliceThickness = 5
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for fact in facts:
        group = Dataset()
        if "position" in fact:
            group.PlanePositionSequence = [Dataset()]
            group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, fact["position"]]
        group.FrameContentSequence = [Dataset()]
        group.FrameContentSequence[0].TemporalPositionIndex = fact.get("time", 1)
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_encapsulated(
    path: Path, pixels: NDArray[Any], syntax: str, frames: list[bytes], **tags: Any
) -> Path:
    """Write a file whose frames were compressed beforehand."""
    dataset = dicom(pixels, **tags)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def picture(array: NDArray[Any], form: str, **how: Any) -> bytes:
    """An array as the bytes of a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **how)
    return buffer.getvalue()


def lossless_jpeg(
    pixels: NDArray[Any], *, precision: int = 16, rows: int = 0, shift: int = 0, predictor: int = 1
) -> bytes:
    """Compress by ITU-T T.81, process 14, first predictor, with codes of five bits.

    Args:
        pixels: Unsigned, `[height, width]`.
        precision: Bits of a pixel.
        rows: Rows between restarts; 0 for none.
        shift: Lowest bits that are dropped (the point transform).
        predictor: What the header says.
    """
    height, width = pixels.shape
    values = pixels.astype(np.int64) >> shift
    parts = []
    for top in range(0, height, rows or height):
        part = values[top : top + (rows or height)]
        before = np.zeros_like(part)
        before[:, 1:] = part[:, :-1]
        before[1:, 0] = part[:-1, 0]
        before[0, 0] = 1 << (precision - shift - 1)
        parts.append(_entropy_coded(((part - before + 32767) % 65536 - 32767).ravel()))
    code = b"\xff\xd8" + _segment(
        0xC3, bytes([precision, *height.to_bytes(2), *width.to_bytes(2), 1, 1, 0x11, 0])
    )
    # Every category has the code of five bits that is its own number.
    code += _segment(0xC4, bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)]))
    if rows:
        code += _segment(0xDD, (rows * width).to_bytes(2))
    code += _segment(0xDA, bytes([1, 1, 0, predictor, 0, shift]))
    for number, part in enumerate(parts):
        code += (bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b"") + part
    return code + b"\xff\xd9"


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def _entropy_coded(differences: NDArray[np.int64]) -> bytes:
    bits = []
    for difference in differences.tolist():
        category = 16 if difference == 32768 else abs(difference).bit_length()
        bits.append(f"{category:05b}")
        if 0 < category < 16:
            extra = difference if difference > 0 else difference + (1 << category) - 1
            bits.append(f"{extra:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8)
    return data.replace(b"\xff", b"\xff\x00")
