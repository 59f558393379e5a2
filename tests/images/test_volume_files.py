"""A volume gives the same slices, the same way up, in whatever format it is stored."""

import bz2
import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from nibabel.spatialimages import SpatialImage

from tumorscope.images.listing import list_files
from tumorscope.images.opening import open_slices
from tumorscope.images.reading import FileInMemory, UnreadableImageError
from tumorscope.images.slices import SliceChoice, SliceImage
from tumorscope.phantoms.drawing import draw_phantom

VOLUME = np.stack(
    [
        draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=number, size=64).image
        for number in range(4)
    ],
    axis=-1,
).astype(np.int16)[:, :60]

AFFINE = np.array(
    [[-1.0, 0.1, 0, 30], [0.1, -1.0, 0, 25], [0, 0, 4.0, -7], [0, 0, 0, 1]], dtype=np.float64
)
"""Towards left and back, as scanners have it, a little turned."""

ALL = SliceChoice(numbers=slice(None))


def slices(path: Path | FileInMemory) -> list[SliceImage]:
    return list(open_slices(path, ALL))


def expected(folder: Path) -> list[SliceImage]:
    nibabel.save(nibabel.Nifti1Image(VOLUME, AFFINE), folder / "expected.nii")
    return slices(folder / "expected.nii")


def assert_same(found: list[SliceImage], wanted: list[SliceImage]) -> None:
    assert len(found) == len(wanted) == 4
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.grey, other.grey)
        assert one.number == other.number
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)


def meta(*, compressed: bool = False, order: str = "<", place: str = "LOCAL") -> bytes:
    lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    axes = (lps[:3, :3] / lengths).T.ravel()
    content = VOLUME.astype(f"{order}i2").tobytes(order="F")
    content = zlib.compress(content) if compressed else content
    words = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(order == ">"),
        "CompressedData": str(compressed),
        "TransformMatrix": " ".join(f"{value:.9g}" for value in axes),
        "Offset": " ".join(f"{value:.9g}" for value in lps[:3, 3]),
        "ElementSpacing": " ".join(f"{value:.9g}" for value in lengths),
        "DimSize": "64 60 4",
        "ElementType": "MET_SHORT",
        "ElementDataFile": place,
    }
    header = "".join(f"{key} = {value}\n" for key, value in words.items()).encode()
    return header + (content if place == "LOCAL" else b"")


def write_nrrd(path: Path, values: np.ndarray = VOLUME, **fields: object) -> Path:
    lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        **fields,
    }
    nrrd.write(str(path), values, header)
    return path


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_freesurfer(tmp_path: Path, name: str) -> None:
    nibabel.save(nibabel.MGHImage(VOLUME, AFFINE), tmp_path / name)
    assert_same(slices(tmp_path / name), expected(tmp_path))
    content = (tmp_path / name).read_bytes()
    assert_same(slices(FileInMemory("upload", content)), expected(tmp_path))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("given", ["a.hdr", "a.img"])
def test_header_and_voxels_in_two_files(
    tmp_path: Path, kind: type[SpatialImage], given: str
) -> None:
    (tmp_path / "pair").mkdir()
    nibabel.save(kind(VOLUME, AFFINE), tmp_path / "pair" / "a.hdr")
    with (tmp_path / "pair" / "a.img").open("ab") as voxels:
        voxels.write(b"padding")
    assert_same(slices(tmp_path / "pair" / given), expected(tmp_path))
    listing = list_files(tmp_path / "pair")
    assert [Path(path).name for path in listing.files] == ["a.hdr"]
    assert [item.kind for item in listing.ignored] == ["voxels of the header beside it"]


def test_analyze(tmp_path: Path) -> None:
    image = nibabel.Spm2AnalyzeImage(VOLUME, np.diag([-1.0, 1, 4, 1]))
    nibabel.save(image, tmp_path / "a.img")
    found = slices(tmp_path / "a.hdr")
    nibabel.save(nibabel.Nifti1Image(VOLUME, image.header.get_best_affine()), tmp_path / "b.nii")
    assert_same(found, slices(tmp_path / "b.nii"))


def test_header_without_its_voxels_is_named(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(VOLUME, AFFINE), tmp_path / "a.hdr")
    content = (tmp_path / "a.hdr").read_bytes()
    (tmp_path / "a.img").unlink()
    with pytest.raises(UnreadableImageError, match=r"a\.img is not beside it"):
        slices(tmp_path / "a.hdr")
    with pytest.raises(UnreadableImageError, match=r"voxels are missing: a\.img is not beside it"):
        slices(FileInMemory("a.hdr", content))


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_nrrd(tmp_path: Path, encoding: str) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", encoding=encoding)
    assert_same(slices(path), expected(tmp_path))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.uint32, np.float32, float])
def test_nrrd_of_every_type(tmp_path: Path, kind: type) -> None:
    values = VOLUME.astype(kind)
    path = write_nrrd(tmp_path / "a.nrrd", values)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "a.nii")
    assert_same(slices(path), slices(tmp_path / "a.nii"))


