"""Phantoms look alike but for the tumour, and make a data set that the catalogue reads."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.datasets.catalogue import Catalogue, Slice, check_groups
from tumorscope.datasets.sources import read_data
from tumorscope.errors import DataError
from tumorscope.images import prepare, read_slice
from tumorscope.phantoms.drawing import draw_phantom, write_phantoms
from tumorscope.phantoms.outlines import PLANES

T = TypeVar("T")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, patients_per_class=10, slices_per_patient=2)
    return folder


@pytest.fixture(scope="module")
def catalogue(folder: Path) -> Catalogue:
    return read_data([folder])


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("label", CLASSES)
def test_a_phantom_is_a_slice_with_its_outline(plane: str, label: str) -> None:
    phantom = draw_phantom(label, plane=plane, patient_seed=5, slice_number=1, size=120)
    assert phantom.image.shape == phantom.mask.shape == (120, 120)
    assert phantom.image.dtype == phantom.mask.dtype == np.uint8
    assert set(np.unique(phantom.mask)) <= {0, 255}
    share = (phantom.mask > 0).mean()
    assert share == 0 if label == "notumor" else 0.002 < share < 0.12


def test_the_same_seeds_draw_the_same_phantom() -> None:
    first, again = (
        draw_phantom("glioma", plane="axial", patient_seed=3, slice_number=0) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("label", TUMOUR_CLASSES)
def test_nothing_but_the_tumour_and_its_surroundings_depends_on_the_class(
    plane: str, label: str
) -> None:
    healthy = draw_phantom("notumor", plane=plane, patient_seed=8, slice_number=2).image
    ill = draw_phantom(label, plane=plane, patient_seed=8, slice_number=2)
    change = np.abs(ill.image.astype(int) - healthy)
    assert (change[ill.mask > 0] > 1).mean() > 0.8
    rows, columns = np.nonzero(ill.mask)
    near = np.zeros(change.shape, dtype=bool)
    near[
        max(0, rows.min() - 45) : rows.max() + 45, max(0, columns.min() - 45) : columns.max() + 45
    ] = True
    assert change[~near].mean() < 0.3
    background = healthy < 0.1 * np.percentile(healthy, 99)
    background[30:] = False  # only what is above or beside the head
    assert not change[background].any()


@pytest.mark.parametrize("plane", PLANES)
def test_tumours_look_and_lie_as_in_life(plane: str) -> None:
    """Meningioma: even, off centre. Pituitary: near one place. Glioma: bright rim, dark core."""
    spots: dict[str, list[tuple[float, float]]] = {label: [] for label in TUMOUR_CLASSES}
    spread: dict[str, list[float]] = {label: [] for label in TUMOUR_CLASSES}
    for label in TUMOUR_CLASSES:
        for seed in range(6):
            phantom = draw_phantom(label, plane=plane, patient_seed=seed, slice_number=2)
            inside = phantom.mask > 0
            spread[label].append(phantom.image[inside].std() / phantom.image[inside].mean())
            spots[label].append(tuple(np.argwhere(inside).mean(axis=0)))
    assert np.median(spread["glioma"]) > 2 * np.median(spread["meningioma"])
    scatter = {label: np.array(places).std(axis=0).max() for label, places in spots.items()}
    assert scatter["pituitary"] < 14
    assert scatter["meningioma"] > 25


def _likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Correlation of the two inputs."""
    inputs = np.stack([prepare(picture, 64) for picture in (first, second)]).astype(float)
    inputs -= inputs.mean(axis=(1, 2), keepdims=True)
    inputs /= inputs.std(axis=(1, 2), keepdims=True)
    return float((inputs[0] * inputs[1]).mean())


@pytest.mark.parametrize("plane", PLANES)
def test_slices_of_one_patient_look_alike_and_differ(plane: str) -> None:
    """That is why a split must go by patient."""
    own, others = [], []
    for seed in range(3):
        slices = [
            draw_phantom("meningioma", plane=plane, patient_seed=seed, slice_number=number).image
            for number in (2, 3)
        ]
        other = draw_phantom("meningioma", plane=plane, patient_seed=seed + 50, slice_number=2)
        assert (slices[0] != slices[1]).any()
        own.append(_likeness(*slices))
        others.append(_likeness(slices[0], other.image))
    assert min(own) > 0.9
    assert max(others) < min(own) - 0.05


