"""Searches, from a recipe to the recipe that they find."""

from __future__ import annotations

import sys

import pytest
from command_line import MODELS, write_recipe
from drawn import recipe_of

from loramerge import read_recipe, tune
from loramerge.errors import LoramergeError, MismatchError, UsageError
from loramerge.search.function import ObjectiveError
from loramerge.search.study import Study
from loramerge.stages import trial as trial_stage

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]
WEIGHTS = {f"loras.{name}.weight": {"from": 0.2, "to": 1.2} for name in ("ink", "star")}


@pytest.fixture
def recipe(tmp_path):
    """The miniature's LoRAs, merged from factors alone."""

    def written(vary=None, **search):
        return write_recipe(
            tmp_path,
            base=MODELS / "base",
            loras={name: {"source": str(MODELS / f"{name}.safetensors"), "weight": 1.0} for name in ("ink", "star")},
            search={"vary": vary or WEIGHTS, "trials": 6, **search},
        )

    return written


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def test_the_best_of_all_is_written_and_inputs_are_loaded_once(recipe, monkeypatch):
    path, loads, load = recipe(), [], trial_stage.load
    monkeypatch.setattr(trial_stage, "load", lambda *args, **more: loads.append(args) or load(*args, **more))
    done = tune(read_recipe(path))
    assert len(loads) == 1
    assert (done.trials, done.new, done.warnings) == (6, 6, ())
    assert done.given is not None
    assert done.given.number == 0
    assert done.best.judged.score >= done.given.judged.score
    assert done.best.judged.score == min(done.best.judged.parts.values())
    tuned = read_recipe(done.recipe)
    assert tuned.name == "small-tuned"
    assert tuned.search is None
    assert [lora.weight for lora in tuned.loras] == list(done.best.values.values())
    assert done.recipe == path.with_name("small-tuned.yaml")
    assert {each.name for each in path.parent.iterdir()} >= {"small.study.log", "small.study.png", "small-tuned.yaml"}


def test_it_goes_on_where_it_was(recipe):
    path = recipe()
    first = tune(read_recipe(path, overrides=["search.trials=3"]))
    again = tune(read_recipe(path, overrides=["search.trials=3"]))
    assert (again.trials, again.new, again.best) == (3, 0, first.best)
    more = tune(read_recipe(path))
    assert (more.trials, more.new) == (6, 3)
    anew = tune(read_recipe(path), restart=True)
    assert (anew.trials, anew.new, anew.best) == (6, 6, more.best)


def test_types_and_their_parameters(recipe):
    vary = {"merge.combination_type": ["cat", "svd", "ties_svd"], "merge.density": {"from": 0.3, "to": 0.9}}
    done = tune(read_recipe(recipe(vary)))
    assert done.best.values == {"merge.combination_type": "cat"}
    assert read_recipe(done.recipe).merge.combination_type == "cat"


def test_several_processes_try_as_one_does(recipe):
    done = tune(read_recipe(recipe()), jobs=2)
    assert (done.trials, done.new, done.warnings) == (6, 6, ())
    assert done.given.values == {"loras.ink.weight": 1, "loras.star.weight": 1}


