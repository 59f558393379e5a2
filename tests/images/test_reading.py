"""Pictures of every kind become one grey slice; everything else is refused in one line."""

import io
import itertools
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from png_files import deep_png, png_chunk
from tumorscope.images import UnreadableImageError, read_slice
from tumorscope.images.reading import read_pages

Grey = NDArray[np.uint8]


def _drawing(height: int = 48, width: int = 64) -> Grey:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[:height, :width]
    grey: Grey = np.clip(40 + 2 * x + y + 20 * (x > 2 * y), 0, 255).astype(np.uint8)
    return grey


def _saved(folder: Path, picture: Image.Image, name: str, **options: Any) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def _refusal(path: Path) -> str:
    """The message with which a file is refused: one line that names the file."""
    with pytest.raises(UnreadableImageError) as caught:
        read_slice(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


def _difference(first: Grey, second: Grey) -> float:
    assert first.shape == second.shape
    return float(np.abs(first.astype(int) - second).max())


def test_a_grey_png_comes_back_as_it_is(tmp_path: Path) -> None:
    grey = _drawing()
    result = read_slice(_saved(tmp_path, Image.fromarray(grey), "a.png"))
    assert result.dtype == np.uint8
    assert result.flags.writeable
    np.testing.assert_array_equal(result, grey)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    path = _saved(tmp_path, Image.fromarray(_drawing()), "a.png")
    np.testing.assert_array_equal(read_slice(str(path)), read_slice(path))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_a_jpeg_is_read(tmp_path: Path, options: dict[str, bool]) -> None:
    path = _saved(tmp_path, Image.fromarray(_drawing()), "a.jpg", quality=95, **options)
    assert _difference(read_slice(path), _drawing()) <= 12


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    colours = np.zeros((40, 40, 3), np.uint8)
    colours[:20] = (255, 0, 0)
    colours[20:] = (0, 255, 0)
    grey = read_slice(_saved(tmp_path, Image.fromarray(colours), "a.png"))
    assert grey[0, 0] == 76
    assert grey[-1, 0] == 150


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA"])
def test_grey_stored_in_another_mode_stays_grey(tmp_path: Path, mode: str) -> None:
    path = _saved(tmp_path, Image.fromarray(_drawing()).convert(mode), "a.png")
    assert _difference(read_slice(path), _drawing()) <= 1


def test_a_one_bit_picture_is_black_and_white(tmp_path: Path) -> None:
    grey = np.where(_drawing() > 120, 255, 0).astype(np.uint8)
    path = _saved(tmp_path, Image.fromarray(grey).convert("1"), "a.png")
    np.testing.assert_array_equal(read_slice(path), grey)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_become_black(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.full((40, 40), 200, np.uint8)).convert(mode)
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    picture.putalpha(Image.fromarray(alpha))
    grey = read_slice(_saved(tmp_path, picture, "a.png"))
    assert (grey[:, :10] == 0).all()
    assert np.abs(grey[:, 10:20].astype(int) - 100).max() <= 1
    assert (grey[:, 20:] == 200).all()


def test_a_transparent_colour_of_a_palette_becomes_black(tmp_path: Path) -> None:
    indices = np.zeros((40, 40), np.uint8)
    indices[:20] = 1
    picture = Image.frombytes("P", (40, 40), indices.tobytes())
    picture.putpalette([255, 255, 255, 90, 90, 90])
    grey = read_slice(_saved(tmp_path, picture, "a.png", transparency=0))
    assert (grey[:20] == 90).all()
    assert (grey[20:] == 0).all()


def test_a_transparent_grey_value_becomes_black(tmp_path: Path) -> None:
    grey = np.full((40, 40), 255, np.uint8)
    grey[:20] = 90
    result = read_slice(_saved(tmp_path, Image.fromarray(grey), "a.png", transparency=255))
    assert (result[:20] == 90).all()
    assert (result[20:] == 0).all()


def test_a_cmyk_jpeg_is_read(tmp_path: Path) -> None:
    picture = Image.fromarray(_drawing()).convert("CMYK")
    assert _difference(read_slice(_saved(tmp_path, picture, "a.jpg", quality=95)), _drawing()) <= 12


def test_sixteen_bits_are_scaled_by_their_own_range(tmp_path: Path) -> None:
    """Scanners store 12 bits in 16: the brightest value is white, whatever it is."""
    values = np.linspace(100, 4095, 48 * 64).reshape(48, 64).astype(np.uint16)
    grey = read_slice(_saved(tmp_path, Image.fromarray(values), "a.png"))
    expected = (values - 100.0) * 255 / 3995
    assert grey.min() == 0
    assert grey.max() == 255
    assert np.abs(grey - expected).max() <= 0.5


def test_a_flat_sixteen_bit_picture_is_black(tmp_path: Path) -> None:
    path = _saved(tmp_path, Image.fromarray(np.full((40, 40), 3000, np.uint16)), "a.png")
    assert not read_slice(path).any()


STORED: dict[int, Callable[[Grey], Grey]] = {
    1: lambda grey: grey,
    2: np.fliplr,
    3: lambda grey: np.rot90(grey, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda grey: np.rot90(grey, 1),
    7: lambda grey: np.rot90(grey, 2).T,
    8: lambda grey: np.rot90(grey, -1),
}
"""How a camera stores an upright picture for each EXIF orientation."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_exif_rotation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](_drawing())))
    path = _saved(tmp_path, stored, f"a.{suffix}", exif=exif)
    assert _difference(read_slice(path), _drawing()) <= (0 if suffix == "png" else 25)


def test_of_an_animated_png_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((40, 40), grey, np.uint8)) for grey in (50, 200)]
    path = _saved(tmp_path, frames[0], "a.png", save_all=True, append_images=frames[1:])
    assert (read_slice(path) == 50).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_cut_off_anywhere_is_refused(tmp_path: Path, options: dict[str, bool]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(_drawing()).save(buffer, "JPEG", **options)
    content, path = buffer.getvalue(), tmp_path / "cut.jpg"
    ends = [*range(2, 40), *range(40, len(content) - 60, 37)]
    reasons = set()
    for end in ends:
        path.write_bytes(content[:end])
        reasons.add(_refusal(path))
    assert reasons <= {
        "damaged picture, it ends too early",
        "damaged picture, its data is broken",
        "not a JPEG, PNG, TIFF, BMP, GIF or WebP picture",
    }
    assert "damaged picture, it ends too early" in reasons


def test_a_png_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    content = _saved(tmp_path, Image.fromarray(_drawing()), "a.png").read_bytes()
    path = tmp_path / "cut.png"
    for end in range(8, len(content) - 30, 11):
        path.write_bytes(content[:end])
        assert _refusal(path)


@pytest.mark.parametrize("content", [b"", b"this is text, not a picture\n" * 20, bytes(500)])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "slice.jpg"
    path.write_bytes(content)
    assert _refusal(path) == "not a JPEG, PNG, TIFF, BMP, GIF or WebP picture"


@pytest.mark.parametrize("form", ["TIFF", "BMP", "GIF", "WEBP"])
def test_other_formats_are_read_whatever_they_are_called(tmp_path: Path, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    path = _saved(tmp_path, Image.fromarray(_drawing()), "a.png", format=form, **options)
    assert _difference(read_slice(path), _drawing()) <= 1


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_black_and_dims_nothing(tmp_path: Path, nothing: float) -> None:
    values = np.linspace(1000, 2000, 64 * 64, dtype=np.float32).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / "whole.tif")
    values[2] = nothing
    Image.fromarray(values).save(tmp_path / "a.tif")
    whole, found = (read_slice(tmp_path / name) for name in ("whole.tif", "a.tif"))
    assert not found[2].any()
    assert np.array_equal(np.delete(found, 2, axis=0), np.delete(whole, 2, axis=0))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_tiff_of_every_depth(tmp_path: Path, compression: str | None, kind: type) -> None:
    values = np.clip(_drawing(), 0, 255).astype(kind)
    path = _saved(tmp_path, Image.fromarray(values), "a.tif", compression=compression)
    grey = _drawing().astype(float)
    expected = grey if kind is np.uint8 else (grey - grey.min()) * 255 / np.ptp(grey)
    assert np.abs(read_slice(path) - expected).max() <= 0.5


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP"])
def test_a_file_of_several_pages_is_no_single_slice(tmp_path: Path, form: str) -> None:
    frames = [Image.fromarray(np.full((40, 40), grey, np.uint8)) for grey in (50, 120, 200)]
    path = tmp_path / "a.tif"
    frames[0].save(path, form, save_all=True, append_images=frames[1:])
    assert _refusal(path) == "3 pages in one file: split it"
    assert [int(page.mean().round(-1)) for page in read_pages(path)] == [50, 120, 200]


def _deep_tiff(
    channels: NDArray[Any],
    order: str = "<",
    *,
    extra: int = 2,
    photometric: int = 2,
    compression: int = 1,
    planar: int = 1,
) -> bytes:
    """A TIFF file of 16 or 32 bits, one strip."""
    height, width, count = channels.shape
    values = channels.astype(channels.dtype.newbyteorder(order)).tobytes()
    values = zlib.compress(values) if compression == 8 else values
    bits, sample_format = 8 * channels.itemsize, 3 if channels.dtype.kind == "f" else 1
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, count, bits if count == 1 else 200),
        (259, 3, 1, compression), (262, 3, 1, photometric), (273, 4, 1, 256), (277, 3, 1, count),
        (278, 4, 1, height), (279, 4, 1, len(values)), (284, 3, 1, planar),
    ]  # fmt: skip
    if count == 4:
        tags.append((338, 3, 1, extra))
    if count == 1:
        tags.append((339, 3, 1, sample_format))
    content = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    for tag, kind, number, value in tags:
        form = "HHIHxx" if kind == 3 and number == 1 else "HHII"
        content += struct.pack(f"{order}{form}", tag, kind, number, value)
    content = content.ljust(200, b"\0") + struct.pack(f"{order}{count}H", *[bits] * count)
    return content.ljust(256, b"\0") + values


@pytest.mark.parametrize(
    ("form", "count"),
    [("png", 2), *itertools.product(("png", "little-endian tiff", "big-endian tiff"), (3, 4))],
)
def test_twelve_bits_in_sixteen_of_several_channels(tmp_path: Path, form: str, count: int) -> None:
    values = np.linspace(0, 4095, 40 * 50).reshape(40, 50).astype(np.uint16)
    opaque = np.full_like(values, 65535)
    channels = np.stack([values] * (count if count % 2 else count - 1), axis=-1)
    if count % 2 == 0:
        channels = np.dstack([channels, opaque])
    order = ">" if form.startswith("big") else "<"
    content = deep_png(channels) if form == "png" else _deep_tiff(channels, order)
    (tmp_path / "a.img").write_bytes(content)
    grey = read_slice(tmp_path / "a.img")
    assert np.abs(grey - values * (255 / 4095)).max() <= 0.51
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    assert "damaged" in _refusal(tmp_path / "cut.png")


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("count", "extra"), [(3, 0), (4, 0), (4, 1), (4, 2)])
def test_twelve_bits_in_sixteen_however_a_tiff_file_holds_them(
    tmp_path: Path, compression: int, order: str, count: int, extra: int
) -> None:
    values = np.linspace(0, 4095, 40 * 50).reshape(40, 50).astype(np.uint16)
    channels = np.stack([values] * 3 + [np.full_like(values, 65535)] * (count - 3), axis=-1)
    content = _deep_tiff(channels, order, extra=extra, compression=compression)
    (tmp_path / "a.tif").write_bytes(content)
    assert np.abs(read_slice(tmp_path / "a.tif") - values * (255 / 4095)).max() <= 0.51


def test_deep_colours_that_were_multiplied_by_their_alpha_are_shown_on_black(
    tmp_path: Path,
) -> None:
    values = np.linspace(0, 2000, 40 * 50).reshape(40, 50, 1).astype(np.uint16)
    channels = np.concatenate([values] * 3 + [np.full_like(values, 32768)], axis=-1)
    (tmp_path / "a.tif").write_bytes(_deep_tiff(channels, extra=1))
    grey = read_slice(tmp_path / "a.tif")
    assert np.abs(grey - values[..., 0] * (255 / 2000)).max() <= 0.51


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
@pytest.mark.parametrize("photometric", [0, 1])
def test_deep_grey_in_which_0_is_white_is_not_read_as_a_negative(
    tmp_path: Path, photometric: int, kind: type, compression: int
) -> None:
    values = np.linspace(0, 4095, 40 * 50).reshape(40, 50, 1).astype(kind)
    content = _deep_tiff(values, photometric=photometric, compression=compression)
    (tmp_path / "a.tif").write_bytes(content)
    expected = values[..., 0] * (255 / 4095)
    expected = expected if photometric else 255 - expected
    assert np.abs(read_slice(tmp_path / "a.tif") - expected).max() <= 0.51


@pytest.mark.parametrize("compression", [1, 8])
def test_deep_colours_in_planes_are_refused(tmp_path: Path, compression: int) -> None:
    channels = np.zeros((40, 50, 3), np.uint16)
    (tmp_path / "a.tif").write_bytes(_deep_tiff(channels, planar=2, compression=compression))
    assert "planes, which are not read: save it" in _refusal(tmp_path / "a.tif")
    grey = np.linspace(0, 255, 40 * 50).reshape(40, 50, 1).astype(np.uint16)
    (tmp_path / "b.tif").write_bytes(_deep_tiff(grey, planar=2, photometric=1, compression=8))
    assert np.abs(read_slice(tmp_path / "b.tif") - grey[..., 0].astype(int)).max() == 0


def test_all_pages_together_are_counted_before_they_fill_the_memory(tmp_path: Path) -> None:
    small, large = Image.new("1", (32, 32)), Image.new("1", (7000, 7000))
    path = tmp_path / "a.tif"
    small.save(path, save_all=True, append_images=[large] * 5, compression="group4")
    with pytest.raises(UnreadableImageError, match=r"a\.tif: 6 pages, too large together, refused"):
        for _ in read_pages(path):
            pass


def test_deep_colours_become_luminance_and_transparent_ones_black(tmp_path: Path) -> None:
    channels = np.zeros((40, 40, 4), np.uint16)
    channels[..., 3] = 65535
    channels[:10, :, 0], channels[10:20, :, 1], channels[20:30, :, 2] = 4095, 4095, 4095
    channels[30:, :, :3], channels[35:, :, 3] = 4095, 0
    (tmp_path / "a.png").write_bytes(deep_png(channels))
    grey = read_slice(tmp_path / "a.png")
    assert grey[[0, 10, 20, 30, 35], 0].tolist() == [76, 150, 29, 255, 0]


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "none.png") == "no such file"
    assert _refusal(tmp_path) == "a folder, not a picture"


def test_what_the_system_refuses_to_open_is_refused_in_its_words(tmp_path: Path) -> None:
    assert _refusal(tmp_path / ("long" * 100)) == "cannot be read (File name too long)"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (31, 200), (200, 31)])
def test_a_picture_with_too_few_pixels_is_refused(tmp_path: Path, width: int, height: int) -> None:
    path = _saved(tmp_path, Image.new("L", (width, height), 9), "small.png")
    assert _refusal(path) == f"{width}x{height} pixels are too few (at least 32 a side)"


@pytest.mark.parametrize("side", [7_100, 10_000, 40_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    zeros = zlib.compress(bytes(1_000_000))
    path = tmp_path / "huge.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zeros)
        + png_chunk(b"IEND", b"")
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert _refusal(path) == "more than 50 million pixels, refused"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000, "kilobytes: the 50 million pixels alone would take more"


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_huge_picture_is_refused_alike_where_warnings_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b""))
    assert _refusal(path) == "more than 50 million pixels, refused"


def _valid_files() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(_drawing())
    deep = Image.fromarray(_drawing().astype(np.uint16) * 16)
    kinds: list[tuple[Image.Image, dict[str, Any]]] = [
        (grey, {"format": "JPEG", "exif": exif}),
        (grey.convert("RGB"), {"format": "JPEG", "progressive": True}),
        (grey.convert("CMYK"), {"format": "JPEG"}),
        (grey, {"format": "PNG", "exif": exif}),
        (grey.convert("P"), {"format": "PNG", "transparency": 3}),
        (grey.convert("RGBA"), {"format": "PNG"}),
        (deep, {"format": "PNG"}),
        (grey, {"format": "TIFF", "compression": "tiff_lzw"}),
        (deep, {"format": "TIFF"}),
        (grey, {"format": "BMP"}),
        (grey, {"format": "GIF"}),
        (grey, {"format": "WEBP"}),
    ]
    files = []
    for picture, options in kinds:
        buffer = io.BytesIO()
        picture.save(buffer, **options)
        files.append(buffer.getvalue())
    return files


VALID_FILES = _valid_files()


@settings(max_examples=500, deadline=None)
@given(
    content=st.sampled_from(VALID_FILES),
    changes=st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 255)), max_size=12),
    cut=st.none() | st.tuples(st.floats(0, 1), st.integers(1, 60)),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damage_of_any_kind_gives_a_slice_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    changes: list[tuple[float, bool, int]],
    cut: tuple[float, int] | None,
) -> None:
    damaged = bytearray(content)
    for place, in_the_head, value in changes:
        damaged[int(place * (min(200, len(content)) if in_the_head else len(content)) - 1)] = value
    if cut:
        start = int(cut[0] * len(damaged))
        del damaged[start : start + cut[1]]
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(bytes(damaged))
    try:
        grey = read_slice(path)
    except UnreadableImageError as refusal:
        message = str(refusal)
        assert message.startswith(f"{path}: ")
        assert len(message.splitlines()) == 1
    else:
        assert grey.ndim == 2
        assert grey.dtype == np.uint8
