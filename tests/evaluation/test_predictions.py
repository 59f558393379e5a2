"""The table of predictions: what it refuses, how it is merged, pooled, saved and read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tumorscope.classes import CLASSES
from tumorscope.datasets.catalogue import Slice
from tumorscope.errors import DataError
from tumorscope.evaluation.ensembles import average
from tumorscope.evaluation.metrics import roc_auc
from tumorscope.evaluation.predictions import Predictions, pool


def table(**changes: object) -> Predictions:
    """Four images of three slices and two patients; the values of `changes` are put in."""
    values: dict[str, object] = {
        "classes": ("glioma", "notumor"),
        "names": ("a.jpg", "b.jpg", "c.jpg", "d.jpg"),
        "labels": ("glioma", "glioma", "glioma", "notumor"),
        "groups": ("p1", "p1", "p1", "p2"),
        "clusters": ("s1", "s1", "s2", "s3"),
        "probabilities": np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6]]),
    }
    return Predictions(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ()}, "the test part is empty"),
        ({"classes": ("glioma",)}, "two or more different classes"),
        ({"classes": ("glioma", "glioma")}, "two or more different classes"),
        ({"classes": ("glioma", "cat")}, "out of glioma, meningioma, notumor, pituitary, not"),
        ({"labels": ("glioma",)}, "4 images need as many labels, not 1"),
        ({"folds": (1, 2)}, "4 images need as many folds, not 2"),
        ({"labels": ("glioma", "glioma", "cat", "notumor")}, "c.jpg: label 'cat' is none of"),
        ({"groups": ("p1", "p1", "", "p2")}, "c.jpg has no group"),
        ({"probabilities": np.full((4, 3), 1 / 3)}, r"shape \(4, 2\), not \(4, 3\)"),
        ({"probabilities": np.full((4, 2), 0.51)}, "a.jpg: the probabilities .* sum to 1"),
        ({"probabilities": np.full((4, 2), np.nan)}, "between 0 and 1"),
        ({"probabilities": np.array([[0.5, 0.5]] * 3 + [[-0.1, 1.1]])}, "d.jpg: .*-0.1"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        table(**changes)
    assert "\n" not in str(caught.value)


def test_a_slice_has_the_mean_of_its_images() -> None:
    slices = table().by_slice()
    assert slices.names == ("s1", "s2", "s3")
    assert slices.labels == ("glioma", "glioma", "notumor")
    assert slices.groups == ("p1", "p1", "p2")
    np.testing.assert_allclose(slices.probabilities, [[0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])


def test_a_patient_has_the_mean_of_its_slices_so_that_copies_do_not_count_twice() -> None:
    patients = table().by_patient()
    assert patients.names == ("p1", "p2")
    np.testing.assert_allclose(patients.probabilities, [[0.45, 0.55], [0.4, 0.6]])


def test_a_verdict_that_is_shared_is_that_of_the_slice_and_of_the_patient() -> None:
    verdicts = ("unsupported", "unsupported", "confident", "confident")
    judged = table(verdicts=verdicts)
    assert judged.by_slice().verdicts == ("unsupported", "confident", "confident")
    assert judged.by_patient().verdicts == ("uncertain", "confident")


def test_a_group_with_two_labels_gives_a_row_for_each() -> None:
    patients = table(groups=("p1",) * 4).by_patient()
    assert patients.names == ("p1", "p1")
    assert patients.labels == ("glioma", "notumor")
    assert patients.groups == ("p1", "p1")


def test_slices_without_a_group_or_cluster_stand_for_themselves(tmp_path: Path) -> None:
    slices = [
        Slice(path=tmp_path / "a.jpg", name="a.jpg", label="glioma", source="x"),
        Slice(path=tmp_path / "b.jpg", name="b.jpg", label="notumor", source="x", cluster="7"),
        Slice(path=tmp_path / "c.jpg", name="c.jpg", label="notumor", source="x", group="p"),
    ]
    answers = np.full((3, 4), 0.25, dtype=np.float32)
    predictions = Predictions.of_slices(slices, answers, classes=CLASSES, folds=(2,) * len(slices))
    assert predictions.clusters == ("x/a.jpg", "7", "x/c.jpg")
    assert predictions.groups == ("x/a.jpg", "7", "p")
    assert predictions.folds == (2, 2, 2)
    assert predictions.paths[1] == tmp_path / "b.jpg"
    assert Predictions.of_slices(slices, answers, classes=CLASSES).folds == ()


names = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, unique=True
)


@settings(max_examples=40, deadline=None)
@given(names=names, data=st.data())
def test_what_was_saved_is_read_again(
    names: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    count = len(names)
    raw = data.draw(
        arrays(np.float32, (count, 3), elements=st.floats(2**-10, 1, width=32), fill=st.nothing())
    )
    saved = Predictions(
        classes=("glioma", "meningioma", "pituitary"),
        names=tuple(names),
        labels=tuple(data.draw(st.sampled_from(["glioma", "pituitary"])) for _ in names),
        groups=tuple(f"group {name}" for name in names),
        clusters=tuple(f"{name},1" for name in names),
        probabilities=(raw / raw.sum(axis=1, keepdims=True)).astype(np.float64),
        folds=tuple(range(count)) if data.draw(st.booleans()) else (),
        verdicts=("uncertain",) * count if data.draw(st.booleans()) else (),
    )
    path = tmp_path_factory.mktemp("table") / "predictions.csv"
    saved.save(path)
    read = Predictions.load(path)
    for field in ("classes", "names", "labels", "groups", "clusters", "folds", "verdicts"):
        assert getattr(read, field) == getattr(saved, field)
    np.testing.assert_array_equal(
        read.probabilities.astype(np.float32), saved.probabilities.astype(np.float32)
    )


def test_near_one_the_order_of_the_probabilities_survives(tmp_path: Path) -> None:
    rest = np.array([4e-12, 3e-12, 1e-12, 2e-12])
    saved = table(probabilities=np.stack([1 - rest, rest], axis=1))
    saved.save(tmp_path / "p.csv")
    read = Predictions.load(tmp_path / "p.csv")
    np.testing.assert_array_equal(read.probabilities, saved.probabilities)
    np.testing.assert_array_equal(roc_auc(read), roc_auc(saved))


def test_labels_stay_labels_in_a_table(tmp_path: Path) -> None:
    """A table of labels has no probabilities to calibrate, nor has what is read of it."""
    saved = table(probabilities=np.eye(2)[[0, 1, 1, 0]], labels_only=True)
    saved.save(tmp_path / "p.csv")
    assert Predictions.load(tmp_path / "p.csv").labels_only
    assert average([table(), saved]).labels_only
    assert not average([table(), table()]).labels_only


def test_a_file_name_that_is_no_utf8_survives(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    table(names=(name, "b", "c", "d")).save(tmp_path / "p.csv")
    assert Predictions.load(tmp_path / "p.csv").names[0] == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "test part is empty"),
        ("name,label\na.jpg,glioma\n", "no column 'group'"),
        ("name,label,group,cluster\na,glioma,p,s\n", "two or more different classes"),
        (
            "name,label,group,cluster,probability_glioma,probability_notumor\na,glioma,p,s,0.9,x\n",
            "not a whole table",
        ),
        (
            "name,label,group,cluster,probability_glioma,probability_notumor\na,glioma,p,s,0.9\n",
            "not a whole table",
        ),
        (
            'name,label,group,cluster,probability_glioma,probability_notumor\na,"glio',
            "not a whole table",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "damaged.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"damaged.csv: .*{message}"):
        Predictions.load(path)


def test_folds_are_pooled_in_order() -> None:
    first = table(folds=(1,) * 4, paths=tuple(Path(name) for name in "abcd"))
    first = replace(first, verdicts=("confident",) * 4)
    second = table(names=tuple("efgh"), folds=(2,) * 4, paths=tuple(Path(x) for x in "efgh"))
    pooled = pool([first, second])
    assert len(pooled) == 8
    assert pooled.folds == (1, 1, 1, 1, 2, 2, 2, 2)
    assert pooled.verdicts == ()
    both = pool([first, replace(second, verdicts=("uncertain",) * 4)])
    assert both.verdicts == ("confident",) * 4 + ("uncertain",) * 4
    assert pooled.paths[4] == Path("e")
    assert pooled.names == first.names + second.names
    np.testing.assert_array_equal(pooled.probabilities[4:], second.probabilities)


def test_what_one_part_lacks_the_pool_lacks() -> None:
    pooled = pool([table(folds=(1,) * 4), table(names=tuple("efgh"))])
    assert pooled.folds == ()
    assert pooled.paths == ()


def test_parts_that_cannot_be_pooled_are_refused() -> None:
    with pytest.raises(DataError, match="at least one fold"):
        pool([])
    with pytest.raises(DataError, match=r"a\.jpg was tested in two folds"):
        pool([table(), table()])
    with pytest.raises(DataError, match="over glioma, notumor and over notumor, glioma"):
        pool([table(), table(classes=("notumor", "glioma"), names=tuple("efgh"))])
