import inspect
from pathlib import Path

import pytest
import yaml

import mien.candidates
from mien.classes import FERPLUS
from mien.errors import RecipeError
from mien.recipe import Recipe, Splits

RECIPES = Path(__file__).parents[1] / "recipes"
PATHS = sorted(path for path in RECIPES.rglob("*.yaml") if "suites" not in path.parts)  # a suite lists recipes
REVISION = RECIPES / "partial" / "revision.yaml"


def named(path):
    return path.relative_to(RECIPES).as_posix()


@pytest.mark.parametrize("path", PATHS, ids=named)
def test_every_recipe_is_accepted_by_the_constructors_that_it_names(path):
    pytest.importorskip("torch")
    from mien.learn.build import check_arguments, find
    from mien.learn.model import FaceModel
    from mien.learn.views import check_views

    recipe = Recipe.read(path)
    objective = find("objective", recipe.objective)
    model = FaceModel.from_config(recipe.model.model_dump(), FERPLUS if recipe.model.head else ())
    assert objective.needs <= model.gives | {"votes", "label", "points"}
    assert (objective.learns_from == "images") == (model.head is None)
    check_views(objective.views, recipe.views)
    if recipe.candidates is not None:
        builder = mien.candidates.find(recipe.candidates.name)
        check_arguments(builder, "candidates.", recipe.candidates.arguments, {"table"})


@pytest.mark.parametrize("path", PATHS, ids=named)
def test_every_recipe_says_how_it_is_run_and_what_it_gives(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(line.startswith("# Command: mien ") for line in header) and f" recipes/{named(path)} " in "\n".join(header)
    assert any("ur number" in line for line in header)


def test_a_resolved_recipe_reads_back_as_itself():
    recipe = Recipe.read(REVISION)
    assert Recipe.from_dict(yaml.safe_load(recipe.to_yaml())) == recipe


def test_overrides_replace_nested_keys_and_add_new_ones():
    overrides = {
        "train.epochs": "3",
        "views.weak.scale": "[0.5, 2]",
        "model.head": "linear",
        "objective.reversible": "true",
        "start": "null",
        "data.splits.report": "null",
    }
    recipe = Recipe.read(REVISION, overrides)
    assert recipe.train.epochs == 3 and recipe.views["weak"]["scale"] == [0.5, 2]
    assert recipe.model.head.name == "linear" and recipe.model.head.arguments == {}
    assert recipe.objective.arguments["reversible"] is True and recipe.objective.arguments["threshold"] == 0.8
    assert recipe.start is None and recipe.data.splits.report is None
    assert Recipe.read(REVISION).train.epochs == 40  # the file stays


def test_an_override_reaches_into_a_name_standing_alone_and_into_a_missing_section():
    overrides = {"model.head": "label_query", "model.head.layers": "1"}
    assert Recipe.read(REVISION, overrides).model.head.arguments == {"layers": 1}
    pretrain = Recipe.read(RECIPES / "pretrain" / "maskfeat.yaml", {"start.encoder": "runs/a"})
    assert pretrain.start.encoder == Path("runs/a") and pretrain.start.head is False


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.epoch": "3"}, r"train\.epoch is not a known key\. Did you mean epochs\? Known: .*batch_size"),
        ({"optimiser.lr": "1"}, r"optimiser is not a known key\. Did you mean optimizer\?"),
        ({"data.splits.reports": "x"}, r"data\.splits\.reports is not a known key\. Did you mean report\?"),
        ({"start.encode": "x"}, r"start\.encode is not a known key\. Did you mean encoder\?"),
        ({"train.epochs": "many"}, r"train\.epochs is 'many'\. .*integer"),
        ({"optimizer.lr": "-1"}, r"optimizer\.lr is -1\. .*greater than 0"),
        ({"optimizer.schedule": "step"}, r"optimizer\.schedule is 'step'\. .*'cosine' or 'constant'"),
        ({"optimizer.name": "sgd"}, r"optimizer\.betas is \[0\.9, 0\.95\]\. It belongs to adamw; leave it out"),
        ({"optimizer.momentum": "0.9"}, r"optimizer\.momentum is 0\.9\. It belongs to sgd; leave it out"),
        ({"optimizer.name": "adam"}, r"optimizer\.name is 'adam'\. .*'adamw' or 'sgd'"),
        ({"train.sampler": "balanced"}, r"train\.sampler is 'balanced'\. .*'uniform' or 'class_balanced'"),
        ({"objective": "{threshold: 1}"}, r"objective\.name is missing\. Add it"),
        ({"train.epochs.more": "3"}, r"--train\.epochs\.more reaches into epochs, which is 40\. Expected a section"),
    ],
)
def test_a_wrong_key_or_value_gives_one_sentence_with_file_key_and_what_is_known(overrides, message):
    with pytest.raises(RecipeError, match=rf"^recipe revision\.yaml: {message}") as caught:
        Recipe.read(REVISION, overrides)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_each_optimizer_has_defaults_of_its_own_and_null_stands_for_them():
    sgd = {"optimizer.name": "sgd", "optimizer.betas": "null", "optimizer.weight_decay": "null"}
    recipe = Recipe.read(REVISION, sgd)
    assert (recipe.optimizer.betas, recipe.optimizer.momentum, recipe.optimizer.weight_decay) == (None, 0.9, 5e-4)
    assert Recipe.from_dict(yaml.safe_load(recipe.to_yaml())) == recipe
    adamw = Recipe.read(REVISION, {"optimizer": "{lr: 0.1}"}).optimizer
    assert (adamw.name, adamw.betas, adamw.momentum, adamw.weight_decay) == ("adamw", (0.9, 0.999), None, 0.05)


