"""Reads NIfTI files into grey slices, the right way up.

nibabel is imported when a volume is read.
"""

import gzip
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from tumorscope.images.reading import (
    MINIMUM_SIDE,
    FileInMemory,
    UnreadableImageError,
    name_of,
    upload_of,
)
from tumorscope.images.slice_header import SliceHeader, digest_of, direction
from tumorscope.images.slices import (
    AXES,
    File,
    SliceChoice,
    SliceImage,
    check_size,
    choose,
    damaged,
    head_shares,
    resampled,
    square_pixels,
    square_shape,
    to_grey,
    why_headless,
)
from tumorscope.images.suitability import why_unsuitable
from tumorscope.images.volume_files import MAXIMUM_VOXELS, open_volume

_LATEST_START: Final = 16_000_000
"""Bytes before the voxels; a header that says more is damaged, or a trap in a compressed file."""

_MOST_READ_ON: Final = 2_000_000_000
"""Bytes behind the voxels that are unpacked to get to the checksum, at the most."""

_NOT_PACKED: Final = "Not a gzipped file"
"""What gzip's error says of bytes behind the end of a file."""

_ACROSS: Final = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The axis, towards right, front and top, along which the slices of a plane lie."""

_THICK: Final = 1.5
"""A volume was acquired slice by slice when its voxels are so much longer in one direction."""


def read_nifti(path: File, choice: SliceChoice) -> Iterator[SliceImage]:
    """Read the slices of a volume.

    The volume is turned to the nearest of the standard orientations (nothing is interpolated).
    Axial slices have the front at the top and the patient's right on the left, as radiologists
    see them; coronal ones the top at the top; sagittal ones the nose on the left. Oblong pixels
    are made square. Of several volumes (a time series, or channels) one is taken, and that is said.

    Args:
        path: The file, on a disk or in memory: NIfTI, or what `volume_files` reads.
        choice: Which slices; left open, the plane is that in which the volume was acquired (axial
            for cubic voxels), the slices are those with enough head, and the volume is the first.

    Yields:
        The slices; one without a picture when there is nothing that can be classified.

    Raises:
        UnreadableImageError: The file is missing, damaged or too large.
    """
    name = name_of(path)
    try:
        with _stream(path) as file:
            volume, affine, note = _read(file, path, choice.volume)
            _read_on(file)
        header = SliceHeader(file=name, upload=upload_of(path), is_volume=True)
        if volume is None:
            yield SliceImage(name, None, None, unsupported=note, header=header)
            return
        yield from _cut(header, volume, affine, choice, note)
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError(f"{name}: no such file") from None
    except Exception as error:  # nibabel and the decompressors raise nearly anything on damage.
        raise damaged(name, "NIfTI file", error) from error


@contextmanager
def _stream(file: File) -> Iterator[BinaryIO]:
    """Open a file and unpack it as it is read."""
    if isinstance(file, FileInMemory):
        packed: BinaryIO = io.BytesIO(file.content)
    else:
        packed = open(file, "rb")  # noqa: PTH123, SIM115  (a stream of many paths; closed below)
    with packed:
        compressed = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        if not compressed:
            yield packed
            return
        with gzip.GzipFile(fileobj=packed) as unpacked:
            yield cast(BinaryIO, unpacked)


def _read_on(file: BinaryIO) -> None:
    """Read what is left of a compressed file, for its checksum stands at its end.

    Raises:
        OSError: The checksum is wrong.
        EOFError: The file ends too early.
    """
    left = _MOST_READ_ON if isinstance(file, gzip.GzipFile) else 0
    try:
        while left > 0 and (part := file.read(1 << 20)):
            left -= len(part)
    except gzip.BadGzipFile as error:
        if _NOT_PACKED not in str(error):  # (What comes behind the checksum is no part of it.)
            raise


def _image(file: BinaryIO, path: File) -> Any:
    """Read the header; the voxels are read when they are asked for.

    Raises:
        UnreadableImageError: It is no header of a volume, or the voxels stand too far behind it.
    """
    import nibabel  # noqa: PLC0415  (only where NIfTI is read)

    name = name_of(path)
    start = file.read(540)
    file.seek(0)
    kinds: tuple[Any, ...] = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    for kind in kinds:
        header = kind.header_class
        pair = b"ni1" in start[344:347] or b"ni2" in start[4:7]
        if pair or not header.may_contain_header(start):
            continue
        # (A float in the first version of the format, an integer in the second.)
        offset = header(start[: header.sizeof_hdr], check=False)["vox_offset"].item()
        if not 0 <= offset <= _LATEST_START:
            raise UnreadableImageError(f"{name}: damaged NIfTI file (no voxels where it says)")
        return kind.from_stream(file)
    return open_volume(file, path)


def _read(
    file: BinaryIO, path: File, wanted: int | None
) -> tuple[NDArray[Any] | None, NDArray[np.float64], str]:
    """Return the volume, its axes towards right, front and top, its affine matrix and a note.

    Instead of a volume that cannot be classified, None comes with the reason as the note.
    """
    import nibabel  # noqa: PLC0415  (only where NIfTI is read)

    name = name_of(path)
    image = _image(file, path)
    shape = (*image.shape, 1, 1)[: max(3, len(image.shape))]
    if image.get_data_dtype().kind not in "iuf":
        return None, np.eye(4), "voxels of colours or complex numbers, not a scan"
    if len(image.shape) < 2 or min(shape) < 1:
        raise UnreadableImageError(f"{name}: a file of shape {image.shape}, not a volume")
    if math.prod(shape[:3]) > MAXIMUM_VOXELS:
        raise UnreadableImageError(
            f"{name}: more than {MAXIMUM_VOXELS // 1_000_000} million voxels, refused"
        )
    if not np.isfinite(image.affine).all():
        raise UnreadableImageError(f"{name}: damaged NIfTI file (its orientation is no number)")
    turn = nibabel.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    if np.isnan(turn).any():
        raise UnreadableImageError(f"{name}: damaged NIfTI file (its orientation is degenerate)")
    channels_first = len(shape) == 4 and shape[0] < MINIMUM_SIDE <= min(shape[1:3])
    if channels_first and shape[0] <= shape[3]:  # (Fewer volumes than slices are echoes.)
        raise UnreadableImageError(
            f"{name}: its channels stand first ({' x '.join(map(str, shape))}): put them last"
        )
    count, number = math.prod(shape[3:]), wanted or 0
    if number >= count:
        held = f"{count} volumes (0 to {count - 1})" if count > 1 else "one volume, number 0"
        raise UnreadableImageError(f"{name}: it holds {held}, not a volume {number}")
    note = f"number {number} of {count} volumes, counted from 0" if number else ""
    note = note or (f"the first of {count} volumes" if count > 1 else "")
    spatial = (slice(None),) * min(3, len(image.shape))
    further = np.unravel_index(number, shape[3:], order="F") if shape[3:] else ()
    voxels = image.dataobj[spatial + tuple(int(index) for index in further)]
    volume = nibabel.apply_orientation(np.asanyarray(voxels).reshape(shape[:3]), turn)  # type: ignore[no-untyped-call]
    turned = nibabel.orientations.inv_ornt_aff(turn, shape[:3])  # type: ignore[no-untyped-call]
    return volume, np.asarray(image.affine @ turned, dtype=np.float64), note


def _acquired_plane(shape: tuple[int, ...], spacing: tuple[float, ...]) -> str:
    """Return the plane of a single slice, or of the thickest voxels; axial when they are cubes."""
    planes = {across: plane for plane, across in _ACROSS.items()}
    if 1 in shape:
        return planes[shape.index(1)]
    order = np.argsort(spacing)
    thick = spacing[order[2]] > _THICK * spacing[order[1]]
    return planes[int(order[2])] if thick else AXES[0]


def _cut(
    header: SliceHeader,
    volume: NDArray[Any],
    affine: NDArray[np.float64],
    choice: SliceChoice,
    note: str,
) -> Iterator[SliceImage]:
    """Yield the chosen slices of a volume whose axes point to right, front and top."""
    name = header.file
    spacing = tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    plane = choice.axis or _acquired_plane(volume.shape, spacing)
    across = _ACROSS[plane]
    columns, rows = (axis for axis in range(3) if axis != across)
    shape = (volume.shape[rows], volume.shape[columns])
    check_size(name, *square_shape(shape, spacing[rows], spacing[columns]))
    count = volume.shape[across]
    shares = head_shares(volume, across)
    numbers = choose(name, count, choice, shares)
    size = " x ".join(f"{length:.3g}" for length in spacing)
    voxels = " x ".join(map(str, volume.shape))
    about = f"{voxels} voxels of {size} mm, {len(numbers)} of {count} {plane} slices"
    about += f", {note}" if note else ""
    if not numbers:
        reason = "no head stands out from the background in this volume"
        yield SliceImage(name, None, None, reason, volume=about, note=note, header=header)
    for number in numbers:
        values = np.moveaxis(volume, across, 0)[number].T[::-1, ::-1]
        grey = np.array(values) if values.dtype == np.uint8 else to_grey(values)
        reason = why_unsuitable(grey) or why_headless(shares[number])
        square = square_pixels(grey, spacing[rows], spacing[columns])
        # A slice's columns and rows count from left and top, the volume's from right and bottom.
        into_volume = np.zeros((4, 4))
        into_volume[[columns, rows, across, 3], range(4)] = -1, -1, 1, 1
        into_volume[[columns, rows, across], 3] = shape[1] - 1, shape[0] - 1, number
        place = affine @ into_volume @ resampled(grey.shape, square.shape)
        here = replace(
            header,
            frame=number,
            position=tuple(place[:3, 3].tolist()),
            orientation=direction(
                (place[:3, :2] / np.linalg.norm(place[:3, :2], axis=0)).T.ravel()
            ),
            digest=digest_of(square),
        )
        shown = number if count > 1 else None
        yield SliceImage(name, shown, square, reason, about, note, here, place)
