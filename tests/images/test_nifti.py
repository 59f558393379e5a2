"""Volumes of any orientation become slices that stand the right way up."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tumorscope.errors import DataError
from tumorscope.images import UnreadableImageError
from tumorscope.images.opening import open_slices
from tumorscope.images.slices import SliceChoice, SliceImage
from tumorscope.series.finding import find_files

SHAPE = (40, 50, 36)


def head() -> NDArray[np.float64]:
    """A lopsided head, its axes towards right, front and top, 0 to 200."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    inside = x**2 / 0.7 + y**2 / 0.9 + z**2 < 0.8
    return np.where(inside, 120 + 20 * x + 30 * y + 25 * z, 0)


def write(
    path: Path,
    volume: NDArray[Any],
    *,
    codes: str = "RAS",
    spacing: tuple[float, float, float] = (1, 1, 1),
    **how: Any,
) -> Path:
    """Store a volume whose axes are towards right, front and top in another orientation."""
    image = nibabel.Nifti1Image(volume, np.diag([*spacing, 1]), **how)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(image.as_reoriented(turn), path)
    return path


def read(path: Path, axis: str | None = None, numbers: str | None = None) -> list[SliceImage]:
    return list(open_slices(path, SliceChoice.parse(axis, numbers)))


ORIENTATIONS = [
    "".join(codes)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for signs in np.ndindex(2, 2, 2)
    for codes in [[("RL", "AP", "SI")[axis][signs[axis]] for axis in order]]
]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_orientation_of_the_file_does_not_matter(tmp_path: Path, codes: str) -> None:
    path = write(tmp_path / "a.nii", head().astype(np.int16), codes=codes, spacing=(1, 1, 1.2))
    plain = write(tmp_path / "b.nii", head().astype(np.int16), spacing=(1, 1, 1.2))
    for axis in ("axial", "coronal", "sagittal"):
        middle = str(SHAPE[{"sagittal": 0, "coronal": 1, "axial": 2}[axis]] // 3)
        (first,), (second,) = read(path, axis, middle), read(plain, axis, middle)
        assert np.array_equal(first.grey, second.grey)


def test_slices_stand_the_right_way_up(tmp_path: Path) -> None:
    volume = np.zeros(SHAPE)
    volume[30:, :, :] += 20  # right
    volume[:, 40:, :] += 50  # front
    volume[:, :, 30:] += 100  # top
    path = write(tmp_path / "a.nii", volume.astype(np.int16), codes="LPI")
    (axial,) = read(path, "axial", "5")
    (coronal,) = read(path, "coronal", "5")
    (sagittal,) = read(path, "sagittal", "5")
    for image in (axial, coronal, sagittal):
        assert image.grey is not None
        top_left, top_right = int(image.grey[2, 2]), int(image.grey[2, -2])
        bottom_left, bottom_right = int(image.grey[-2, 2]), int(image.grey[-2, -2])
        # Each picture is brightest at the top (front, top), then on the left (right, front).
        assert top_left > top_right > bottom_left > bottom_right


def test_oblong_voxels_become_square(tmp_path: Path) -> None:
    volume = head().astype(np.float32)
    path = write(tmp_path / "a.nii.gz", volume[:, :, ::2], spacing=(1, 1, 2))
    (image,) = read(path, "coronal", "25")
    (plain,) = read(write(tmp_path / "b.nii", volume), "coronal", "25")
    assert image.grey is not None
    assert image.grey.shape == (36, 40)
    assert np.corrcoef(image.grey.ravel(), plain.grey.ravel())[0, 1] > 0.96  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("spacing", "plane", "count"),
    [((1, 1, 1), "axial", 36), ((6, 1, 1), "sagittal", 40), ((1.2, 3, 1), "coronal", 50)],
)
def test_the_plane_of_acquisition_is_taken_unasked(
    tmp_path: Path, spacing: tuple[float, float, float], plane: str, count: int
) -> None:
    path = write(tmp_path / "a.nii", head().astype(np.int16), codes="PSR", spacing=spacing)
    images = read(path)
    assert f"{len(images)} of {count} {plane} slices" in images[0].volume
    numbers = [image.number for image in images]
    # The ends of the head are left out, its middle is not.
    assert numbers == list(range(min(numbers), max(numbers) + 1))  # type: ignore[type-var]
    assert 0.3 * count < len(numbers) < 0.8 * count


