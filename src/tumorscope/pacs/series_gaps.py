"""Reads from received files whether their series lacks images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import dcmread

from tumorscope.images.dicom_header import read_header
from tumorscope.images.slice_header import SliceHeader
from tumorscope.series.completeness import missing_slices


def missing_images(paths: Sequence[Path]) -> str:
    """Return what a series seems to lack, in words; empty when it seems whole.

    Args:
        paths: The files of one series; those that cannot be read tell nothing.
    """
    return missing_slices([header for path in paths for header in _headers(path)])


def _headers(path: Path) -> Iterator[SliceHeader]:
    try:
        dataset = dcmread(path, stop_before_pixels=True, force=True)
        # (A damaged NumberOfFrames may be of any size; frames that are not described tell nothing.)
        described = len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
        frames = min(int(dataset.get("NumberOfFrames") or 1), described)
    except Exception:  # noqa: BLE001  (pydicom raises nearly anything on damage)
        return
    for frame in range(frames) if frames > 1 else [None]:
        yield read_header(dataset, str(path), frame=frame)
