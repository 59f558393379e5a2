"""Fitting: what a seed, a kill, a schedule and an option do to a run."""

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tumorscope.classes import ANY_TUMOUR, CLASSES, TUMOUR_CLASSES
from tumorscope.cli.main import main
from tumorscope.datasets.catalogue import Skipped, Slice
from tumorscope.datasets.inputs import Inputs, read_inputs
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import Partition, partition
from tumorscope.errors import DataError, DivergedError, ModelError, RecipeError
from tumorscope.networks.factory import build_network
from tumorscope.networks.litenet import LiteNet
from tumorscope.networks.network_recipe import NetworkRecipe
from tumorscope.training.callbacks import SilentListener
from tumorscope.training.fit import Hardware, fit, precision_here
from tumorscope.training.module import (
    Fitting,
    HistoryRow,
    _class_weights,
    _mix,
    _optimizer,
    _schedule,
)
from tumorscope.training.recipe import OptimizerRecipe, load_recipe
from tumorscope.training.run_folder import Origin, RunFolder
from tumorscope.training.soup import add_weights, mean_weights, renew_statistics
from tumorscope.training.trained_network import load_weights

PLAIN = tuple(
    f"augmentation.{name}=0"
    for name in ("rotation", "flip", "shift", "zoom", "stretch", "contrast", "noise")
)
"""No augmentation, so that little data is learned quickly."""

Run = Callable[..., RunFolder]


class StoppedError(Exception):
    """Stands for whatever ends a run."""


class StopAt(SilentListener):
    """Ends the run at a batch of an epoch, or after an epoch."""

    def __init__(self, epoch: int, batch: int = 0) -> None:
        self.at = epoch, batch

    def batch(self, epoch: int, _epochs: int, done: int, _total: int, _rate: float) -> None:
        if (epoch, done) == self.at:
            raise StoppedError

    def epoch(self, row: HistoryRow) -> None:
        if (row["epoch"], 0) == self.at:
            raise StoppedError


