"""Searching a recipe: what is tried, what a kill and a shared study do, what is refused."""

import csv
import json
import math
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from PIL import Image

from processes import PATIENCE, log, start, start_held, wait_for
from tumorscope.cli.main import main
from tumorscope.datasets.locations import DataSource
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import partition
from tumorscope.errors import ModelError, RecipeError
from tumorscope.training.fit import Hardware
from tumorscope.training.module import HistoryRow
from tumorscope.training.recipe import load_recipe, value_of
from tumorscope.training.run_folder import Origin, RunFolder
from tumorscope.tuning.search_folder import Plan, SearchFolder
from tumorscope.tuning.search_space import SearchSpace, bundled_searches, load_search
from tumorscope.tuning.trials import Outcome, outcome_of, write_outcome
from tumorscope.tuning.tune import SearchCallbacks, _Reporter, tune

ROOT = Path(__file__).parents[2]
EPOCHS = 3
SPACE = """
[optimizer.learning_rate]
low = 1e-4
high = 10
log = true

[augmentation.rotation]
low = 0
high = 45

[training.batch_size]
choices = [4, 8, 16]
"""


@pytest.fixture(scope="module")
def words(
    phantoms: Path, small: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """Makes the words of a search in a folder; the search space is the one above."""
    space = tmp_path_factory.mktemp("spaces") / "space.toml"
    space.write_text(SPACE)
    fields = [*small, "--set", f"training.epochs={EPOCHS}"]
    fields += ["--set", "training.monitor=validation_loss"]

    def make(folder: Path, *more: str) -> list[str]:
        data = ["--data", str(phantoms), "--split", "grouped-folds"]
        return ["tune", *data, *fields, "--search", str(space), "--out", str(folder), *more]

    return make


@pytest.fixture(scope="module")
def found(words: Callable[..., list[str]], shared: Callable[..., Path]) -> Path:
    """A search of five trials; to be copied, not changed."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)  # as in the processes that tests start

    def search(folder: Path) -> None:
        out = folder.with_name("found.json")
        assert main(words(folder, "--trials", "5", "--json", str(out))) == 0

    return shared("found", search)


def told(folder: Path) -> dict[str, Any]:
    """What `--json` told about `found`."""
    facts: dict[str, Any] = json.loads(folder.with_name("found.json").read_text())
    return facts


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def plan_of(words: Callable[..., list[str]], folder: Path, *overrides: str, **more: Any) -> Plan:
    """The plan that the words ask for."""
    from tumorscope.cli.choices import settle  # noqa: PLC0415
    from tumorscope.cli.main import _parser  # noqa: PLC0415
    from tumorscope.cli.run_tune import _plan  # noqa: PLC0415

    asked = [word for field in overrides for word in ("--set", field)]
    options = _parser("tune").parse_args(words(folder, *asked))
    settle(options)
    return replace(_plan(options), **more)


# What is found


def test_the_recipe_itself_is_tried_first_and_the_best_is_kept(found: Path) -> None:
    facts = told(found)
    trials = facts["trials"]
    recipe, best = load_recipe(found / "recipe.toml"), load_recipe(found / "best.toml")
    assert [trial["number"] for trial in trials] == list(range(5))
    assert {trial["state"] for trial in trials} == {"done"}  # the first five are never pruned
    assert trials[0]["parameters"] == {
        name: value_of(recipe, name) for name in trials[0]["parameters"]
    }
    assert facts["best"] == min(trials, key=lambda trial: trial["score"])
    assert best.name == "quick-tuned"
    for name, value in facts["best"]["parameters"].items():
        assert value_of(best, name) == value
    same = best.model_copy(update={"name": recipe.name})
    varied = {name.partition(".")[0] for name in trials[0]["parameters"]}
    for section in set(type(recipe).model_fields) - varied:
        assert getattr(same, section) == getattr(recipe, section)


def test_every_trial_is_inside_the_space_and_scored_by_its_best_epoch(found: Path) -> None:
    for trial in told(found)["trials"]:
        values = trial["parameters"]
        assert 1e-4 <= values["optimizer.learning_rate"] <= 10
        assert 0 <= values["augmentation.rotation"] <= 45
        assert values["training.batch_size"] in (4, 8, 16)
        run = RunFolder(found / "trials" / f"{trial['number']:04}")
        losses = [row["validation_loss"] for row in run.history()]
        assert len(losses) == trial["epochs"] == EPOCHS
        assert trial["score"] == min(losses)
        assert run.weights_file.is_file()
        assert not run.checkpoints.exists()


def test_the_table_and_the_picture_tell_the_same(found: Path) -> None:
    for row, trial in zip(table(found), told(found)["trials"], strict=True):
        assert int(row["number"]) == trial["number"]
        assert row["state"] == trial["state"]
        assert float(row["validation_loss"]) == pytest.approx(trial["score"], rel=1e-5)
        for name, value in trial["parameters"].items():
            assert float(row[name]) == value
    with Image.open(found / "history.png") as picture:
        picture.load()
        assert picture.width > 1000


def test_the_best_recipe_trains_to_its_score(found: Path, phantoms: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    data = ["--data", str(phantoms), "--split", "grouped-folds", "--no-test"]
    assert main(["train", *data, "--recipe", str(found / "best.toml"), "--out", str(run)]) == 0
    score = min(row["validation_loss"] for row in RunFolder(run).history())
    assert score == told(found)["best"]["score"]


def test_a_person_sees_the_best_side_by_side(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    shutil.copytree(found, again)
    assert main(["tune", "--resume", str(again)]) == 0  # there is nothing left to do
    said = capsys.readouterr().out
    best = told(found)["best"]
    assert f"trial {best['number']}" in said
    assert f"{best['score']:.4f}" in said
    for name in best["parameters"]:
        assert name in said
    assert f"tumorscope crossval --recipe {again / 'best.toml'}" in said
    assert f"tumorscope train --recipe {again / 'best.toml'}" in said
    assert "Research use only" in said
    assert len(table(again)) == 5


def test_the_test_part_is_not_read(
    found: Path, words: Callable[..., list[str]], phantoms: Path, tmp_path: Path
) -> None:
    catalogue = read_data([phantoms])
    parts = partition(catalogue, split="grouped-folds", seed=0)
    nowhere = tuple(replace(item, path=tmp_path / "gone" / item.name) for item in parts.test)
    assert nowhere
    plan = plan_of(words, tmp_path / "a", trials=1)
    outcome = tune(
        replace(parts, test=nowhere),
        plan,
        SearchFolder(tmp_path / "a"),
        origin=Origin(sources=(DataSource(phantoms),), fingerprint=catalogue.fingerprint()),
        hardware=Hardware(),
    )
    assert outcome.ranked[0].score == told(found)["trials"][0]["score"]


def test_a_trial_of_a_soup_is_one_network_and_the_best_keeps_its_soup(
    found: Path, words: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    fields = [f"training.{field}" for field in ("soup=2", "keep=last", "early_stopping=0")]
    more = [word for field in fields for word in ("--set", field)]
    assert main(words(folder, "--trials", "1", *more)) == 0
    (row,) = table(folder)
    assert int(row["epochs"]) == EPOCHS
    assert row["validation_loss"] == table(found)[0]["validation_loss"]
    assert RunFolder(folder / "trials" / "0000").recipe().training.soup == 1
    assert load_recipe(folder / "best.toml").training.soup == 2


def test_a_trial_without_promise_is_pruned(found: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(found, again)
    (name,) = optuna.get_all_study_names(f"sqlite:///{again / 'study.db'}")
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{again / 'study.db'}")
    hopeless = {"optimizer.learning_rate": 10.0, "training.batch_size": 4}
    study.enqueue_trial({**hopeless, "augmentation.rotation": 45.0})
    assert main(["tune", "--resume", str(again), "--trials", "6"]) == 0
    assert SearchFolder(again).plan().trials == 6
    last = table(again)[5]
    assert last["state"] == "pruned"
    assert math.ceil(EPOCHS / 3) <= int(last["epochs"]) < EPOCHS
    run = RunFolder(again / "trials" / "0005")
    assert not run.weights_file.exists()
    assert not run.checkpoints.exists()
    assert load_recipe(again / "best.toml") == load_recipe(found / "best.toml")


# Stopping and going on


def test_a_search_that_was_killed_goes_on_where_it_was(
    found: Path, words: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    process = start_held(words(folder, "--trials", "2"), run=2)
    assert (folder / "trials" / "0001" / "checkpoints" / "last.ckpt").is_file()
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert [row["state"] for row in table(folder)] == ["done"]
    assert main(["tune", "--resume", str(folder)]) == 0
    rows = table(folder)
    assert [row["state"] for row in rows] == ["done", "cut short", "done"]
    assert [row["reason"] for row in rows] == ["", "goes on as trial 2", ""]
    for name in ("optimizer.learning_rate", "augmentation.rotation", "training.batch_size"):
        assert rows[1][name] == rows[2][name]
    # It went on in its run folder, and ended as it does in the search that nobody killed.
    assert sorted(path.name for path in (folder / "trials").iterdir()) == ["0000", "0001"]
    assert log(folder / "trials" / "0001") == log(found / "trials" / "0001")
    assert int(rows[2]["epochs"]) == EPOCHS
    assert rows[2]["validation_loss"] == table(found)[1]["validation_loss"]


def test_a_trial_that_was_killed_before_its_first_epoch_is_begun_again(
    found: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(found, again)
    folder = SearchFolder(again)
    plan = folder.plan()
    study = optuna.load_study(study_name=plan.study, storage=folder.url(plan))
    trial = study.ask(plan.space.distributions(plan.recipe))
    trial.set_user_attr("runner", plan.runner)
    (folder.run_folder(5) / "tensorboard").mkdir(parents=True)
    others = study.ask(plan.space.distributions(plan.recipe))
    others.set_user_attr("runner", "another")
    assert main(["tune", "--resume", str(again), "--trials", "6"]) == 0
    rows = table(again)
    assert [row["state"] for row in rows[5:7]] == ["cut short", "running"]
    assert rows[7]["state"] in ("done", "pruned")
    assert float(rows[7]["optimizer.learning_rate"]) == trial.params["optimizer.learning_rate"]
    assert RunFolder(folder.run_folder(5)).log_file.is_file()


def test_two_processes_share_a_study(
    words: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    shared = ("--storage", f"sqlite:///{tmp_path / 'shared.db'}", "--study", "ours")
    process = start(words(one, *shared, "--trials", "1000"))
    wait_for(one / "trials" / "0000" / "log.csv", process)
    assert main(["tune", "--resume", str(one)]) == 2
    assert "another process searches here" in capsys.readouterr().err
    assert main(words(other, *shared, "--trials", "3")) == 0
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130
    stopped = f"tumorscope: stopped; go on with: tumorscope tune --resume {one}"
    assert said.splitlines()[-1] == stopped
    assert "Traceback" not in said
    assert "Warning" not in said
    runs = [{path.name for path in (each / "trials").iterdir()} for each in (one, other)]
    assert all(runs)
    assert not runs[0] & runs[1]
    assert not (one / "study.db").exists()
    # Each tells of all, and none was tried twice.
    rows = table(other)
    assert len(rows) >= 3
    assert len({row["optimizer.learning_rate"] for row in rows}) == len(rows)
    assert main(words(tmp_path / "third", *shared, "--seed", "1")) == 2
    assert "'ours' was begun with another recipe" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


# Trials that fail


class Ends(SearchCallbacks):
    """Raises an error in the first trial, if any, and notes how trials ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.ended: list[tuple[int, str]] = []

    def epoch(self, _row: HistoryRow) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def ends(self, number: int, outcome: Outcome) -> None:
        self.ended.append((number, outcome.trials[number].state))


def test_a_trial_that_needs_too_much_memory_fails_and_the_search_goes_on(
    words: Callable[..., list[str]], phantoms: Path, tmp_path: Path
) -> None:
    catalogue = read_data([phantoms])
    callbacks = Ends(MemoryError())
    outcome = tune(
        partition(catalogue, split="grouped-folds", seed=0),
        plan_of(words, tmp_path / "a", "training.epochs=1", trials=2),
        SearchFolder(tmp_path / "a"),
        origin=Origin(sources=(DataSource(phantoms),), fingerprint=catalogue.fingerprint()),
        hardware=Hardware(),
        callbacks=callbacks,
    )
    assert callbacks.ended == [(0, "failed"), (1, "done")]
    assert outcome.trials[0].reason == "out of memory"
    assert outcome.ranked[0].number == 1


def test_a_recipe_that_the_machine_cannot_train_ends_the_search_in_one_line(
    words: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    asked = words(folder, "--set", "training.precision=fp16", "--accelerator", "cpu")
    assert main(asked) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "tumorscope: training.precision is 'fp16', which needs a GPU: use bf16 or fp32"
    )
    assert main(["tune", "--resume", str(folder), "--timeout", "0"]) == 1
    assert "no trial came to its end" in capsys.readouterr().out
    (row,) = table(folder)
    assert row["state"] == "failed"
    assert "fp16" in row["reason"]
    assert not (folder / "best.toml").exists()


def test_a_trial_that_diverges_ends_and_the_search_goes_on(
    words: Callable[..., list[str]], phantoms: Path, tmp_path: Path
) -> None:
    catalogue = read_data([phantoms])
    fields = ("loss.l1=1e38", "training.monitor=validation_accuracy", "optimizer.name=sgd")
    outcome = tune(
        partition(catalogue, split="grouped-folds", seed=0),
        plan_of(words, tmp_path / "a", *fields, trials=2),
        SearchFolder(tmp_path / "a"),
        origin=Origin(sources=(DataSource(phantoms),), fingerprint=catalogue.fingerprint()),
        hardware=Hardware(),
        callbacks=(callbacks := Ends()),
    )
    assert callbacks.ended == [(0, "pruned"), (1, "pruned")]
    assert outcome.recipe is None


def test_a_search_without_a_validation_part_is_refused_and_leaves_nothing(
    words: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "a", "--set", "training.validation_share=0")) == 2
    assert "a search needs a validation part to score by" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_no_number_ends_the_trial() -> None:
    study = optuna.create_study()
    reporter = _Reporter(study.ask(), "validation_loss", SearchCallbacks())
    reporter.epoch({"epoch": 1.0, "validation_loss": 0.5})
    with pytest.raises(optuna.TrialPruned):
        reporter.epoch({"epoch": 2.0, "validation_loss": math.nan})
    assert study.trials[0].intermediate_values == {1: 0.5, 2: pytest.approx(math.nan, nan_ok=True)}


