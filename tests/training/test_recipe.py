"""Recipes: the bundled ones, a user's own, overrides, and what a mistake is answered with."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorscope.errors import RecipeError
from tumorscope.training.recipe import Recipe, bundled_recipes, load_recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_bundled_recipe_loads_and_is_called_by_its_name() -> None:
    assert set(bundled_recipes()) >= {"quick", "standard", "student"}
    for name in bundled_recipes():
        assert load_recipe(name).name == name


def test_the_student_recipe_is_what_most_notebooks_do() -> None:
    recipe = load_recipe("student")
    assert recipe.network.name == "plain"
    assert recipe.optimizer.name == "adamw"
    assert recipe.optimizer.weight_decay == 0  # so it is Adam
    assert recipe.optimizer.schedule == "plateau"
    changes = recipe.augmentation.model_dump()
    assert {name for name, strength in changes.items() if strength} == {
        "rotation",
        "flip",
        "shift",
        "zoom",
    }


@pytest.mark.parametrize("name", bundled_recipes())
def test_what_a_run_notes_is_the_same_recipe_again(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(name, ["training.seed=7", "network.size=nano"])
    noted = write(tmp_path, recipe.to_toml())
    assert load_recipe(noted) == recipe
    assert tomllib.loads(recipe.to_toml()) == recipe.model_dump()


def test_every_recipe_and_every_field_stands_in_the_pages() -> None:
    page = Path(__file__).parents[2] / "docs" / "training.md"
    rows = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    told = dict(rows)
    assert set(bundled_recipes()) - {"demo"} <= told.keys()
    for section, fields in Recipe().model_dump(exclude={"name"}).items():
        assert set(fields) <= set(re.findall(r"`(\w+)`", told[section])), section


def test_a_recipe_as_windows_writes_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "mine"\r\n[training]\r\nepochs = 3\r\n')
    recipe = load_recipe(path)
    assert (recipe.name, recipe.training.epochs) == ("mine", 3)


def test_a_recipe_may_leave_out_everything(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "")) == Recipe()


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("training.epochs=30", "training", "epochs", 30),
        ("optimizer.learning_rate=3e-4", "optimizer", "learning_rate", 3e-4),
        ("network.name=monai:densenet121", "network", "name", "monai:densenet121"),
        ('network.size="large"', "network", "size", "large"),
        ("augmentation.flip=1", "augmentation", "flip", 1.0),
        ("loss.class_weights=balanced", "loss", "class_weights", "balanced"),
    ],
)
def test_overrides(override: str, section: str, field: str, value: object) -> None:
    recipe = load_recipe("quick", [override])
    assert getattr(getattr(recipe, section), field) == value


def test_the_last_override_counts_and_the_name_may_be_set_too() -> None:
    recipe = load_recipe("quick", ["training.epochs=3", "name=mine", "training.epochs=4"])
    assert (recipe.name, recipe.training.epochs) == ("mine", 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "no field 'training.epoch'; did you mean 'training.epochs'?"),
        ("trainig.epochs=3", "no field 'trainig'"),
        ("xyz.abc=3", "no field 'xyz'"),
        ("training.epochs=0", "training.epochs is 0: "),
        ("training.epochs=many", "training.epochs is 'many': "),
        ("training.epochs=2.5", "training.epochs is 2.5: "),
        ("training.precision=fp8", "training.precision is 'fp8': "),
        ("network.size=tiny", "network.size is 'tiny': "),
        ("network.name=resnet50", "network.name is 'resnet50': "),
        ("network=nano", "network is 'nano': "),
        ("input.size=16", "input.size is 16: "),
        ("input.size=100", "input.size is 100: "),
        ("augmentation.flip=1.5", "augmentation.flip is 1.5: "),
        ("augmentation.noise=nan", "augmentation.noise is nan: "),
        ("optimizer.learning_rate=0", "optimizer.learning_rate is 0: "),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate is inf: "),
        ("training.epochs", "--set takes section.field=value, not 'training.epochs'"),
        ("=3", "--set takes section.field=value, not '=3'"),
        ("input.start=256", "input.start is larger than input.size"),
        ("training.soup=2", "training.soup above 1 needs training.keep = 'last'"),
        ("loss.outline=1", "loss.outline is for network.name = 'litenet' only"),
        ("network.trunk=lite2", "network.trunk is for network.name = 'litenet' only"),
        ("network.weights=imagenet", "network.weights is for network.name = 'litenet' only"),
        ("name.x=3", "'name' is a field, not a section"),
    ],
)
def test_a_mistake_is_answered_by_one_line_that_names_the_field(
    override: str, message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quick", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("trainig.epochs=3", "training"),
        ("epochs=3", "training.epochs"),
        ("optimiser.name=sgd", "optimizer"),
        ("namex=mine", "name"),
    ],
)
def test_a_misspelt_section_or_a_missing_one_is_hinted_at(override: str, near: str) -> None:
    with pytest.raises(RecipeError, match=rf"there is no field .*; did you mean '{near}'\?$"):
        load_recipe("quick", [override])


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["network.name=plain", "network.size=large"], "network.size"),
        (["optimizer.schedule=constant", "optimizer.warmup=0.3"], "optimizer.warmup"),
        (["optimizer.plateau_patience=9"], "optimizer.plateau_patience"),
        (["training.drawn=9"], "training.drawn"),
        (["training.shares.kaggle=1", "training.sampling=root"], "training.sampling"),
    ],
)
def test_a_field_that_was_set_and_changes_nothing_is_told(overrides: list[str], field: str) -> None:
    assert not [line for name in bundled_recipes() for line in load_recipe(name).idle_fields()]
    (line,) = load_recipe("quick", overrides).idle_fields()
    assert line.startswith(f"{field} changes nothing: ")


def test_a_misspelt_field_in_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[augmentation]\nrotatoin = 10\n")
    with pytest.raises(RecipeError, match=r"mine\.toml: .*'augmentation\.rotatoin'; did you mean"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quik", "no recipe 'quik': give a .toml file or one of .*quick, standard, student"),
        ("gone.toml", "no recipe 'gone.toml'"),
    ],
)
def test_an_unknown_recipe_says_which_there_are(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(name)


def test_what_is_no_toml_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mine\.toml: not TOML \(.*line 1") as caught:
        load_recipe(write(tmp_path, "epochs: 3"))
    assert "\n" not in str(caught.value)
    (tmp_path / "latin.toml").write_bytes("name = 'ä'".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin\.toml: not TOML"):
        load_recipe(tmp_path / "latin.toml")


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=30))
def test_an_override_is_taken_or_refused_but_never_breaks(text: str) -> None:
    try:
        recipe = load_recipe("quick", [text])
    except RecipeError:
        return
    assert load_recipe("quick", [text]) == recipe