@pytest.mark.parametrize(
    ("space", "turn"),
    [
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LAS", (-1, 1, 1)),
        ("LPS", (-1, -1, 1)),
    ],
)
def test_nrrd_names_its_space_in_full_or_by_letters(
    tmp_path: Path, space: str, turn: tuple[int, int, int]
) -> None:
    axes = np.diag([*turn, 1.0]) @ AFFINE
    fields = {"space": space, "space directions": axes[:3, :3].T, "space origin": axes[:3, 3]}
    assert_same(slices(write_nrrd(tmp_path / "a.nrrd", **fields)), expected(tmp_path))


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("a.mha", b"DimSize = 64 60 4\n", "lacks dimsize"),
        ("a.mha", b"ElementType = MET_SHORT\n", "lacks elementtype"),
        ("a.nrrd", b"encoding: gzip\n", "lacks encoding"),
        ("a.nrrd", b"type: int16\n", "lacks type"),
    ],
)
def test_what_a_header_lacks_is_said(tmp_path: Path, name: str, line: bytes, words: str) -> None:
    whole = meta() if name == "a.mha" else write_nrrd(tmp_path / name).read_bytes()
    assert line in whole
    with pytest.raises(UnreadableImageError, match=f"{name}: a damaged header, it {words}"):
        slices(FileInMemory(name, whole.replace(line, b"")))


def test_nrrd_in_two_files(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    path = write_nrrd(folder / "a.nhdr", encoding="raw")
    assert sorted(item.name for item in folder.iterdir()) == ["a.nhdr", "a.raw"]
    assert_same(slices(path), expected(tmp_path))
    assert list_files(folder).files == (str(path),)


def test_nrrd_with_channels_gives_the_first(tmp_path: Path) -> None:
    lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    path = write_nrrd(
        tmp_path / "a.nrrd",
        np.stack([VOLUME, VOLUME // 2]),
        **{
            "space directions": np.vstack([[np.nan] * 3, lps[:3, :3].T]),
            "kinds": ["list", "domain", "domain", "domain"],
        },
    )
    found = slices(path)
    assert_same(found, expected(tmp_path))
    assert "first of 2 volumes" in found[0].volume


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_metaimage(tmp_path: Path, order: str, *, compressed: bool) -> None:
    (tmp_path / "a.mha").write_bytes(meta(compressed=compressed, order=order))
    assert_same(slices(tmp_path / "a.mha"), expected(tmp_path))


def test_metaimage_in_two_files(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "a.mhd").write_bytes(meta(place="a.raw"))
    (folder / "a.raw").write_bytes(VOLUME.tobytes(order="F"))
    assert_same(slices(folder / "a.mhd"), expected(tmp_path))
    assert list_files(folder).files == (str(folder / "a.mhd"),)


@pytest.mark.parametrize(
    "place", ["../a.raw", "/etc/passwd", "LIST", "a%03d.raw 1 4 1", "gone.raw"]
)
def test_voxels_are_looked_for_beside_the_header_only(tmp_path: Path, place: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.raw").write_bytes(VOLUME.tobytes(order="F"))
    (tmp_path / "in" / "a.mhd").write_bytes(meta(place=place))
    with pytest.raises(UnreadableImageError, match="its voxels are in"):
        slices(tmp_path / "in" / "a.mhd")


def test_a_small_file_cannot_ask_for_much() -> None:
    bomb = meta(compressed=True).replace(b"64 60 4", b"640 600 400")
    for name, content, words in (
        ("a.mha", bomb, "more than 80 million voxels"),
        ("b.mha", meta(compressed=True).replace(b"64 60 4", b"64 60 9"), "end too early"),
        ("c.mha", b"ObjectType = Image\n" * 9999, "it has no end"),
        (
            "d.mgz",
            gzip.compress(struct.pack(">6i", 1, 9999, 9999, 9999, 1, 3) + bytes(300)),
            "more",
        ),
        (
            "e.nrrd",
            b"NRRD0004\ntype: short\ndimension: 3\nsizes: 64 60 4\nencoding: bz2\n"
            b"endian: little\n\n" + bz2.compress(bytes(10_000_000)),
            "",
        ),
    ):
        if words:
            with pytest.raises(UnreadableImageError, match=words):
                slices(FileInMemory(name, content))
        else:
            assert all(image.unsupported for image in slices(FileInMemory(name, content)))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_voxels_written_out_take_memory_for_those_that_are_wanted_only(
    tmp_path: Path, name: str
) -> None:
    if name == "a.nrrd":
        header = (
            b"NRRD0004\ntype: short\ndimension: 3\nsizes: 64 60 4\nencoding: ascii\n"
            b"space: left-posterior-superior\nspace origin: (-30,-25,-7)\n"
            b"space directions: (1,-0.1,0) (-0.1,1,0) (0,0,4)\n\n"
        )
    else:
        header = meta().partition(b"LOCAL\n")[0] + b"LOCAL\n"
        header = header.replace(b"BinaryData = True", b"BinaryData = False")
    numbers = " ".join(map(str, VOLUME.ravel(order="F").tolist())).encode()
    content = FileInMemory(name, header + numbers + b" 123" * 10_000_000)
    tracemalloc.start()
    found = slices(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(content.content)
    assert_same(found, expected(tmp_path))
