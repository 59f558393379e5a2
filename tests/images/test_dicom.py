"""DICOM files of every kind become the slices that a viewer would show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    MPEG2MPML,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_files import (
    dicom,
    lossless_jpeg,
    picture,
    write_dicom,
    write_encapsulated,
    write_enhanced,
)
from tumorscope.images import UnreadableImageError
from tumorscope.images.lossless_jpeg import LosslessJpegError, decode_lossless_jpeg
from tumorscope.images.opening import open_slices
from tumorscope.images.slices import SliceChoice, SliceImage
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.series.finding import find_files
from tumorscope.series.grouping import group_series

GREY = draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=2, size=96).image
DEEP = (GREY.astype(np.uint16) << 4) + np.arange(96, dtype=np.uint16) % 16


def read(path: Path, numbers: str | None = None) -> SliceImage:
    (only,) = open_slices(path, SliceChoice.parse(None, numbers))
    return only


def grey(path: Path) -> NDArray[np.float64]:
    image = read(path)
    assert image.grey is not None
    assert image.unsupported == ""
    assert image.grey.dtype == np.uint8
    return image.grey.astype(np.float64)


def alike(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def test_eight_bits_without_a_window_stay_as_they_are(tmp_path: Path) -> None:
    assert np.array_equal(grey(write_dicom(tmp_path / "a.dcm", GREY)), GREY)


def test_sixteen_bits_are_laid_over_their_range(tmp_path: Path) -> None:
    ramp = np.linspace(1000, 3000, 96 * 96).reshape(96, 96).astype(np.uint16)
    shown = grey(write_dicom(tmp_path / "a.dcm", ramp))
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.abs(shown - np.linspace(0, 255, 96 * 96).reshape(96, 96)).max() < 1.5


def test_one_hot_pixel_does_not_darken_the_rest(tmp_path: Path) -> None:
    hot = DEEP.copy()
    hot[3, 3] = 65535
    assert np.median(grey(write_dicom(tmp_path / "a.dcm", hot))[DEEP > 1000]) > 60


def test_window_of_the_file_is_used(tmp_path: Path) -> None:
    window = {"WindowCenter": ["1500", "9"], "WindowWidth": ["2000", "9"]}
    shown = grey(write_dicom(tmp_path / "a.dcm", DEEP, **window))
    assert (shown[DEEP <= 500] == 0).all()
    assert (shown[DEEP > 2510] == 255).all()
    inside = (DEEP > 600) & (DEEP < 2400)
    assert np.abs(shown - (DEEP - 500.0) * 255 / 2000)[inside].max() < 2


def test_a_window_is_shown_from_its_black_to_its_white_wherever_the_pixels_end(
    tmp_path: Path,
) -> None:
    inner = GREY.clip(20, 200)
    window = {"WindowCenter": 1757, "WindowWidth": 3315}
    path = write_dicom(tmp_path / "a.dcm", inner.astype(np.uint16) * 13 + 100, **window)
    assert np.abs(grey(path) - inner).max() <= 1


def test_a_byte_picture_in_a_wider_type_comes_back_as_it_was(tmp_path: Path) -> None:
    wide = GREY.astype(np.uint16) * 13 + 100
    shown = grey(write_dicom(tmp_path / "a.dcm", wide))
    assert np.array_equal(shown, GREY - GREY.min())
    rescaled = write_dicom(tmp_path / "b.dcm", wide, RescaleSlope=2, RescaleIntercept=-50)
    assert np.array_equal(grey(rescaled), shown)
    # More values than a byte has are laid over its range.
    wide[0, 0] += 1
    shown = grey(write_dicom(tmp_path / "c.dcm", wide))
    assert (shown.min(), shown.max()) == (0, 255)


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 10, "WindowWidth": 5},
        {"WindowCenter": 40000, "WindowWidth": 100},
        {"WindowCenter": 1500, "WindowWidth": 0},
        {"WindowCenter": 1500, "WindowWidth": -20},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": 1500, "WindowWidth": ""},
        {"WindowCenter": [], "WindowWidth": 100},
        {"VOILUTSequence": [item(LUTDescriptor=[4096, 0, 16])]},
    ],
)
def test_window_that_makes_no_sense_is_passed_over(tmp_path: Path, window: dict[str, Any]) -> None:
    plain = grey(write_dicom(tmp_path / "a.dcm", DEEP))
    assert np.array_equal(grey(write_dicom(tmp_path / "b.dcm", DEEP, **window)), plain)


def test_rescaling_comes_before_the_window(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    shown = grey(write_dicom(tmp_path / "a.dcm", DEEP, WindowCenter=2000, WindowWidth=4000, **tags))
    plain = grey(write_dicom(tmp_path / "b.dcm", DEEP, WindowCenter=1500, WindowWidth=2000))
    assert np.abs(shown - plain).max() <= 1


def test_tables_of_values_are_applied(tmp_path: Path) -> None:
    table = (np.sqrt(np.arange(4096) / 4095) * 65535).astype(int).tolist()
    lut = item(LUTDescriptor=[4096, 0, 16], LUTData=table)
    lut["LUTData"].VR = lut["LUTDescriptor"].VR = "US"
    expected = np.sqrt(DEEP / 4095.0)
    as_window = grey(write_dicom(tmp_path / "a.dcm", DEEP, VOILUTSequence=[lut]))
    lut.ModalityLUTType = "US"
    as_values = grey(write_dicom(tmp_path / "b.dcm", DEEP, ModalityLUTSequence=[lut]))
    assert alike(as_window, expected) > 0.999
    assert alike(as_values, expected) > 0.999


@pytest.mark.parametrize("entry", [np.uint8, np.uint16])
def test_tables_of_bytes_reach_beyond_256_values(tmp_path: Path, entry: type) -> None:
    table = (np.arange(4096) // 16).astype(entry)
    lut = item(LUTDescriptor=[4096, 0, 8], LUTData=table.tobytes())
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    plain = DEEP // 16 / 255
    as_window = grey(write_dicom(tmp_path / "a.dcm", DEEP, VOILUTSequence=[lut]))
    lut.ModalityLUTType = "US"
    as_values = grey(write_dicom(tmp_path / "b.dcm", DEEP, ModalityLUTSequence=[lut]))
    assert alike(as_window, plain) > 0.999
    assert alike(as_values, plain) > 0.999


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    plain = grey(write_dicom(tmp_path / "a.dcm", DEEP))
    inverted = write_dicom(tmp_path / "b.dcm", 5000 - DEEP, PhotometricInterpretation="MONOCHROME1")
    assert np.abs(grey(inverted) - plain).max() <= 1


def test_signed_values(tmp_path: Path) -> None:
    plain = grey(write_dicom(tmp_path / "a.dcm", DEEP))
    signed = write_dicom(tmp_path / "b.dcm", DEEP.astype(np.int16) - 2000)
    assert np.array_equal(grey(signed), plain)


@pytest.mark.parametrize("form", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_is_background(tmp_path: Path, form: str) -> None:
    values = (DEEP if form == "MONOCHROME2" else 5000 - DEEP).astype(np.int16)
    values[:, :20] = -32768
    path = write_dicom(
        tmp_path / "a.dcm", values, PixelPaddingValue=-32768, PhotometricInterpretation=form
    )
    shown = grey(path)
    assert (shown[:, :20] == 0).all()
    plain = grey(write_dicom(tmp_path / "b.dcm", DEEP))
    assert alike(shown[:, 20:], plain[:, 20:]) > 0.999


def test_oblong_pixels_become_square(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", DEEP[::2], PixelSpacing=[1.0, 0.5])
    assert grey(path).shape == (96, 96)
    assert alike(grey(path), DEEP) > 0.96


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
@pytest.mark.parametrize("stored", [GREY, DEEP], ids=["8 bits", "16 bits"])
def test_lossless_compression_changes_nothing(
    tmp_path: Path, syntax: str, stored: NDArray[Any]
) -> None:
    path = tmp_path / "a.dcm"
    if syntax == JPEG2000Lossless:
        code = picture(stored, "JPEG2000", irreversible=False, no_jp2=True)
        write_encapsulated(path, stored, syntax, [code])
    elif syntax == JPEGLosslessSV1:
        code = lossless_jpeg(stored, precision=8 * stored.itemsize)
        write_encapsulated(path, stored, syntax, [code])
    else:
        dataset = dicom(stored)
        dataset.compress(syntax)
        dataset.save_as(path, enforce_file_format=True)
    plain = write_dicom(tmp_path / "b.dcm", stored)
    assert np.array_equal(grey(path), grey(plain))


def test_lossless_jpeg_of_signed_values_and_several_frames(tmp_path: Path) -> None:
    frames = np.stack([DEEP, np.flipud(DEEP), np.fliplr(DEEP)]).astype(np.int16) // 2 - 1000
    codes = [lossless_jpeg(frame.view(np.uint16) & 0xFFF, precision=12) for frame in frames]
    path = write_encapsulated(
        tmp_path / "a.dcm", frames, JPEGLosslessSV1, codes, BitsStored=12, HighBit=11
    )
    plain = write_dicom(tmp_path / "b.dcm", frames)
    for first, second in zip(open_slices(path), open_slices(plain), strict=True):
        assert np.array_equal(first.grey, second.grey)


def test_jpeg_compression_is_close(tmp_path: Path) -> None:
    code = picture(GREY, "JPEG", quality=95)
    path = write_encapsulated(tmp_path / "a.dcm", GREY, JPEGBaseline8Bit, [code])
    assert np.abs(grey(path) - GREY).mean() < 3


@pytest.mark.parametrize(
    ("syntax", "name"),
    [(HTJ2KLossless, "High-Throughput"), (JPEGExtended12Bit, "Extended"), (MPEG2MPML, "MPEG2")],
)
def test_unknown_compression_is_named(tmp_path: Path, syntax: str, name: str) -> None:
    path = write_encapsulated(tmp_path / "a.dcm", DEEP, syntax, [b"1234"])
    with pytest.raises(UnreadableImageError, match=f"a.dcm: .*{name}"):
        read(path)


@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    precision=st.integers(2, 16),
    data=st.data(),
)
@settings(deadline=None)
def test_lossless_jpeg_round_trip(
    height: int, width: int, precision: int, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(0, height))
    shift = data.draw(st.integers(0, min(3, precision - 2)))
    values = data.draw(
        st.lists(
            st.integers(0, (1 << precision) - 1), min_size=height * width, max_size=height * width
        )
    )
    pixels = np.array(values, dtype=np.uint16).reshape(height, width)
    code = lossless_jpeg(pixels, precision=precision, rows=rows, shift=shift)
    decoded = decode_lossless_jpeg(code, (height, width))
    assert np.array_equal(decoded, pixels >> shift << shift)


@given(data=st.data())
@settings(deadline=None)
def test_damaged_lossless_jpeg_raises_its_own_error(data: st.DataObject) -> None:
    code = bytearray(lossless_jpeg(DEEP[:8, :8], precision=12, rows=4))
    for _ in range(data.draw(st.integers(1, 4))):
        code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(0, 255))
    code = code[: data.draw(st.integers(0, len(code)))]
    try:
        assert decode_lossless_jpeg(bytes(code), (8, 8)).shape == (8, 8)
    except LosslessJpegError as error:
        assert str(error)  # noqa: PT017  (either outcome is right)


def test_other_predictors_and_shapes_are_refused() -> None:
    with pytest.raises(LosslessJpegError, match="predictor 4"):
        decode_lossless_jpeg(lossless_jpeg(DEEP, predictor=4), DEEP.shape)
    with pytest.raises(LosslessJpegError, match="96x96 pixels of 1 components, expected 10x20"):
        decode_lossless_jpeg(lossless_jpeg(DEEP), (20, 10))
    filled = lossless_jpeg(DEEP).replace(b"\xff\xda", b"\xff\xff\xff\xda", 1)
    assert np.array_equal(decode_lossless_jpeg(filled, DEEP.shape), DEEP)


def frames_file(path: Path, **tags: Any) -> Path:
    """Six frames; the first two show hardly any head."""
    frames = np.stack([DEEP] * 6)
    frames[0] = frames[1] = DEEP % 16 * 20
    frames[0, 40:45, 40:45] = frames[1, 40:45, 40:45] = 4000
    tags = {"WindowCenter": 2048, "WindowWidth": 4096, **tags}
    return write_dicom(path, frames, **tags)


def test_frames_with_enough_head_are_read_unasked(tmp_path: Path) -> None:
    images = list(open_slices(frames_file(tmp_path / "a.dcm")))
    assert [image.number for image in images] == [2, 3, 4, 5]
    assert images[0].volume == "6 frames of 96 x 96 pixels"
    assert all(image.unsupported == "" for image in images)


def test_chosen_frames(tmp_path: Path) -> None:
    path = frames_file(tmp_path / "a.dcm")
    images = list(open_slices(path, SliceChoice.parse(None, "1:4")))
    assert [image.number for image in images] == [1, 2, 3]
    assert [bool(image.unsupported) for image in images] == [True, False, False]
    assert "hardly any head" in images[0].unsupported
    with pytest.raises(UnreadableImageError, match=r"none of its 6 slices \(0 to 5\)"):
        list(open_slices(path, SliceChoice.parse(None, "6")))


def test_frame_without_a_picture_of_its_own_kind_is_told(tmp_path: Path) -> None:
    colour = np.stack([GREY, GREY // 2, GREY // 3], axis=-1)
    images = list(open_slices(write_dicom(tmp_path / "a.dcm", np.stack([colour] * 2))))
    assert [image.number for image in images] == [0, 1]
    assert all("colour" in image.unsupported and image.grey is None for image in images)


def test_enhanced_files_say_frame_by_frame_how_they_are_shown(tmp_path: Path) -> None:
    def group(slope: float) -> Dataset:
        values = item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")
        window = item(WindowCenter=1500 * slope, WindowWidth=2000 * slope)
        return item(PixelValueTransformationSequence=[values], FrameVOILUTSequence=[window])

    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[1.0, 0.5])])
    path = write_dicom(
        tmp_path / "a.dcm",
        np.stack([DEEP, DEEP]),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[group(1), group(7)],
    )
    first, second = (image.grey for image in open_slices(path))
    assert first is not None
    assert second is not None
    assert first.shape == (192, 96)
    assert np.abs(first.astype(int) - second).max() <= 1
    assert (first[::2][DEEP < 400] == 0).mean() > 0.95


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "CT"}, "a CT scan (modality CT); the model classifies MR slices only"),
        ({"Modality": "XX"}, "a picture of another kind (modality XX)"),
        ({"BodyPartExamined": "L SPINE"}, "another part of the body (lspine)"),
    ],
)
def test_other_kinds_are_unsupported(tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    image = read(write_dicom(tmp_path / "a.dcm", DEEP, **tags))
    assert reason in image.unsupported
    assert image.grey is None


@pytest.mark.parametrize("tags", [{"Modality": None}, {"BodyPartExamined": "BRAIN"}])
def test_heads_and_files_of_unstated_kind_are_judged(tmp_path: Path, tags: dict[str, Any]) -> None:
    assert read(write_dicom(tmp_path / "a.dcm", DEEP, **tags)).unsupported == ""


def test_blank_and_mask_are_unsupported(tmp_path: Path) -> None:
    blank = read(write_dicom(tmp_path / "a.dcm", np.full((64, 64), 77, np.uint16)))
    mask = read(write_dicom(tmp_path / "b.dcm", (DEEP > 1000).astype(np.uint16)))
    assert "blank" in blank.unsupported
    assert "only 2 different grey values" in mask.unsupported


def test_colour(tmp_path: Path) -> None:
    same = np.stack([GREY] * 3, axis=-1)
    assert np.array_equal(grey(write_dicom(tmp_path / "a.dcm", same)), GREY)
    map_ = np.stack([GREY, GREY // 3, 255 - GREY], axis=-1)
    assert "a colour picture" in read(write_dicom(tmp_path / "b.dcm", map_)).unsupported


def test_palette_of_greys_is_grey(tmp_path: Path) -> None:
    levels = (np.arange(256, dtype=np.uint16) * 257).tobytes()
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = levels
    assert alike(grey(write_dicom(tmp_path / "a.dcm", GREY, **tags)), GREY) > 0.999


def test_missing_tags_are_filled_in(tmp_path: Path) -> None:
    names = ("SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored")
    path = write_dicom(tmp_path / "a.dcm", DEEP, **dict.fromkeys(names))
    assert np.array_equal(grey(path), grey(write_dicom(tmp_path / "b.dcm", DEEP)))


def test_file_without_preamble_or_header(tmp_path: Path) -> None:
    whole = write_dicom(tmp_path / "b.dcm", DEEP).read_bytes()
    bare = tmp_path / "a.dcm"
    dataset = dicom(DEEP)
    del dataset.file_meta
    dataset.save_as(bare, implicit_vr=True, little_endian=True)
    assert bare.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(grey(bare), grey(tmp_path / "b.dcm"))
    unnamed = tmp_path / "1.2.840.5"
    unnamed.write_bytes(whole)
    assert np.array_equal(grey(unnamed), grey(tmp_path / "b.dcm"))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PixelData": None}, r"a DICOM file without a picture \(MR Image Storage\)"),
        ({"Rows": None}, "does not say its size"),
        ({"Rows": 20}, "20 pixels|x20 pixels are too few"),
        ({"Rows": 60000, "Columns": 60000}, "more than 50 million pixels"),
        ({"NumberOfFrames": 60000}, "60000 frames of 96x96 pixels, refused"),
        ({"NumberOfFrames": -3}, "-3 frames"),
        ({"Rows": 97}, "damaged DICOM file"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, tags: dict[str, Any], message: str) -> None:
    path = write_dicom(tmp_path / "scan.dcm", DEEP, **tags)
    with pytest.raises(UnreadableImageError, match=message) as caught:
        list(open_slices(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document"),
        ("1.2.840.10008.5.1.4.1.1.66", "Raw Data"),
        ("1.3.12.2.1107.5.9.1", "1.3.12.2.1107.5.9.1"),
        ("1.2.826.0.1.3680043.9.9999", "1.2.826.0.1.3680043.9.9999"),
    ],
)
def test_objects_that_hold_no_image_are_no_failures(tmp_path: Path, kind: str, words: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", GREY, PixelData=None, SOPClassUID=kind)
    (image,) = open_slices(path)
    assert image.grey is None
    assert image.unsupported.startswith("no image: a DICOM object of another kind")
    assert words in image.unsupported


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"nowhere\.dcm: no such file"):
        read(tmp_path / "nowhere.dcm")
    (tmp_path / "empty.dcm").touch()
    with pytest.raises(UnreadableImageError, match=r"empty\.dcm"):
        read(tmp_path / "empty.dcm")
    (tmp_path / "text").write_bytes(bytes(128) + b"DICM" + b"no elements" * 9)
    with pytest.raises(UnreadableImageError, match="text"):
        read(tmp_path / "text")


def test_real_series(real_data: Path) -> None:
    folder = real_data / "dicom" / "healthy_child_t1"
    paths = find_files(folder).files
    places = [float(dcmread(path).ImagePositionPatient[0]) for path in paths]
    assert len(paths) == 24
    assert places in (sorted(places), sorted(places, reverse=True))
    for path in paths:
        image = read(Path(path))
        assert image.unsupported == ""
        assert image.grey is not None
        assert image.grey.shape == (256, 256)
        # The window of this series keeps the range of the pixels, nearly.
        assert alike(image.grey, dcmread(path).pixel_array) > 0.98
        assert image.header.series.startswith("1.3.12")


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_file_is_named_or_read(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.dcm"
    if not path.exists():
        write_dicom(path, DEEP, WindowCenter=1500, WindowWidth=2000, PixelSpacing=[1, 1])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, 900))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "b.dcm"
    damaged.write_bytes(content)
    try:
        assert list(open_slices(damaged))
    except UnreadableImageError as error:
        assert str(damaged) in str(error)  # noqa: PT017  (either outcome is right)


def test_padding_of_signed_pixels_may_be_written_without_its_sign(tmp_path: Path) -> None:
    values = DEEP.astype(np.int16)
    values[:, :20] = -2000
    right, other = (tmp_path / name for name in ("right.dcm", "other.dcm"))
    write_dicom(right, values, PixelPaddingValue=-2000)
    dataset = dicom(values)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.save_as(other, enforce_file_format=True)
    assert np.array_equal(grey(other), grey(right))


@pytest.mark.parametrize("spacing", [b"0,9\\0,9 ", b"1 ", b"0\\0 ", b"one\\two "])
def test_damaged_spacing_counts_as_missing(tmp_path: Path, spacing: bytes) -> None:
    path = write_dicom(tmp_path / "a.dcm", DEEP)
    dataset = dcmread(path)
    dataset["PixelSpacing"] = RawDataElement(
        Tag("PixelSpacing"), "DS", len(spacing), spacing, 0, is_implicit_VR=False,
        is_little_endian=True,
    )  # fmt: skip
    dataset.save_as(tmp_path / "b.dcm")
    (damaged,) = open_slices(tmp_path / "b.dcm")
    assert damaged.grey is not None
    assert np.array_equal(damaged.grey, grey(path))
    assert damaged.affine is None


def test_what_a_decoder_finds_wrong_is_said(tmp_path: Path) -> None:
    path = write_encapsulated(
        tmp_path / "a.dcm", DEEP, JPEGLossless, [lossless_jpeg(DEEP, predictor=6)]
    )
    with pytest.raises(UnreadableImageError, match="predictor 6, only the first is known"):
        list(open_slices(path))


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_values_that_begin_at_the_highest_bit_are_whole(tmp_path: Path, kind: type) -> None:
    values = (DEEP.astype(kind) - 2048 * (kind is np.int16)).astype(kind)
    old = write_dicom(tmp_path / "a.dcm", values << 4, BitsStored=12, HighBit=15)
    usual = write_dicom(tmp_path / "b.dcm", values, BitsStored=12, HighBit=11)
    assert np.array_equal(grey(old), grey(usual))


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("said", [8, 7, 1, None])
def test_frames_that_a_file_does_not_count_are_told(tmp_path: Path, said: int | None) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.stack([DEEP] * 8), NumberOfFrames=said)
    images = list(open_slices(path))
    count = said or 1
    assert len(images) == count
    expected = f"it holds pixels of 8 frames, says {count}: the others are left out" * (count < 8)
    assert {image.note for image in images} == {expected}
    assert all(expected in image.volume for image in images if len(images) > 1)


def test_one_place_for_all_frames_is_that_of_none(tmp_path: Path) -> None:
    place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    path = write_dicom(tmp_path / "a.dcm", np.stack([DEEP] * 3), PixelSpacing=[1, 1], **place)
    assert [image.affine for image in open_slices(path)] == [None] * 3


def test_enhanced_files_of_one_frame_each_stand_where_their_frame_does(tmp_path: Path) -> None:
    headers = []
    for number in range(6):
        fact = {"position": 5 * (number % 3), "time": 1 + number // 3}
        path = write_enhanced(tmp_path / f"{number}.dcm", [GREY + np.uint8(number)], [fact])
        headers.append(read(path).header)
    (series,) = group_series(headers)
    assert [stack.slices for stack in series.stacks] == [(0, 1, 2), (3, 4, 5)]
    assert headers[4].position == (0, 0, 5)