def test_chosen_slices(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", head().astype(np.int16))
    assert [image.number for image in read(path, None, "10:16:2")] == [10, 12, 14]
    every = read(path, None, "all")
    assert [image.number for image in every] == list(range(36))
    assert "blank" in every[0].unsupported
    assert "hardly any head" in every[2].unsupported
    assert every[18].unsupported == ""
    with pytest.raises(UnreadableImageError, match=r"none of its 36 slices \(0 to 35\)"):
        read(path, None, "36:40")


@pytest.mark.parametrize("numbers", ["", "a", "3:2:0", "-1", "1:2:3:4", "1234567"])
def test_choices_that_mean_nothing(numbers: str) -> None:
    with pytest.raises(DataError, match="10:20 means 10 to 19"):
        SliceChoice.parse(None, numbers)


def test_unknown_axis() -> None:
    with pytest.raises(DataError, match="axial, coronal, sagittal"):
        SliceChoice.parse("diagonal", None)


def test_bytes_stay_as_they_are_and_numbers_are_scaled(tmp_path: Path) -> None:
    volume = head()
    whole = read(write(tmp_path / "a.nii", volume.astype(np.uint8)), None, "18")[0].grey
    assert np.array_equal(whole, volume.astype(np.uint8)[::-1, ::-1, 18].T)
    scaled = nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4))
    scaled.header.set_slope_inter(0.5, -7)
    nibabel.save(scaled, tmp_path / "b.nii")
    plain = read(write(tmp_path / "c.nii", volume.astype(np.float64) * 1e6), None, "18")[0].grey
    shown = read(tmp_path / "b.nii", None, "18")[0].grey
    assert shown is not None
    assert plain is not None
    assert np.abs(shown.astype(int) - plain).max() <= 2


def test_of_a_time_series_the_first_volume_is_taken(tmp_path: Path) -> None:
    volume = head().astype(np.int16)
    path = write(tmp_path / "a.nii.gz", np.stack([volume, np.zeros_like(volume)], axis=-1))
    images = read(path)
    assert images[0].volume.endswith("the first of 2 volumes")
    plain = read(write(tmp_path / "b.nii", volume))
    assert [image.number for image in images] == [image.number for image in plain]


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1)])
def test_a_single_slice(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(
        nibabel.Nifti1Image(head()[:, :, 18].astype(np.uint8).reshape(shape), np.eye(4)),
        tmp_path / "a.nii",
    )
    (image,) = read(tmp_path / "a.nii")
    assert image.number is None
    assert np.array_equal(image.grey, head()[::-1, ::-1, 18].T.astype(np.uint8))


@pytest.mark.parametrize("kind", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_colours_and_complex_numbers_are_unsupported(tmp_path: Path, kind: Any) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, dtype=kind), np.eye(4)), tmp_path / "a.nii")
    (image,) = read(tmp_path / "a.nii")
    assert "not a scan" in image.unsupported


def test_an_empty_volume_is_unsupported(tmp_path: Path) -> None:
    (image,) = read(write(tmp_path / "a.nii", np.zeros(SHAPE, np.float32)))
    assert "no head" in image.unsupported
    assert "0 of 36 axial slices" in image.volume


def test_values_that_are_no_numbers_are_background(tmp_path: Path) -> None:
    volume = head().astype(np.float32)
    volume[0], volume[-1], volume[1] = np.nan, np.inf, -np.inf
    (image,) = read(write(tmp_path / "a.nii", volume), "axial", "18")
    assert image.grey is not None
    assert (image.grey[:, [0, 1, -1]] == 0).all()
    assert image.grey.max() == 255
    nothing = np.full(SHAPE, np.nan, np.float32)
    assert "no head" in read(write(tmp_path / "b.nii", nothing))[0].unsupported
    assert "blank" in read(write(tmp_path / "b.nii", nothing), None, "3")[0].unsupported