@pytest.mark.parametrize("part", ["train", "select", "calibrate", "report"])
def test_the_test_split_cannot_be_named(part):
    with pytest.raises(RecipeError, match=r"data\.splits .*test split"):
        Recipe.read(REVISION, {f"data.splits.{part}": "test"})


@pytest.mark.parametrize("parts", [{"select": "train"}, {"calibrate": "train"}, {"report": "train"}, {"report": "select"}])
def test_a_recipe_that_judges_by_faces_that_trained_or_chose_is_refused(parts):
    with pytest.raises(RecipeError, match=r"data\.splits .*neither trained nor chose"):
        Recipe.read(REVISION, {f"data.splits.{part}": split for part, split in parts.items()})
    apart = {"data.splits.train": "report", "data.splits.report": "null", "data.splits.calibrate": "select"}
    assert Recipe.read(REVISION, apart).data.splits.train == "report"


def test_files_that_are_no_recipe_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="no such file"):
        Recipe.read(tmp_path / "none.yaml")
    for text, message in (("a: [", "not YAML"), ("- 1", "holds list"), ("", "holds NoneType"), ("train: 3", "is missing")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(RecipeError, match=rf"recipe bad\.yaml: .*{message}"):
            Recipe.read(tmp_path / "bad.yaml")


def test_data_table_may_be_a_list_that_reads_back():
    recipe = Recipe.read(REVISION, {"data.table": "[a.parquet, b/c.parquet]"})
    assert recipe.data.tables == [Path("a.parquet"), Path("b/c.parquet")] and recipe.data.name == "a.parquet + c.parquet"
    assert Recipe.from_dict(yaml.safe_load(recipe.to_yaml())) == recipe
    with pytest.raises(RecipeError, match=r"data\.root is .*moves the pictures of one table"):
        Recipe.read(REVISION, {"data.table": "[a.parquet, b.parquet]", "data.root": "faces"})
    with pytest.raises(RecipeError, match=r"data\.table"):
        Recipe.read(REVISION, {"data.table": "[]"})


@pytest.fixture
def on_the_page():
    page = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
    return yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])


def test_the_page_of_keys_is_a_recipe_that_names_every_key(on_the_page):
    recipe = Recipe.from_dict(on_the_page)
    assert list(on_the_page) == list(Recipe.model_fields)
    for name in ("data", "model", "start", "optimizer", "train", "choose"):
        assert list(on_the_page[name]) == list(type(getattr(recipe, name)).model_fields), name
    assert list(on_the_page["data"]["splits"]) == list(Splits.model_fields)


def test_the_page_of_keys_names_every_argument_of_a_view(on_the_page):
    arguments = inspect.signature(pytest.importorskip("mien.learn.views").make_view).parameters
    assert list(on_the_page["views"]["weak"]) == [
        name for name in arguments if name not in ("images", "keys", "stream", "mirror")
    ]