# Search spaces


def space(text: str, folder: Path, recipe: str = "quick", *overrides: str) -> SearchSpace:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_search(path, load_recipe(recipe, overrides))


@pytest.mark.parametrize("name", ["quick", "standard", "edge", "demo"])
def test_without_a_file_the_fields_are_searched_around_the_recipe(name: str) -> None:
    recipe = load_recipe(name)
    found = load_search(None, recipe)
    assert found.place_of(recipe) is not None
    assert found == load_search(recipe.optimizer.name, recipe)
    assert {"optimizer.learning_rate", "optimizer.weight_decay", "loss.mixup"} <= set(found.fields)
    assert recipe.optimizer.name in bundled_searches()


def test_what_a_search_notes_is_the_same_space_again(tmp_path: Path) -> None:
    recipe = load_recipe("quick")
    for found in (space(SPACE, tmp_path), load_search(None, recipe)):
        assert space(found.to_toml(), tmp_path) == found


def test_the_space_in_the_pages_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(space(example, tmp_path, "edge").fields) == 4


def test_whole_numbers_are_drawn_for_fields_with_whole_numbers(tmp_path: Path) -> None:
    text = (
        "[input.size]\nlow = 64\nhigh = 128\nstep = 32\n[augmentation.rotation]\nlow = 0\nhigh = 9"
    )
    found = space(text, tmp_path)
    drawn = found.distributions(load_recipe("quick"))
    assert drawn == {
        "input.size": optuna.distributions.IntDistribution(64, 128, step=32),
        "augmentation.rotation": optuna.distributions.FloatDistribution(0, 9),
    }
    for size, rotation, inside in ((96, 9, True), (96, 10, False), (160, 9, False)):
        fields = [f"input.size={size}", f"augmentation.rotation={rotation}"]
        assert (found.place_of(load_recipe("quick", fields)) is not None) == inside
    assert found.outside(load_recipe("quick", ["input.size=160"])) == {
        "input.size": 160,
        "augmentation.rotation": 15.0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optimizer.lerning_rate]\nlow=1\nhigh=2", "no field 'optimizer.lerning_rate'; did you"),
        ("[optimizer.learning_rate]\nlow=1e-3", "optimizer.learning_rate: give low and high, or"),
        ("[loss.mixup]\nlow=1\nhigh=1", "loss.mixup: low is not below high"),
        ("[loss.mixup]\nlow=0\nhigh=1\nlog=true", "loss.mixup: log needs a low above 0"),
        ("[loss.mixup]\nlow=0\nhigh=9", "loss.mixup is 9.0: input should be less than or equal"),
        ("[loss.mixup]\nlow='a'\nhigh=2", "loss.mixup: low is 'a': input should be a valid number"),
        ("[loss.mixup]\nlow=nan\nhigh=2", "loss.mixup: low is nan: "),
        ("[loss.mixup]\nlo=1", "loss.mixup: there is no 'lo'; there are low, high, log, step"),
        ("[loss.mixup]\nchoices=[0.1]", "loss.mixup: choices are two or more, all different"),
        ("[loss.mixup]\nchoices=[1, 1]", "loss.mixup: choices are two or more, all different"),
        ("[loss.mixup]\nchoices=[[0], [1]]", "loss.mixup is [0]: input should be a valid number"),
        ("[loss.mixup]\nchoices=[0, 1]\nlog=true", "loss.mixup: choices stand alone"),
        ("[training.epochs]\nlow=2.5\nhigh=8", "training.epochs is 2.5: "),
        ("[training.epochs]\nlow=2\nhigh=9\nstep=2", "training.epochs: step has to divide high"),
        ("[input.size]\nlow=64\nhigh=128", "input.size is 65.0: input should be a multiple of 32"),
        ("[network.size]\nlow=1\nhigh=2", "network.size is 1.0: input should be 'nano', 'small'"),
        ("[loss.outline]\nlow=0\nhigh=1", "loss.outline is for network.name = 'litenet' only"),
        ("[training.seed]\nlow=0\nhigh=9", "training.seed cannot be searched"),
        ("[training.soup]\nlow=1\nhigh=3", "training.soup cannot be searched"),
        ("[training.keep]\nchoices=['best', 'last']", "training.keep cannot be searched"),
        ("[decision.false_negative_cost]\nlow=1\nhigh=9", "false_negative_cost cannot be searched"),
        ("[training.monitor]\nchoices=[0, 1]", "training.monitor cannot be searched"),
        ("[name.x]\nchoices=[0, 1]", "'name' is a field, not a section"),
        ("[loss]\nmixup=3", "loss.mixup is no table [section.field]"),
        ("loss=3", "loss is no table [section.field]"),
        ("", "it names no field of a recipe"),
        ("loss: 3", "not TOML"),
    ],
)
def test_a_mistake_in_a_search_is_answered_by_one_line_that_names_the_field(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        space(text, tmp_path)
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


# What is refused


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--search", "gone.toml"],
            "no search 'gone.toml': give a .toml file or one of adamw, sgd",
        ),
        (["--trials", "0"], "--trials 0: at least 1"),
        (
            ["--storage", "nowhere"],
            "--storage nowhere: no database URL, such as sqlite:///study.db",
        ),
        (["--storage", "sqlite:////no/such/study.db"], "unable to open database file"),
        (["--storage", "oracle://me:secret@host/x"], "storage oracle://me:***@host/x: "),
    ],
)
def test_what_cannot_be_searched_is_refused_and_leaves_nothing(
    words: Callable[..., list[str]],
    more: Sequence[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tumorscope.tuning.tune._PAUSES", (0.01, 0.01))
    assert main(words(tmp_path / "a", *more)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert message in said
    assert "secret" not in said
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_search_or_another_one_is_refused(
    found: Path, words: Callable[..., list[str]], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="not empty; go on with it by --resume, or name another"):
        SearchFolder(found).check_free()
    with pytest.raises(ModelError, match=r"no folder of a search \(it has no recipe.toml\)"):
        SearchFolder(tmp_path).plan()
    again = SearchFolder(tmp_path / "again")
    again.note(plan_of(words, again.path))
    with pytest.raises(ModelError, match=r"study.db: gone, and with it the study"):
        again.plan()
    noted = json.loads(again.plan_file.read_text())
    for name, value in (("trials", "9"), ("split", 5), ("fold", None)):
        again.plan_file.write_text(json.dumps(noted | {name: value}))
        with pytest.raises(ModelError, match=rf"search.json: damaged .*{name} is {value!r}"):
            again.plan()
    again.plan_file.write_text("{}")
    with pytest.raises(ModelError, match=r"search.json: damaged \(KeyError\('data'\)\)"):
        again.plan()


def test_a_password_is_not_noted(words: Callable[..., list[str]], tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path / "a")
    url = "postgresql://me:secret@host/searches"
    folder.note(plan_of(words, folder.path, storage=url))
    assert not any("secret" in path.read_text() for path in folder.path.iterdir())
    with pytest.raises(ModelError, match="its storage has a password; give --storage again"):
        folder.plan()
    assert folder.plan(storage=url, trials=9).storage == url


# What many trials tell


def test_with_ten_whole_trials_it_is_told_what_the_score_depends_on(
    words: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = SearchFolder(tmp_path / "a")
    plan = plan_of(words, folder.path)
    study = optuna.create_study()
    write_outcome(folder, outcome_of(study, plan))
    assert [path.name for path in folder.path.glob("*.csv")] == ["trials.csv"]
    assert table(folder.path) == []
    distributions = plan.space.distributions(plan.recipe)
    for number in range(20):
        values = {
            "optimizer.learning_rate": 1e-4 * 1.5**number,
            "augmentation.rotation": float(7 * number % 20),
            "training.batch_size": (4, 8, 16)[number % 3],
        }
        trial = optuna.create_trial(
            params=values, distributions=distributions, value=abs(number - 6) / 10
        )
        study.add_trial(trial)
        outcome = outcome_of(study, plan)
        assert bool(outcome.importances) == (number >= 9)
    assert next(iter(outcome.importances)) == "optimizer.learning_rate"
    assert sum(outcome.importances.values()) == pytest.approx(1)
    assert outcome.ranked[0].number == 6
    write_outcome(folder, outcome)
    assert outcome.recipe == load_recipe(folder.best_file)
    assert len(table(folder.path)) == 20


def test_where_all_trials_score_alike_no_field_is_said_to_matter(
    words: Callable[..., list[str]], tmp_path: Path
) -> None:
    plan = plan_of(words, tmp_path)
    study = optuna.create_study()
    for number in range(12):
        values = {
            "optimizer.learning_rate": 1e-4 * 1.5**number,
            "augmentation.rotation": 5.0,
            "training.batch_size": 4,
        }
        distributions = plan.space.distributions(plan.recipe)
        study.add_trial(optuna.create_trial(params=values, distributions=distributions, value=0.5))
    assert outcome_of(study, plan).importances == {}
