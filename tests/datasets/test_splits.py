"""What each protocol puts on which side, and that no group stands on both."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorscope.classes import CLASSES, TUMOUR_CLASSES
from tumorscope.datasets.catalogue import Catalogue, Slice, Split, check_groups
from tumorscope.datasets.locations import data_sources
from tumorscope.datasets.manifest import kaggle_manifest
from tumorscope.datasets.sources import read_set
from tumorscope.datasets.splits import PROTOCOLS, Partition, folds_of, hold_out, partition
from tumorscope.errors import DataError


def a_slice(
    number: int,
    group: str,
    *,
    label: str = "",
    source: str = "set",
    split: Split = "",
    fold: int = 0,
    doubt: str = "",
) -> Slice:
    return Slice(
        path=Path("nowhere") / f"{number}.png",
        name=f"{number}.png",
        label=label or CLASSES[number % 4],
        source=source,
        group=group,
        split=split,
        fold=fold,
        doubt=doubt,
    )


def patients(count: int, slices: int = 3, **facts: object) -> list[Slice]:
    """So many patients of each class in turn; those after the fourth round are in fold 1 again."""
    found = [
        a_slice(slices * patient + number, f"P{patient}", label=CLASSES[patient % 4])
        for patient in range(count)
        for number in range(slices)
    ]
    return [replace(item, **facts) for item in found]  # type: ignore[arg-type]


def groups_of(slices: Sequence[Slice]) -> set[str]:
    return {item.group for item in slices}


def assert_apart(parts: Partition) -> None:
    check_groups({"train": parts.train, "validation": parts.validation, "test": parts.test})
    assert parts.leaked == 0


@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=20, max_size=28),
    share=st.sampled_from([0.1, 0.2, 0.34, 0.5]),
    seed=st.integers(0, 99),
)
def test_drawn_folds_test_everything_once_and_never_share_a_group(
    sizes: list[int], share: float, seed: int
) -> None:
    slices = [
        a_slice(100 * patient + number, f"P{patient}", label=CLASSES[patient % 4])
        for patient, size in enumerate(sizes)
        for number in range(size)
    ]
    catalogue = Catalogue(tuple(slices))
    folds = folds_of(catalogue, "grouped-folds")
    assert folds == (1, 2, 3, 4, 5)
    tested: Counter[str] = Counter()
    for fold in folds:
        parts = partition(
            catalogue, split="grouped-folds", fold=fold, validation_share=share, seed=seed
        )
        assert_apart(parts)
        assert len(parts.train) + len(parts.validation) + len(parts.test) == len(slices)
        assert parts.validation
        tested.update(item.name for item in parts.test)
    assert tested == Counter(item.name for item in slices)


def test_the_same_seed_draws_the_same_parts_and_another_seed_others() -> None:
    catalogue = Catalogue(tuple(patients(40)))
    first, again, other = (
        partition(catalogue, split="grouped-folds", fold=2, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert groups_of(first.validation) != groups_of(other.validation)
    assert groups_of(first.test) != groups_of(other.test)


def test_folds_of_the_data_are_used_whatever_their_number() -> None:
    slices = [replace(item, fold=2 + int(item.group[1:]) % 3) for item in patients(24)]
    catalogue = Catalogue(tuple(slices))
    assert folds_of(catalogue, "grouped-folds") == (2, 3, 4)
    parts = partition(catalogue, split="grouped-folds", fold=3)
    assert {item.fold for item in parts.test} == {3}
    assert_apart(parts)
    with pytest.raises(DataError, match="there is no fold 1: the folds are 2, 3, 4"):
        partition(catalogue, split="grouped-folds", fold=1)


def test_folds_of_two_sets_are_drawn_anew() -> None:
    first = patients(20, fold=1)
    second = [replace(item, group=f"Q{item.group}", source="other", fold=9) for item in first]
    catalogue = Catalogue((*first, *second))
    assert folds_of(catalogue, "grouped-folds") == (1, 2, 3, 4, 5)
    assert_apart(partition(catalogue, split="grouped-folds", fold=5))


def test_folds_that_only_some_slices_have_are_refused() -> None:
    slices = patients(20, fold=1)
    slices[5] = replace(slices[5], fold=0)
    with pytest.raises(DataError, match=r"5\.png has no fold, but other slices of set have"):
        partition(Catalogue(tuple(slices)), split="grouped-folds")


def test_a_patient_in_two_folds_of_the_data_is_refused_in_one_line() -> None:
    slices = [replace(item, fold=1 + int(item.group[1:]) % 5) for item in patients(20)]
    slices[0] = replace(slices[0], fold=4)
    with pytest.raises(DataError, match="group 'P0' stands in both test and train") as caught:
        partition(Catalogue(tuple(slices)), split="grouped-folds", fold=1)
    assert "\n" not in str(caught.value)


def test_a_published_split_is_kept_and_its_leaks_are_counted() -> None:
    slices = [
        replace(item, split="test" if index % 3 == 0 else "train")
        for index, item in enumerate(patients(24))
    ]
    catalogue = Catalogue(tuple(slices))
    assert folds_of(catalogue, "published-split") == (0,)
    parts = partition(catalogue, split="published-split", fold=7)
    assert parts.fold == 0
    assert len(parts.test) == 24
    assert parts.leaked == 24
    assert len(parts.train) + len(parts.validation) == 48
    check_groups({"train": parts.train, "validation": parts.validation})


def test_added_sets_never_leak_into_the_test_part() -> None:
    own = patients(40, source="kaggle")
    own = [replace(item, split="test" if item.group < "P2" else "train") for item in own]
    added = [
        replace(item, source="figshare", name=f"added {item.name}", split="") for item in own[::2]
    ]
    own_test = {item.group for item in own if item.split == "test"}
    parts = partition(Catalogue((*own, *added)), split="kaggle-official")
    assert {item.source for item in parts.test} == {"kaggle"}
    learned = (*parts.train, *parts.validation)
    assert not groups_of([item for item in learned if item.source == "figshare"]) & own_test
    assert parts.left_out == sum(item.group in own_test for item in added)
    assert parts.left_out > 0
    assert any(item.source == "figshare" for item in learned)


def test_every_slice_is_counted_once_where_doubted_ones_are_of_tested_patients() -> None:
    own = patients(20, source="figshare", label="glioma")
    own = [replace(item, fold=int(item.group[1:]) % 5 + 1) for item in own]
    own = [replace(item, label=TUMOUR_CLASSES[n % 3]) for n, item in enumerate(own)]
    added = [a_slice(900 + n, f"P{n}", label="glioma", source="kaggle") for n in range(20)]
    doubted = [replace(item, name=f"d{item.name}", doubt="unlike the others") for item in added]
    catalogue = Catalogue((*own, *added, *doubted))
    parts = partition(catalogue, split="figshare-patient", fold=1)
    assert (parts.left_out, parts.doubted, parts.unused) == (4, 20, 0)


def test_everything_trains_and_nothing_tests() -> None:
    own = patients(40, source="kaggle")
    own[7] = replace(own[7], doubt="seen twice")
    added = [replace(item, source="figshare", name=f"added {item.name}") for item in own[::2]]
    catalogue = Catalogue((*own, *added))
    parts = partition(catalogue, split="everything")
    assert (parts.test, parts.fold, parts.left_out, parts.doubted) == ((), 0, 0, 1)
    learned = {(item.source, item.name) for item in (*parts.train, *parts.validation)}
    assert learned == {(item.source, item.name) for item in catalogue.slices if not item.doubt}
    check_groups({"train": parts.train, "validation": parts.validation})
    with pytest.raises(DataError, match="everything has no test part"):
        folds_of(catalogue, "everything")


def test_an_external_set_tests_whole_with_tumours_of_unknown_kind() -> None:
    slices = [*patients(6), a_slice(500, "W1", label="tumour", source="web")]
    slices[4] = replace(slices[4], doubt="stands under two labels")
    parts = partition(Catalogue(tuple(slices)), split="external")
    assert parts.test == tuple(item for item in slices if not item.doubt)
    assert (parts.train, parts.validation, parts.doubted, parts.unused) == ((), (), 1, 0)
    assert folds_of(Catalogue(tuple(slices)), "external") == (0,)


def test_doubted_labels_are_left_out_of_training_and_of_folds_test_parts() -> None:
    slices = [
        replace(
            item,
            source="kaggle",
            fold=1 + int(item.group[1:]) % 5,
            split="test" if int(item.group[1:]) % 5 == 0 else "train",
            doubt="stands under two labels" if item.name in {"0.png", "3.png"} else "",
        )
        for item in patients(40)
    ]
    catalogue = Catalogue(tuple(slices))
    by_patient = partition(catalogue, split="kaggle-patient", fold=1)
    everywhere = (*by_patient.train, *by_patient.validation, *by_patient.test)
    assert len(everywhere) == 118
    assert not any(item.doubt for item in everywhere)
    assert by_patient.doubted == 2
    official = partition(catalogue, split="kaggle-official")
    assert {item.name for item in official.test if item.doubt} == {"0.png"}
    assert not any(item.doubt for item in (*official.train, *official.validation))
    assert official.doubted == 1


@pytest.mark.parametrize(
    ("source", "split", "message"),
    [
        ("set", "no-such", "unknown split 'no-such': it is one of kaggle-official"),
        ("set", "kaggle-patient", "kaggle-patient needs the kaggle set"),
        ("kaggle", "kaggle-official", "the data has no train part; use --split grouped-folds"),
    ],
)
def test_a_split_that_does_not_fit_says_so(source: str, split: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        partition(Catalogue(tuple(patients(20, source=source))), split=split)
    assert message in str(caught.value)


def test_tumours_of_unknown_kind_alone_cannot_be_learned() -> None:
    slices = patients(20, label="tumour")
    with pytest.raises(DataError, match="grouped-folds: the data has no slice without a tumour"):
        partition(Catalogue(tuple(slices)), split="grouped-folds")


def test_unknown_splits_have_no_folds() -> None:
    with pytest.raises(DataError, match="unknown split 'x'"):
        folds_of(Catalogue(()), "x")


def test_a_class_missing_from_training_is_named() -> None:
    slices = [item for item in patients(40) if item.label != "meningioma"]
    with pytest.raises(DataError, match="has no picture of class 'meningioma'"):
        partition(Catalogue(tuple(slices)), split="grouped-folds")


def test_three_tumour_classes_are_a_task_of_their_own() -> None:
    slices = [item for item in patients(40) if item.label != "notumor"]
    assert partition(Catalogue(tuple(slices)), split="grouped-folds").classes == TUMOUR_CLASSES


def test_a_class_only_in_the_test_part_is_named() -> None:
    slices = [
        replace(item, split="test" if item.label == "notumor" else "train") for item in patients(40)
    ]
    slices = [
        replace(item, split="test") if item.group in {"P0", "P1"} else item for item in slices
    ]
    with pytest.raises(DataError, match="the test part holds 'notumor'"):
        partition(Catalogue(tuple(slices)), split="published-split")


def test_a_slice_without_a_group_cannot_be_split() -> None:
    slices = patients(20)
    slices[0] = replace(slices[0], group="")
    with pytest.raises(DataError, match=r"0\.png has no group"):
        partition(Catalogue(tuple(slices)), split="grouped-folds")


def test_too_few_groups_or_slices_are_refused_in_one_line() -> None:
    with pytest.raises(DataError, match="12 slices of 4 patients or groups cannot be split into 5"):
        partition(Catalogue(tuple(patients(4))), split="grouped-folds")
    with pytest.raises(DataError, match="8 slices of 8 patients or groups cannot be split into 5"):
        partition(Catalogue(tuple(patients(8, slices=1))), split="grouped-folds")


def test_small_sets_hold_out_what_can_be_drawn() -> None:
    stay, held = hold_out(patients(12, slices=1), share=0.1, seed=0)
    assert len(stay) + len(held) == 12
    assert 2 <= len(held) <= 6
    assert {item.label for item in stay} == set(CLASSES)
    assert hold_out(patients(3), share=0.0, seed=0) == (patients(3), [])


def test_the_share_that_is_held_out_is_about_what_was_asked_for() -> None:
    slices = patients(80)
    for share in (0.1, 0.25, 0.5):
        stay, held = hold_out(slices, share=share, seed=3)
        assert len(held) / len(slices) == pytest.approx(share, abs=0.04)
        assert not groups_of(stay) & groups_of(held)
        counts = Counter(item.label for item in held)
        assert max(counts.values()) - min(counts.values()) <= 3


def test_a_class_of_one_patient_is_learned_from_not_held_out() -> None:
    slices = [item for item in patients(16) if item.label != "pituitary"]
    slices += [replace(item, group="only one", label="pituitary") for item in patients(4)]
    for seed in range(3):
        stay, held = hold_out(slices, share=0.3, seed=seed)
        assert {item.label for item in stay} == set(CLASSES)
        assert held


def test_where_every_part_would_take_a_class_away_the_split_is_refused() -> None:
    with pytest.raises(DataError, match="nothing of some class is left to learn from"):
        hold_out(patients(4), share=0.5, seed=0)


def test_every_protocol_explains_itself() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert len(protocol.explanation) > 80


def kaggle_rows() -> Catalogue:
    """The Kaggle set as its manifest describes it; no picture is needed to split it."""
    return Catalogue(
        tuple(
            Slice(
                path=Path(row.file),
                name=row.file,
                label=row.label,
                source="kaggle",
                group=row.group,
                cluster=row.twin_cluster,
                split=row.official_split,
                fold=row.fold,
                doubt=row.label_doubt,
            )
            for row in kaggle_manifest().values()
        )
    )


def test_kaggles_folds_never_share_a_patient_and_test_everything_once() -> None:
    catalogue = kaggle_rows()
    tested: Counter[str] = Counter()
    for fold in folds_of(catalogue, "kaggle-patient"):
        parts = partition(catalogue, split="kaggle-patient", fold=fold, validation_share=0.5)
        assert_apart(parts)
        assert parts.doubted == 24
        tested.update(item.name for item in parts.test)
    assert set(tested.values()) == {1}
    assert len(tested) == len(catalogue) - 24


def test_kaggles_official_test_part_is_the_published_one_and_leaks() -> None:
    parts = partition(kaggle_rows(), split="kaggle-official")
    assert len(parts.test) == 1311
    counts = Counter(item.label for item in parts.test)
    assert counts == {"glioma": 300, "meningioma": 306, "notumor": 405, "pituitary": 300}
    assert parts.leaked > 988  # most of those with a twin in Training, and more by patient
    check_groups({"train": parts.train, "validation": parts.validation})


def test_figshares_strict_folds_keep_numbers_that_differ_in_a_letter_together(
    real_data: Path,
) -> None:
    catalogue = read_set(real_data / "figshare")
    tested: Counter[str] = Counter()
    left_out = 0
    for fold in folds_of(catalogue, "figshare-patient"):
        parts = partition(catalogue, split="figshare-patient", fold=fold, validation_share=0.5)
        assert_apart(parts)
        assert parts.classes == TUMOUR_CLASSES
        assert {item.fold for item in parts.test} == {fold}
        left_out += parts.left_out
        tested.update(item.name for item in parts.test)
    assert set(tested.values()) == {1}
    assert len(tested) == 3064
    assert left_out > 0  # patients that the authors' folds know under two numbers


def test_tumours_of_unknown_kind_are_learned_from_only_and_never_of_a_tested_patient() -> None:
    named = patients(40, source="kaggle")
    named = [replace(item, fold=1 + number // 3 % 5) for number, item in enumerate(named)]
    extra = [
        a_slice(1000 + number, group, label="tumour", source="web")
        for number, group in enumerate([f"P{patient}" for patient in range(40)] + ["W1", "W2"])
    ]
    parts = partition(Catalogue((*named, *extra)), split="kaggle-patient", fold=2)
    assert_apart(parts)
    assert "tumour" not in {item.label for item in (*parts.validation, *parts.test)}
    learned = groups_of([item for item in parts.train if item.label == "tumour"])
    others = groups_of(parts.validation) | groups_of(parts.test)
    assert learned == ({f"P{patient}" for patient in range(40)} | {"W1", "W2"}) - others
    assert parts.classes == CLASSES
    assert folds_of(Catalogue((*named, *extra)), "kaggle-patient") == (1, 2, 3, 4, 5)


def test_tumours_of_unknown_kind_say_nothing_where_all_have_a_tumour() -> None:
    named = [item for item in patients(40, source="figshare") if item.label != "notumor"]
    named = [replace(item, fold=1 + number // 3 % 5) for number, item in enumerate(named)]
    extra = [a_slice(1000, "W1", label="tumour", source="web")]
    parts = partition(Catalogue((*named, *extra)), split="figshare-patient", fold=2)
    assert "W1" not in groups_of(parts.train)


def test_figshares_published_folds_train_on_all_others(real_data: Path) -> None:
    catalogue = read_set(real_data / "figshare")
    sizes = []
    for fold in folds_of(catalogue, "figshare-cvind"):
        parts = partition(catalogue, split="figshare-cvind", fold=fold)
        assert len(parts.train) + len(parts.test) == 3064
        assert (parts.validation, parts.left_out, parts.unused) == ((), 0, 0)
        tested = {item.patient for item in parts.test}
        assert tested.isdisjoint(item.patient for item in parts.train)
        sizes.append(len(parts.test))
    assert sizes == [542, 679, 572, 628, 643]
    held = partition(catalogue, split="figshare-cvind", fold=1, validation_share=0.1)
    assert held.validation


def test_published_folds_need_the_published_patients_and_leave_added_copies_out() -> None:
    own = [
        replace(item, source="figshare", patient=item.group, cvind=1 + int(item.group[1:]) % 5)
        for item in patients(40)
        if item.label != "notumor"
    ]
    added = [replace(item, source="kaggle", name=f"k {item.name}", cvind=0) for item in own]
    parts = partition(Catalogue((*own, *added)), split="figshare-cvind", fold=2)
    assert_apart(parts)
    assert parts.left_out == len(parts.test)
    with pytest.raises(DataError, match=r"its fold in cvind\.mat is not known"):
        partition(Catalogue(tuple(replace(item, cvind=0) for item in own)), split="figshare-cvind")


def test_a_published_validation_part_is_taken_less_what_is_trained_on() -> None:
    order = ("train", "train", "train", "validation", "test")
    slices = [
        replace(item, split=order[int(item.group[1:]) // 4 % 5])  # type: ignore[arg-type]
        for item in patients(40)
    ]
    parts = partition(Catalogue(tuple(slices)), split="published-split")
    assert {item.split for item in parts.validation} == {"validation"}
    assert (len(parts.validation), parts.left_out, parts.unused) == (24, 0, 0)
    shared = [
        replace(item, group="P0") if item.split == "validation" and item.label == "glioma" else item
        for item in slices
    ]
    parts = partition(Catalogue(tuple(shared)), split="published-split")
    assert (len(parts.validation), parts.left_out) == (18, 6)


@pytest.mark.parametrize("share", [0.12, 0.15, 0.3, 0.35, 0.4, 0.42, 0.45, 0.48])
def test_a_share_that_no_whole_part_makes_is_held_out_too(share: float) -> None:
    slices = patients(80)
    stay, held = hold_out(slices, share=share, seed=0)
    assert len(held) / len(slices) == pytest.approx(share, abs=0.03)
    assert not groups_of(stay) & groups_of(held)
    assert {item.label for item in held} == set(CLASSES)


def test_a_whole_part_is_drawn_as_it_always_was() -> None:
    held = hold_out(patients(40), share=0.25, seed=3)[1]
    assert groups_of(held) == {f"P{number}" for number in (3, 6, 9, 12, 16, 20, 21, 22, 35, 37)}


def test_a_split_that_is_spelled_otherwise_is_named() -> None:
    with pytest.raises(DataError, match=r"unknown split 'grouped_folds': .*mean 'grouped-folds'"):
        data_sources(["anywhere"], "grouped_folds")


def test_folds_that_count_from_zero_are_told_to_count_from_one() -> None:
    slices = [replace(item, fold=int(item.group[1:]) % 5) for item in patients(20)]
    with pytest.raises(DataError, match=r"0\.png has no fold, .*folds count from 1: 0 is none"):
        folds_of(Catalogue(tuple(slices)), "grouped-folds")
