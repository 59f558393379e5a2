"""Reads files, folders or a camera as grey slices."""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from tumorscope.images.reading import PICTURE_SUFFIXES, UnreadableImageError, read_slice
from tumorscope.jetson.board.folder import BoardError

if TYPE_CHECKING:
    from typing import Iterator, List, Optional

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


def find_pictures(paths: "List[str]") -> "List[str]":
    """Return the files that the paths mean: a folder's pictures, and those of the folders in it."""
    found = []
    for path in paths:
        pictures = []
        for where, folders, names in os.walk(path):
            folders.sort()
            pictures += [
                os.path.join(where, name)  # noqa: PTH118  (as os.walk gives it)
                for name in sorted(names)
                if name.lower().endswith(PICTURE_SUFFIXES) and name[0] != "."
            ]
        found += pictures or [path]
    return found


def read_pictures(paths: "List[str]") -> "Iterator[Slice]":
    """Read JPEG and PNG files, and the ones in folders."""
    for path in find_pictures(paths):
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
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        raise BoardError(f"the camera '{source}' cannot be opened")
    number = 0
    try:
        while frames is None or number < frames:
            there, frame = capture.read()
            if not there:
                return
            yield Slice(f"camera {source}", number, _to_grey(frame))
            number += 1
    finally:
        capture.release()


def _to_grey(frame: "NDArray[Any]") -> "NDArray[np.uint8]":
    """Return OpenCV's blue, green and red as luminance, by the same rule as `read_slice`."""
    if frame.ndim == 2:
        return frame
    return np.array(Image.fromarray(np.ascontiguousarray(frame[:, :, ::-1])).convert("L"))