def test_a_function_of_ones_own(recipe, tmp_path):
    (tmp_path / "own_norms.py").write_text(
        "def score(merged, recipe):\n    return -abs(recipe.loras[0].weight - 0.5) - len(merged) * 0\n"
    )
    path = recipe(objective="own_norms:score", trials=12)
    done = tune(read_recipe(path))
    assert done.best.judged.score > -0.2
    assert done.best.judged.parts == {}
    (tmp_path / "own_norms.py").write_text("def score(merged): return 1\n")
    del sys.modules["own_norms"]
    changed = tune(read_recipe(path, overrides=["search.trials=13"]))
    assert "the file of own_norms:score changed since earlier trials" in changed.warnings[0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_function_that_does_not_judge(recipe, tmp_path, jobs):
    name = f"own_bad_{jobs}"
    (tmp_path / f"{name}.py").write_text("def score(merged): return 'much'\n")
    with pytest.raises(LoramergeError, match=f"{name}:score returned 'much'; expected a number, of which") as caught:
        tune(read_recipe(recipe(objective=f"{name}:score")), jobs=jobs)
    assert "(with loras.ink.weight=" in caught.value.message
    assert "0 of 6 trials are in" in caught.value.hint
    assert not (tmp_path / "small-tuned.yaml").exists()


def test_a_function_that_is_not_there(recipe, tmp_path):
    with pytest.raises(ObjectiveError, match="own_nothing can't be imported"):
        tune(read_recipe(recipe(objective="own_nothing:score")))
    assert not (tmp_path / "small.study.log").exists()


def test_a_function_that_looks_at_pictures_of_which_there_are_none(recipe, tmp_path):
    (tmp_path / "own_eyes.py").write_text("def score(pictures): return 0\n")
    with pytest.raises(UsageError, match="own_eyes:score looks at pictures, and the recipe small says nothing of any"):
        tune(read_recipe(recipe(objective="own_eyes:score")))


def test_what_can_not_be_merged_is_told_and_the_search_goes_on(recipe):
    done = tune(read_recipe(recipe({f"loras.{name}.weight": [0, 1] for name in ("ink", "star")}, trials=12)))
    assert done.best.values == {"loras.ink.weight": 1, "loras.star.weight": 1}
    (said,) = done.warnings
    assert "of 12 trials can't be merged: every LoRA weighs 0, so there is nothing to merge" in said


def test_types_that_can_not_take_these_loras_are_named_before_anything_is_tried(recipe, tmp_path):
    vary = {"merge.combination_type": ["cat", "linear", "ties"], "merge.density": [0.3, 0.5]}
    with pytest.raises(MismatchError) as caught:
        tune(read_recipe(recipe(vary)))
    assert [line.partition(":")[0] for line in caught.value.message.splitlines()] == ["linear", "ties"]
    assert not (tmp_path / "small.study.log").exists()


def test_a_study_of_another_recipe(recipe):
    tune(read_recipe(recipe(trials=1)))
    with pytest.raises(MismatchError, match=r"differs in loras, search\.seed"):
        tune(read_recipe(recipe(trials=1, seed=1), overrides=["loras.ink.weight=0.9"]))


def test_files_of_others_stay(recipe, tmp_path):
    path = recipe(trials=1)
    mine = tmp_path / "small-tuned.yaml"
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"small-tuned\.yaml is there, and no search of this study wrote it as it is"):
        tune(read_recipe(path))
    assert mine.read_text() == "mine"
    mine.unlink()
    tune(read_recipe(path))
    mine.write_text(mine.read_text() + "# changed\n")
    with pytest.raises(UsageError, match="no search of this study wrote it as it is"):
        tune(read_recipe(path), restart=True)
    other = tune(read_recipe(path), out=tmp_path / "other.yaml")
    assert read_recipe(other.recipe).name == "small-tuned"


def test_one_that_is_stopped_when_the_recipe_is_written_goes_on(recipe, monkeypatch):
    path = recipe(trials=1)
    first = tune(read_recipe(path))
    note = Study.note

    def stopped(study, key, value):
        if len(value.split()) == 1:  # the recipe is there, and it is about to be noted that it alone is
            raise LoramergeError("the disk is full")
        note(study, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(Study, "note", stopped)
        with pytest.raises(LoramergeError, match="the disk is full"):
            tune(read_recipe(path, overrides=["search.trials=2"]))
    assert "of 2" in first.recipe.read_text()
    assert tune(read_recipe(path, overrides=["search.trials=2"])).new == 0


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("found.txt", "a recipe is called NAME.yaml"),
        ("sub/x.yaml", "does not lie beside"),
        ("small.yaml", "that is"),
    ],
)
def test_places_that_can_not_be(recipe, tmp_path, out, message):
    with pytest.raises(UsageError, match=message):
        tune(read_recipe(recipe()), out=tmp_path / out)


def test_a_recipe_without_a_search(tmp_path):
    with pytest.raises(UsageError, match="the recipe small says nothing of a search"):
        tune(read_recipe(recipe_of(tmp_path)))


def test_the_comments_of_the_recipe_stay(recipe):
    path = recipe(trials=1)
    path.write_text(f"# loramerge run {path}\n# by hand\n{path.read_text()}")
    first, second, third = tune(read_recipe(path)).recipe.read_text().splitlines()[:3]
    assert first == "# loramerge run small-tuned.yaml"
    assert second.startswith("# found by `loramerge tune small.yaml`: kept 0.")
    assert third == "# by hand"


def test_by_pictures(tmp_path):
    vary = {f"loras.{name}.weight": {"from": 0, "to": 1} for name in ("ink", "glow")}
    search = {"objective": "previews", "trials": 2, "vary": vary}
    path = recipe_of(tmp_path, search=search, preview={"seeds": [0]})
    done = tune(read_recipe(path))
    assert done.trials == 2
    assert set(done.best.judged.parts) == {"ink", "glow"}
    (tmp_path / "own_look.py").write_text(
        "def score(pictures):\n    first, = pictures\n    return first.image.size[0] + (first.prompt == 'a bowl')\n"
    )
    done = tune(read_recipe(path, overrides=["search.objective=own_look:score"]), restart=True)
    assert done.best.judged.score == 33


def test_without_optuna_the_extra_is_named(recipe, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(LoramergeError, match="`tune` searches with Optuna, which can't be imported") as caught:
        tune(read_recipe(recipe()))
    assert caught.value.hint == "pip install 'loramerge[tune]'"
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
