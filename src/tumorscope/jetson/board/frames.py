"""Reads files, folders or a camera as grey slices."""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from tumorscope.images.reading import (
    PICTURE_SUFFIXES,
    UnreadableImageError,
    read_slice,
    why_too_small,
)
from tumorscope.jetson.board.folder import BoardError

if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Set, Tuple

    from numpy.typing import NDArray


class Slice(NamedTuple):
    """A slice, or why it could not be read.

    Attributes:
        path: The file, or the camera.
        number: The camera's frame, from 0; None for a file.
        grey: Grey values 0 to 255, uint8, `[height, width]`; None where there is an error.
        error: What is wrong with the file; else empty.
    """

    path: str
    number: "Optional[int]"
    grey: "Optional[NDArray[np.uint8]]"
    error: str = ""


def find_pictures(paths: "List[str]") -> "Tuple[List[str], List[str]]":
    """Return the files that the paths mean, and the others that lie beside them.

    Of a folder these are its pictures and those of the folders in it, linked ones too.
    """
    found: "List[str]" = []
    others: "List[str]" = []
    for path in paths:
        pictures: "List[str]" = []
        visited: "Set[str]" = set()
        for where, folders, names in os.walk(path, followlinks=True):
            real = os.path.realpath(where)
            if real in visited:  # (A link back.)
                del folders[:]
                continue
            visited.add(real)
            folders.sort()
            for name in sorted(names):
                if name[0] != ".":
                    read = name.lower().endswith(PICTURE_SUFFIXES)
                    (pictures if read else others).append(os.path.join(where, name))  # noqa: PTH118
        found += pictures or [path]
    return found, others


def read_pictures(paths: "List[str]") -> "Iterator[Slice]":
    """Read picture files."""
    for path in paths:
        try:
            yield Slice(path, None, read_slice(path))
        except UnreadableImageError as error:
            yield Slice(path, None, None, str(error)[len(path) + 2 :])


def read_camera(source: str, frames: "Optional[int]") -> "Iterator[Slice]":
    """Read a camera's, or a film's, frames until they end.

    Args:
        source: A camera's number, a film's file, or a GStreamer pipeline.
        frames: At most so many; None for all there are.

    Raises:
        BoardError: There is no OpenCV here, or it cannot open the source.
    """
    try:
        import cv2  # noqa: PLC0415  (only the camera needs it)
    except ImportError:
        raise BoardError("no OpenCV for this Python (cv2): on a Jetson use JetPack's") from None
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        raise BoardError(f"the camera '{source}' cannot be opened")
    number = 0
    try:
        while frames is None or number < frames:
            there, frame = capture.read()
            if not there:
                break
            yield _frame(f"camera {source}", number, frame)
            number += 1
        if not number:
            raise BoardError(f"the camera '{source}' gives no frame")
    finally:
        capture.release()


def _frame(path: str, number: int, frame: "NDArray[Any]") -> Slice:
    """Return a frame of OpenCV's; blue, green and red become luminance as in `read_slice`."""
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if frame.dtype != np.uint8 or (frame.ndim == 3 and frame.shape[2] != 3):
        what = f"{frame.dtype} of shape {list(frame.shape)}"
        return Slice(path, number, None, f"a frame of {what}: grey or BGR of 8 bits is read")
    height, width = frame.shape[:2]
    few = why_too_small(width, height)
    if few:
        return Slice(path, number, None, few)
    if frame.ndim == 3:
        colours = Image.fromarray(np.ascontiguousarray(frame[:, :, ::-1]))
        frame = np.array(colours.convert("L"))
    return Slice(path, number, frame)