def test_a_tumour_is_widest_in_the_middle_slice() -> None:
    areas = [
        draw_phantom("pituitary", plane="coronal", patient_seed=4, slice_number=n).mask.sum()
        for n in (0, 2, 5)
    ]
    assert areas[0] < areas[1] > areas[2]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown class 'cyst': the classes are glioma"):
        draw_phantom("cyst", plane="axial", patient_seed=0, slice_number=0)
    with pytest.raises(ValueError, match="unknown plane 'oblique': the planes are axial"):
        draw_phantom("glioma", plane="oblique", patient_seed=0, slice_number=0)


def test_the_catalogue_reads_what_was_written(folder: Path, catalogue: Catalogue) -> None:
    assert len(catalogue) == 4 * 10 * 2
    assert not catalogue.skipped
    assert set(catalogue.counts().values()) == {20}
    assert len({item.group for item in catalogue.slices}) == 40
    for item in catalogue.slices[::9]:
        assert item.mask is not None
        assert read_slice(item.path).shape == read_slice(item.mask).shape
        assert (np.asarray(Image.open(item.mask)) > 0).any() == (item.label != "notumor")
    assert {path.name for path in folder.iterdir()} == {"images", "masks", "slices.csv"}


def test_split_and_folds_go_by_patient_and_hold_every_class(catalogue: Catalogue) -> None:
    for part in (lambda item: item.split, lambda item: str(item.fold)):
        parts: dict[str, list[Slice]] = {}
        for item in catalogue.slices:
            parts.setdefault(part(item), []).append(item)
        check_groups(dict(parts))
    assert Counter((item.label, item.split) for item in catalogue.slices) == Counter(
        {(label, split): n for label in CLASSES for split, n in (("train", 16), ("test", 4))}
    )
    assert Counter((item.label, item.fold) for item in catalogue.slices) == Counter(
        {(label, fold): 4 for label in CLASSES for fold in range(1, 6)}
    )


def test_neither_name_nor_size_tells_the_class(catalogue: Catalogue) -> None:
    by_name = [item.label for item in sorted(catalogue.slices, key=lambda item: item.name)]
    changes = sum(
        first != second for first, second in zip(by_name[::2], by_name[2::2], strict=False)
    )
    assert changes > 20  # of 39: the patients of the classes are mixed
    sizes = {
        label: Counter(Image.open(s.path).size for s in catalogue.slices if s.label == label)
        for label in CLASSES
    }
    assert all(size == sizes["glioma"] for size in sizes.values())
    assert len(sizes["glioma"]) == 3


def test_grey_values_alone_do_not_tell_the_class(catalogue: Catalogue) -> None:
    labels = [item.label for item in catalogue.slices]
    patients = [item.group for item in catalogue.slices]
    histograms = np.array(
        [np.bincount(prepare(read_slice(s.path), 64).ravel() // 16) for s in catalogue.slices]
    )
    means = np.array([[read_slice(s.path).mean()] for s in catalogue.slices])
    for facts, limit in ((means, 0.45), (histograms, 0.65)):
        answers = cross_val_predict(
            RandomForestClassifier(100, random_state=0),
            facts,
            labels,
            groups=patients,
            cv=GroupKFold(5),
        )
        assert np.mean(answers == labels) < limit


def _contents(folder: Path) -> dict[str, bytes]:
    files: Iterable[Path] = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_phantoms(tmp_path / name, patients_per_class=2, slices_per_patient=1, seed=seed)
    first, same, other = (_contents(tmp_path / name) for name in "abc")
    assert first == same
    assert first.keys() == other.keys()
    assert first != other


def test_progress_is_told_of_every_patient(tmp_path: Path) -> None:
    seen: list[int] = []

    def watch(items: Iterable[T], *, total: int, label: str) -> Iterable[T]:
        assert label
        for item in items:
            seen.append(total)
            yield item

    table = write_phantoms(tmp_path, patients_per_class=2, slices_per_patient=1, progress=watch)
    assert seen == [8] * 8
    assert table == tmp_path / "slices.csv"
    assert table.read_text().splitlines()[0] == "file,class,patient,split,fold,mask"


@pytest.mark.parametrize(("patients", "slices"), [(1, 6), (12, 0)])
def test_too_small_a_data_set_is_refused(tmp_path: Path, patients: int, slices: int) -> None:
    with pytest.raises(DataError, match="at least 2 patients"):
        write_phantoms(tmp_path / "new", patients_per_class=patients, slices_per_patient=slices)
    assert not (tmp_path / "new").exists()