def changed(path: Path, **fields: Any) -> Path:
    """Change fields of the header, the voxels left as they are."""
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": [3, 3000, 3000, 3000, 1, 1, 1, 1]}, "more than 80 million voxels"),
        ({"dim": [3, 40, 50, 900, 1, 1, 1, 1]}, "damaged NIfTI"),
        ({"dim": [1, 40, 50, 36, 1, 1, 1, 1]}, "not a volume"),
        ({"dim": [3, 40, 50, 0, 1, 1, 1, 1]}, "not a volume|damaged NIfTI"),
        ({"sform_code": 1, "srow_x": [np.nan, 0, 0, 0]}, "orientation is no number"),
        ({"sform_code": 1, "srow_x": [0, 0, 0, 0]}, "orientation is degenerate"),
        ({"datatype": 9999}, "damaged NIfTI"),
        ({"dim": [3, 20, 100, 36, 1, 1, 1, 1]}, "20x100 pixels are too few"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = changed(write(tmp_path / "scan.nii", head().astype(np.int16)), **fields)
    with pytest.raises(UnreadableImageError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"nowhere\.nii: no such file"):
        read(tmp_path / "nowhere.nii")
    (tmp_path / "text.nii").write_text("no volume")
    with pytest.raises(UnreadableImageError, match=r"text\.nii: damaged NIfTI file"):
        read(tmp_path / "text.nii")
    whole = write(tmp_path / "a.nii.gz", head().astype(np.int16)).read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableImageError, match=r"half\.nii\.gz: damaged NIfTI file"):
        read(tmp_path / "half.nii.gz")


def test_strange_voxel_sizes_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", head().astype(np.int16), spacing=(1, 1000, 1))
    (image,) = read(path, "axial", "18")
    assert image.grey is not None
    assert image.grey.shape == (50, 40)


def test_real_volumes_are_upright(real_data: Path) -> None:
    path = real_data / "nifti" / "icbm152_t1.nii.gz"
    for axis in ("axial", "coronal"):
        images = read(path, axis)
        assert 50 < len(images) < 200
        middle = images[len(images) // 2].grey
        assert middle is not None
        # Left and right are alike in a head, top and bottom (front and back) are not.
        mirrored = np.corrcoef(middle.ravel(), middle[:, ::-1].ravel())[0, 1]
        assert mirrored > 0.9 > np.corrcoef(middle.ravel(), middle[::-1].ravel())[0, 1]


def test_folders_are_read_in_the_order_people_count_in(tmp_path: Path) -> None:
    for name in ("s10.png", "s9.PNG", "v2.nii", "a/s1.jpg", "b/.s.jpg", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [str(Path(path).relative_to(tmp_path)) for path in find_files(tmp_path).files]
    assert found == ["s9.PNG", "s10.png", "v2.nii", "a/s1.jpg"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 360), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 400),
    packed=st.booleans(),
)
@example(changes=[], cut=0, packed=True)
def test_damaged_file_is_named_or_read(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int, *, packed: bool
) -> None:
    path = tmp_path / "a.nii"
    if not path.exists():
        write(path, head().astype(np.int16))
    content = bytearray(path.read_bytes())
    for position, value in changes:
        content[position] = value
    del content[len(content) - cut :]
    damaged = tmp_path / ("b.nii.gz" if packed else "b.nii")
    damaged.write_bytes(gzip.compress(content) if packed else content)
    try:
        assert read(damaged)
    except UnreadableImageError as error:
        assert str(damaged) in str(error)  # noqa: PT017  (either outcome is right)


@pytest.mark.parametrize("volumes", [1, 3])
def test_a_wrong_checksum_is_damage(tmp_path: Path, volumes: int) -> None:
    voxels = np.repeat(head().astype(np.int16)[..., None], volumes, axis=3)
    path = write(tmp_path / "a.nii", voxels.squeeze())
    content = bytearray(gzip.compress(path.read_bytes()))
    (tmp_path / "whole.nii.gz").write_bytes(content)
    assert read(tmp_path / "whole.nii.gz")
    (tmp_path / "longer.nii.gz").write_bytes(content + b"what else came over the line")
    assert read(tmp_path / "longer.nii.gz")
    content[-6] ^= 1
    (tmp_path / "damaged.nii.gz").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"damaged NIfTI file \(CRC check failed"):
        read(tmp_path / "damaged.nii.gz")


def test_few_sagittal_slices_of_several_volumes_are_no_channels(tmp_path: Path) -> None:
    echoes = np.stack([head()[8:32]] * 3, axis=-1).astype(np.int16)
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(echoes, np.diag([5, 1, 1, 1])), path)
    images = read(path, numbers="all")
    assert len(images) == 24
    assert "sagittal slices, the first of 3 volumes" in images[0].volume