class Heard(SilentListener):
    """Notes the epochs that were trained."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.batches: list[tuple[int, int, int]] = []

    def batch(self, epoch: int, _epochs: int, done: int, total: int, _rate: float) -> None:
        self.batches.append((epoch, done, total))

    def epoch(self, row: HistoryRow) -> None:
        self.epochs.append(int(row["epoch"]))


@pytest.fixture(scope="module")
def parts(phantoms: Path) -> Partition:
    torch.set_num_threads(1)
    return partition(read_data([phantoms]), split="grouped-folds")


@pytest.fixture
def run(parts: Partition, small: list[str], tmp_path: Path) -> Run:
    """Fits by the small recipe and overrides; the folder is given by name."""

    def fit_to(name: str, *overrides: str, of: Partition = parts, **options: Any) -> RunFolder:
        recipe = load_recipe("quick", [*small[1::2], *overrides])
        origin = options.pop("origin", Origin(sources=(DataSource(tmp_path),), fingerprint="f"))
        done = fit(of, recipe, tmp_path / name, origin=origin, **options)
        assert done is not None
        return done

    return fit_to


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(run.weights_file)


def assert_same(first: RunFolder, second: RunFolder) -> None:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert figures(first) == figures(second)
    described = [load_weights(run.weights_file).description for run in (first, second)]
    assert described[0] == described[1]


def figures(run: RunFolder) -> list[dict[str, str]]:
    """The log but for the speed."""
    with run.log_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["images_per_second"]
    return rows


def column(run: RunFolder, name: str) -> list[float]:
    return [row[name] for row in run.history()]


# What is decided


def test_what_a_missed_tumour_costs_is_decided_after_training(run: Run) -> None:
    plain, dear = run("plain"), run("dear", "decision.false_negative_cost=9")
    one, other = weights(plain), weights(dear)
    assert all(torch.equal(one[name], other[name]) for name in one)
    described = [load_weights(each.weights_file).description for each in (plain, dear)]
    assert described[0].temperature == described[1].temperature
    assert [each.false_negative_cost for each in described] == [1, 9]


# Seeds


def test_one_seed_gives_the_same_run_bit_by_bit_and_another_seed_another(run: Run) -> None:
    more = ("loss.mixup=0.3", "network.dropout=0.2", "training.epochs=2")
    first, again = run("a", *more), run("b", *more)
    assert_same(first, again)
    other = weights(run("c", *more, "training.seed=1"))
    assert any(not torch.equal(value, other[name]) for name, value in weights(first).items())


# Going on


@pytest.mark.parametrize(
    ("stop", "options"),
    [
        (StopAt(1, 2), ("loss.mixup=0.3", "network.dropout=0.2")),
        (StopAt(3), ("loss.mixup=0.3", "network.dropout=0.2")),
        (
            StopAt(3, 1),
            (
                "optimizer.schedule=plateau",
                "optimizer.plateau_patience=0",
                "optimizer.name=sgd",
                "optimizer.learning_rate=0.3",
            ),
        ),
        (
            StopAt(2, 2),
            (
                "optimizer.schedule=cosine",
                "training.early_stopping=1",
                "optimizer.learning_rate=1e-6",
                "training.monitor=validation_loss",
            ),
        ),
        (
            StopAt(3, 1),
            (
                "network.name=litenet",
                "loss.outline=1",
                "training.averaging=0.9",
                "training.sampling=unique",
                "augmentation.rot90=0.3",
                "augmentation.bias_field=0.3",
                "augmentation.blur=0.5",
            ),
        ),
        (StopAt(6, 2), ("training.soup=2", "training.keep=last", "loss.mixup=0.3")),
        (StopAt(5), ("training.soup=2", "training.keep=last", "optimizer.schedule=plateau")),
    ],
    ids=[
        "in-the-first-epoch",
        "before-a-checkpoint",
        "plateau",
        "cosine-early-stopping",
        "tumour-map-averaged",
        "second-of-a-soup",
        "a-soup-on-a-plateau",
    ],
)
def test_a_run_that_was_ended_anywhere_goes_on_to_the_same_end(
    run: Run, stop: StopAt, options: Sequence[str], tmp_path: Path
) -> None:
    options = (*options, "training.epochs=4")
    whole = run("whole", *options)
    with pytest.raises(StoppedError):
        run("again", *options, listener=stop)
    assert not RunFolder(tmp_path / "again").weights_file.exists()
    assert_same(run("again", *options, resume=True, listener=(heard := Heard())), whole)
    # Whole epochs are not trained again.
    assert heard.epochs == list(range(stop.at[0], len(figures(whole)) + 1))


def test_a_run_ended_after_its_last_checkpoint_trains_no_further(run: Run, tmp_path: Path) -> None:
    options = ("training.early_stopping=1", "optimizer.learning_rate=1e-6", "training.epochs=6")
    whole = run("whole", *options)
    assert len(figures(whole)) < 6
    shutil.copytree(whole.path, tmp_path / "again")
    RunFolder(tmp_path / "again").weights_file.unlink()
    assert_same(run("again", *options, resume=True, listener=(heard := Heard())), whole)
    assert heard.epochs == []


def test_a_run_that_was_moved_goes_on_to_the_same_end(run: Run, tmp_path: Path) -> None:
    options = ("training.epochs=3", "optimizer.learning_rate=1e-6")
    whole = run("whole", *options)
    with pytest.raises(StoppedError):
        run("here", *options, listener=StopAt(3, 1))
    (tmp_path / "here").rename(tmp_path / "there")
    assert_same(run("there", *options, resume=True), whole)


def test_what_was_begun_on_other_data_or_in_a_used_folder_is_refused(
    run: Run, tmp_path: Path
) -> None:
    run("a", "training.epochs=1")
    other = Origin(sources=(DataSource(tmp_path),), fingerprint="other")
    with pytest.raises(ModelError, match="started on other data"):
        run("a", resume=True, origin=other)
    with pytest.raises(ModelError, match="a: not empty; go on with it by --resume, or name"):
        run("a")
    with pytest.raises(ModelError, match="no run folder"):
        run("nothing", resume=True)


def test_a_folder_in_which_another_run_has_begun_meanwhile_is_left_alone(
    run: Run, tmp_path: Path
) -> None:
    def read(*arguments: Any, **options: Any) -> Inputs:
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / "recipe.toml").write_text("another's")
        return read_inputs(*arguments, **options)

    with pytest.raises(ModelError, match="a: not empty"):
        run("a", read=read)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["recipe.toml"]
    assert (tmp_path / "a" / "recipe.toml").read_text() == "another's"


def test_a_run_whose_folds_or_outlines_have_changed_is_refused(
    run: Run, parts: Partition, phantoms: Path
) -> None:
    fields = ("network.name=litenet", "network.size=small", "loss.outline=1", "training.epochs=1")
    run("a", *fields)
    other = partition(read_data([phantoms]), split="grouped-folds", fold=2)
    with pytest.raises(ModelError, match="a: this run was started on other parts of the data"):
        run("a", *fields, resume=True, of=other)
    mirrored = tuple(replace(item, mirrored=True) for item in parts.train)
    with pytest.raises(ModelError, match="a: this run was started with other outlines"):
        run("a", *fields, resume=True, of=replace(parts, train=mirrored))
    run("a", *fields, resume=True)


def test_a_checkpoint_of_another_versions_network_is_refused_in_one_line(
    run: Run, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        run("a", "training.epochs=2", listener=StopAt(2, 1))
    path = RunFolder(tmp_path / "a").last_checkpoint
    state = torch.load(path, weights_only=True)
    name = next(iter(state["state_dict"]))
    state["state_dict"][name] = state["state_dict"][name][:1].repeat(3, *[1] * 3)
    torch.save(state, path)
    with pytest.raises(ModelError, match="of another version's network: train again"):
        run("a", "training.epochs=2", resume=True)


@pytest.mark.parametrize("size", [0, 20_000, None], ids=["empty", "cut", "garbage"])
def test_a_run_with_a_damaged_checkpoint_goes_on_from_its_best_epoch(
    run: Run, tmp_path: Path, size: int | None
) -> None:
    options = ("training.epochs=3", "optimizer.schedule=constant")
    whole = run("whole", *options)
    with pytest.raises(StoppedError):
        run("again", *options, listener=StopAt(3, 1))
    path = RunFolder(tmp_path / "again").last_checkpoint
    path.write_bytes(b"\x80\x02garbage" * 999 if size is None else path.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"last\.ckpt: missing or damaged; copy best\.ckpt over"):
        run("again", *options, resume=True)
    shutil.copyfile(path.with_name("best.ckpt"), path)
    assert_same(run("again", *options, resume=True), whole)


def test_a_run_whose_best_epoch_is_damaged_can_take_the_last(run: Run) -> None:
    whole = run("whole", "training.keep=last")
    done = run("again")
    done.weights_file.unlink()
    (done.checkpoints / "best.ckpt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"best\.ckpt: .*set training\.keep = 'last'"):
        run("again", resume=True)
    assert_same(run("again", "training.keep=last", resume=True), whole)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("training.epochs=5", "training.epochs is 5 in recipe.toml, .* began with 3: set it back"),
        ("optimizer.name=sgd", "optimizer.name is 'sgd'"),
        ("training.validation_share=0.3", "training.validation_share is 0.3"),
        ("training.averaging=0.9", "training.averaging is 0.9"),
    ],
)
def test_a_run_goes_on_by_the_recipe_that_it_began_with(
    run: Run, changed: str, reason: str
) -> None:
    done = run("a")
    before = done.last_checkpoint.read_bytes()
    with pytest.raises(ModelError, match=reason):
        run("a", changed, resume=True)
    assert done.last_checkpoint.read_bytes() == before


def test_weights_of_another_version_are_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    content = run("a", "training.epochs=1").weights_file.read_bytes()
    other = tmp_path / "other.safetensors"
    other.write_bytes(content.replace(b"tumorscope-2", b"tumorscope-1"))
    with pytest.raises(ModelError, match="weights of another version of tumorscope: train again"):
        load_weights(other)
    other.write_bytes(content.replace(b"tumorscope-2", b"someone-else"))
    with pytest.raises(ModelError, match="not weights that tumorscope wrote"):
        load_weights(other)


# Soups


def test_the_networks_of_a_soup_begin_at_the_same_weights_and_go_different_ways(run: Run) -> None:
    options = (*PLAIN, "training.keep=last", "training.epochs=4")
    plain, soup = run("plain", *options), run("soup", *options, "training.soup=3")
    rows = figures(soup)
    assert rows[:4] == figures(plain)
    assert len(rows) == 12
    losses = column(soup, "train_loss")
    assert len(set(losses)) == len(losses)
    # Each has to learn anew what the one before it knew at its end, at the same rates.
    assert all(min(losses[first], losses[first + 1]) > losses[first - 1] for first in (4, 8))
    rates = column(soup, "learning_rate")
    assert rates[:4] * 3 == rates
    assert any(
        not torch.equal(value, weights(soup)[name]) for name, value in weights(plain).items()
    )


def test_a_finished_run_of_one_network_goes_on_as_a_soup(run: Run) -> None:
    options = ("training.keep=last", "training.epochs=2")
    run("a", *options)
    longer = run("a", *options, "training.soup=2", resume=True)
    assert_same(longer, run("b", *options, "training.soup=2"))


def test_networks_that_learn_nothing_are_a_soup_that_is_the_first_weights(run: Run) -> None:
    still = ("training.keep=last", "training.epochs=1", "optimizer.learning_rate=1e-30")
    plain, soup = run("plain", *still), run("soup", *still, "training.soup=3")
    one, other = weights(plain), weights(soup)
    learned = [name for name in one if "running" not in name and "num_batches" not in name]
    for name in learned:
        assert torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-12), name


def test_mean_weights_are_the_mean_and_counters_the_last_ones() -> None:
    networks = []
    for seed in range(3):
        torch.manual_seed(seed)
        networks.append(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
        networks[-1](torch.rand(2, 1, 4, 4) * (seed + 1))
    total: dict[str, torch.Tensor] = {}
    for network in networks[:2]:
        total = add_weights(total, network)
    mean = mean_weights(total, networks[2].state_dict())
    assert mean.keys() == networks[0].state_dict().keys()
    for name in ("0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var"):
        values = torch.stack([network.state_dict()[name] for network in networks])
        assert torch.allclose(mean[name], values.mean(dim=0), atol=1e-6), name
    assert mean["1.num_batches_tracked"] == 1


def test_renewed_statistics_are_those_of_the_pictures_and_what_is_frozen_keeps_its_own() -> None:
    network = build_network(NetworkRecipe(name="litenet", frozen=1, dropout=0.5), CLASSES)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batches = [torch.rand(4, 1, 64, 64) * 255 for _ in range(3)]
    renew_statistics(network, iter(batches))
    assert not any(module.training for module in network.modules())
    moved = {name for name, value in network.state_dict().items() if not value.equal(before[name])}
    assert moved
    assert all(name.split(".")[-1].startswith(("running", "num_batches")) for name in moved)
    assert not any(name.startswith(("stem", "stages.0.")) for name in moved)
    first = cast(LiteNet, network).stages[1][0].layers[0]
    inside = [network.stages[0](network.stem(batch / 128 - 1)) for batch in batches]
    means = torch.stack([first[0](maps).mean(dim=(0, 2, 3)) for maps in inside])
    assert torch.allclose(first[1].running_mean, means.mean(dim=0), atol=1e-5)
    assert first[1].momentum == 0.05


# What is read


def test_the_test_part_is_not_read(run: Run, parts: Partition, tmp_path: Path) -> None:
    nowhere = tuple(replace(item, path=tmp_path / "gone" / item.name) for item in parts.test)
    blind = run("a", "training.epochs=1", of=replace(parts, test=nowhere))
    assert_same(blind, run("b", "training.epochs=1"))


def test_pictures_that_cannot_be_read_are_listed_and_the_others_learned(
    run: Run, parts: Partition, tmp_path: Path
) -> None:
    def broken(item: Slice) -> Slice:
        path = tmp_path / Path(item.name).name
        path.write_bytes(item.path.read_bytes()[:500])
        return replace(item, path=path)

    some = replace(
        parts,
        train=(broken(parts.train[0]), *parts.train[1:]),
        validation=(*parts.validation[:-1], broken(parts.validation[-1])),
    )
    before = Skipped("gone.png", "no such file")
    origin = Origin(sources=(DataSource(tmp_path),), fingerprint="f", skipped=(before,))
    done = run("a", "training.epochs=1", of=some, origin=origin)
    noted = done.data()["skipped"]
    assert [item["name"] for item in noted] == [
        "gone.png",
        parts.train[0].name,
        parts.validation[-1].name,
    ]
    assert all("damaged picture" in item["reason"] for item in noted[1:])
    assert sum(done.data()["counts"]["train"].values()) == len(parts.train) - 1


def test_a_class_of_which_nothing_can_be_read_is_named_and_nothing_is_left(
    run: Run, parts: Partition, tmp_path: Path
) -> None:
    none = [
        replace(item, path=tmp_path / "gone.png") if item.label == "pituitary" else item
        for item in parts.train
    ]
    with pytest.raises(DataError, match="no training picture of class 'pituitary' can be read"):
        run("a", of=replace(parts, train=tuple(none)))
    assert not (tmp_path / "a").exists()


# What the machine has


@pytest.mark.parametrize(
    ("override", "hardware", "message"),
    [
        ("training.precision=fp16", Hardware(accelerator="cpu"), "needs a GPU: use bf16 or fp32"),
        ("training.seed=0", Hardware(devices=0), "--devices 0 --nodes 1: both are at least 1"),
        ("training.seed=0", Hardware(nodes=0), "--devices 1 --nodes 0: both are at least 1"),
        ("training.seed=0", Hardware(accelerator="gpu", devices=99), "--accelerator gpu|99"),
    ],
)
def test_what_the_machine_has_not_is_refused_in_one_line(
    run: Run, override: str, hardware: Hardware, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        run("a", override, hardware=hardware)
    assert not (tmp_path / "a").exists()


# Learning


def test_16_bits_are_used_where_the_machine_computes_in_them() -> None:
    flags = Path("/proc/cpuinfo")
    own = flags.is_file() and "avx512_bf16" in flags.read_text().split()
    assert precision_here("bf16", gpu=False) == ("bf16" if own else "fp32")
    assert precision_here("bf16", gpu=True) == "bf16"
    assert precision_here("fp32", gpu=False) == "fp32"


def test_of_a_tumour_of_unknown_kind_only_that_is_learned(run: Run, parts: Partition) -> None:
    """All that is named is "no tumour", and the rest is not: so it is one of the three."""
    healthy = [item for item in parts.train if item.label == "notumor"]
    others = [item for item in parts.train if item.label != "notumor"]
    one = {name: next(item for item in others if item.label == name) for name in TUMOUR_CLASSES}
    unnamed = [replace(item, label=ANY_TUMOUR) for item in others if item not in one.values()]
    mixed = replace(parts, train=(*healthy, *one.values(), *unnamed))
    done = run("a", *PLAIN, "training.epochs=8", "training.batch_size=4", of=mixed)
    assert done.data()["counts"]["train"][ANY_TUMOUR] == len(unnamed)
    trained = load_weights(done.weights_file)
    grey = read_inputs(unnamed, size=32).grey
    assert (trained.probabilities(grey)[:, 2] < 0.5).mean() > 0.8


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_training_that_has_diverged_says_so_and_leaves_no_weights(
    run: Run, parts: Partition, tmp_path: Path, share: float
) -> None:
    fields = ("loss.l1=1e38", "optimizer.name=sgd", "training.epochs=1")
    of = parts if share else replace(parts, validation=())
    with pytest.raises(DivergedError, match=r"diverged.* lower optimizer.learning_rate"):
        run("a", *fields, of=of)
    assert not RunFolder(tmp_path / "a").weights_file.exists()


def test_it_learns(run: Run) -> None:
    done = run("a", *PLAIN, "training.epochs=10", "training.batch_size=4")
    losses, accuracies = column(done, "train_loss"), column(done, "train_accuracy")
    assert losses[-1] < 0.7 * losses[0]
    assert accuracies[-1] > accuracies[0] + 0.2
    assert accuracies[-1] > 0.6


def test_a_listener_is_told_of_every_batch(run: Run) -> None:
    run("a", "training.epochs=2", listener=(heard := Heard()))
    total = heard.batches[0][2]
    assert total > 1
    assert heard.batches == [(e, done, total) for e in (1, 2) for done in range(1, total + 1)]
    assert heard.epochs == [1, 2]


def test_the_best_epoch_is_kept_not_the_last(run: Run) -> None:
    done = run("a", "training.monitor=validation_loss", "optimizer.learning_rate=0.05")
    losses = column(done, "validation_loss")
    best = torch.load(done.checkpoints / "best.ckpt", weights_only=True)
    assert best["epoch"] == int(np.argmin(losses))
    kept, last = weights(done), torch.load(done.last_checkpoint, weights_only=True)
    assert last["epoch"] == 2
    state = {name.removeprefix("network."): value for name, value in best["state_dict"].items()}
    assert all(torch.equal(kept[name], state[name]) for name in kept)


def test_the_last_epoch_is_kept_where_the_recipe_says_so(run: Run) -> None:
    wanted = ("training.monitor=validation_loss", "optimizer.learning_rate=0.05")
    done = run("a", *wanted, "training.keep=last")
    assert int(np.argmin(column(done, "validation_loss"))) < 2
    last = torch.load(done.last_checkpoint, weights_only=True)["state_dict"]
    kept = weights(done)
    assert all(torch.equal(kept[name], last[f"network.{name}"]) for name in kept)


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer.name=sgd", "optimizer.schedule=constant", "training.precision=bf16"),
        ("optimizer.name=adamw", "optimizer.weight_decay=0.1", "loss.class_weights=balanced"),
        ("loss.mixup=0.4", "loss.label_smoothing=0.1", "loss.l1=1e-5"),
        ("network.name=plain", "network.dropout=0.5", "training.batch_size=64"),
    ],
    ids=["sgd-bf16", "adamw-weights", "mixup-l1", "plain-one-batch"],
)
def test_every_option_takes_an_epoch(run: Run, overrides: Sequence[str]) -> None:
    done = run("a", "training.epochs=1", *overrides)
    (row,) = done.history()
    assert 0.3 < row["train_loss"] < 10
    assert all(torch.isfinite(value).all() for value in weights(done).values())


def test_l1_and_weight_decay_make_weights_smaller(run: Run) -> None:
    def size(done: RunFolder) -> float:
        return sum(float(v.abs().sum()) for k, v in weights(done).items() if v.ndim > 1)

    options = ("training.epochs=2", "optimizer.schedule=constant", *PLAIN)
    free = size(run("free", *options))
    assert size(run("l1", *options, "loss.l1=0.01")) < 0.99 * free
    assert size(run("decay", *options, "optimizer.weight_decay=1")) < 0.99 * free


def test_weight_decay_is_for_convolution_and_linear_weights_only() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    decayed, others = _optimizer(network, OptimizerRecipe(weight_decay=0.1)).param_groups
    assert [value.ndim for value in decayed["params"]] == [4, 2]
    assert decayed["weight_decay"] == 0.1
    assert len(others["params"]) == 4
    assert others["weight_decay"] == 0.0


def test_balanced_class_weights_are_scikit_learns() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] * 1 + [3] * 5)
    recipe = load_recipe("quick", ["loss.class_weights=balanced"])
    found = _class_weights(torch.from_numpy(labels), recipe)
    assert found is not None
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert _class_weights(torch.from_numpy(labels), load_recipe("quick")) is None


def test_mixup_mixes_each_picture_with_a_partner() -> None:
    torch.manual_seed(0)
    inputs = torch.rand(6, 1, 4, 4)
    mixed, partner, share = _mix(inputs, 0.5)
    assert 0.0 < share < 1.0
    torch.testing.assert_close(mixed, share * inputs + (1 - share) * inputs[partner])
    same, partner, share = _mix(inputs, 0.0)
    assert torch.equal(same, inputs)
    assert share == 1.0


# Schedules


def rates(recipe: OptimizerRecipe, steps: int) -> list[float]:
    optimizer = _optimizer(nn.Linear(2, 2), recipe)
    schedule = _schedule(optimizer, recipe, steps)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()
    return found


@pytest.mark.parametrize("name", ["one-cycle", "cosine"])
def test_a_cycle_rises_to_the_rate_and_falls_to_nothing(name: str) -> None:
    found = rates(OptimizerRecipe(schedule=name, learning_rate=0.5, warmup=0.3), 100)  # type: ignore[arg-type]
    peak = int(np.argmax(found))
    assert found[peak] == pytest.approx(0.5, rel=1e-3)
    assert 27 <= peak <= 32
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[-1] < 0.005
    assert found[0] < 0.05


def test_a_constant_rate_stays() -> None:
    assert set(rates(OptimizerRecipe(schedule="constant", learning_rate=0.2), 5)) == {0.2}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["one-cycle", "cosine"]),
    warmup=st.floats(0.01, 0.99),
    steps=st.integers(1, 40),
)
def test_every_length_and_warmup_has_a_cycle(name: str, warmup: float, steps: int) -> None:
    recipe = OptimizerRecipe(schedule=name, learning_rate=0.5, warmup=warmup)  # type: ignore[arg-type]
    found = rates(recipe, steps)
    assert all(0.0 <= rate <= 0.5001 for rate in found)
    assert max(found) > 0.0


def test_the_rate_is_reduced_when_validation_stalls(run: Run) -> None:
    options = {"plateau_patience": 0, "plateau_factor": 0.5, "learning_rate": 0.02}
    done = run(
        "a",
        "optimizer.schedule=plateau",
        "training.epochs=6",
        *(f"optimizer.{name}={value}" for name, value in options.items()),
    )
    # What torch's own schedule makes of the validation losses; a row has the rate it began with.
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.02)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    expected = []
    for loss in column(done, "validation_loss"):
        expected.append(optimizer.param_groups[0]["lr"])
        schedule.step(loss)
    assert column(done, "learning_rate") == pytest.approx(expected)
    assert expected[-1] < 0.02


def test_early_stopping_ends_its_patience_after_the_best_epoch(run: Run) -> None:
    done = run(
        "a",
        "training.early_stopping=2",
        "training.monitor=validation_loss",
        "training.epochs=30",
        "optimizer.learning_rate=0.05",
        "optimizer.schedule=constant",
    )
    losses = column(done, "validation_loss")
    assert len(losses) == int(np.argmin(losses)) + 1 + 2
    assert len(losses) < 30


def test_pictures_grow_in_steps_to_the_size(run: Run) -> None:
    module = SimpleNamespace(
        recipe=load_recipe("quick", ["input.size=128", "input.start=64", "training.epochs=7"]),
        _turn=lambda: Fitting._turn(cast(Fitting, module)),
    )
    grown = []
    for module.current_epoch in range(14):
        grown.append(Fitting._side(cast(Fitting, module)))
    # From the start again for each network of a soup.
    assert grown == [64, 64, 64, 96, 96, 128, 128] * 2
    # And a run takes it.
    done = run("grown", "input.size=64", "input.start=32", "training.epochs=2")
    assert [row["epoch"] for row in figures(done)] == ["1", "2"]


def test_without_validation_the_last_epoch_is_kept_and_nothing_is_calibrated(
    phantoms: Path, tmp_path: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(phantoms), "--split", "grouped-folds", *small]
    words += ["--set", "training.validation_share=0"]
    folder = tmp_path / "run"
    assert main([*words, "--out", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "0 validation" in shown.err
    assert "validation loss" not in shown.err
    assert len((folder / "log.csv").read_text().splitlines()) == 4
    assert (folder / "evaluation.json").is_file()
    assert load_weights(folder / "weights.safetensors").description.temperature == 1.0
    refused = [*words, "--set", "training.early_stopping=2", "--out", str(tmp_path / "other")]
    assert main(refused) == 2
    assert "need a validation part" in capsys.readouterr().err
