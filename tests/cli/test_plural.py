"""Commands on a file that stands for several recipes, and on recipes that take from files beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import MODELS, ROOT, facts, invoke

from loramerge.errors import ExitCode
from loramerge.recipe import parse

pytestmark = pytest.mark.slow

COMMON = f"""\
version: 1
base: {{source: {MODELS / "base"}}}
outputs: [{{kind: adapter, format: kohya}}]
report: brief
merge: {{engine: factored}}
"""
PAIR = f"""\
- {{name: ink, source: {MODELS / "ink.safetensors"}}}
- {{name: star, source: {MODELS / "star.safetensors"}}}
"""
MATRIX = """\
name: m-{loras.ink.weight}
defaults: common.yaml
loras: [{include: pair.yaml}]
merge: {combination_type: cat}
matrix: {loras.ink.weight: [0.5, 1]}
publish: [{kind: folder, path: "out/{loras.ink.weight}"}]
"""
NAMES = ["m-0.5", "m-1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"common.yaml": COMMON, "pair.yaml": PAIR, "m.yaml": MATRIX}.items():
        Path(name).write_text(text)
    return tmp_path


def test_a_folder_is_the_recipes_and_not_what_they_take_from(here):
    result = invoke("validate", ".")
    assert result.stdout.splitlines() == [f"m.yaml#{name}: ok" for name in NAMES]
    assert result.stderr == ""


def test_what_is_printed_is_the_recipe_by_itself(here):
    texts = invoke("validate", "m.yaml", "--print").stdout.split("---\n")
    assert [parse(text, origin="", folder=here).name for text in texts] == NAMES
    assert [yaml.safe_load(text)["loras"][0]["weight"] for text in texts] == [0.5, 1]
    refused = invoke("validate", "m.yaml", "--print", "--json")
    assert refused.exit_code == ExitCode.USAGE
    assert invoke("validate", "m.yaml", "--print", "--set", "report=none").stdout == ""


def test_each_is_made_published_locked_and_known_again(here):
    planned = facts("plan", "m.yaml", code=ExitCode.CHANGES_PENDING)
    assert [(each["recipe"], each["name"]) for each in planned] == [(f"m.yaml#{name}", name) for name in NAMES]
    (one,) = facts("run", "m.yaml#m-1")
    assert (one["name"], one["status"]) == ("m-1", "built")
    locked = facts("lock", "m.yaml")
    assert [each["lock"] for each in locked] == [f"m#{name}.lock.yaml" for name in NAMES]
    done = facts("run", ".")
    assert [(each["name"], each["status"]) for each in done] == [("m-0.5", "built"), ("m-1", "up to date")]
    assert facts("plan", ".") == [{**each, "pending": False} for each in facts("plan", ".")]
    for name, weight in zip(NAMES, ("0.5", "1"), strict=True):
        assert (here / "out" / weight / f"{name}.safetensors").is_file()
        recipe = parse((here / "dist" / name / "recipe.yaml").read_text(), origin="", folder=here)
        assert recipe.loras[0].weight == float(weight)
        assert invoke("verify", f"dist/{name}", "--rebuild", "--recipe", "m.yaml").exit_code == ExitCode.DONE
    assert facts("lock", "--check", "--if-locked", ".")[0]["status"] == "unchanged"
    assert facts("lock", "--check", "m#m-1.lock.yaml")[0]["recipe"] == "m.yaml#m-1"


def test_a_lock_without_its_recipe_is_told(here):
    invoke("lock", "m.yaml")
    Path("m#m-1.lock.yaml").rename("m#m-2.lock.yaml")
    Path("common.lock.yaml").write_text(Path("m#m-2.lock.yaml").read_text().replace("m-1", "gone"))
    said = invoke("lock", "--check", ".").stderr
    assert "m#m-2.lock.yaml is the lock of m-2, for which m.yaml does not stand, and m.yaml#m-1 is its recipe" in said
    assert "mv 'm#m-2.lock.yaml' 'm#m-1.lock.yaml'" in said
    Path("m#m-1.lock.yaml").write_text("nonsense: 1\n")
    assert invoke("plan", "m.yaml").exit_code == ExitCode.INVALID_RECIPE


def test_an_axis_that_shrinks_leaves_artifacts_that_prune_removes(here):
    facts("run", ".")
    Path("m.yaml").write_text(MATRIX.replace("[0.5, 1]", "[1]"))
    (kept, gone) = facts("run", ".", "--prune")
    assert kept["name"] == "m-1"
    assert gone["name"] == "m-0.5"
    assert not (here / "dist/m-0.5").exists()
    assert (here / "dist/m-1").exists()


@pytest.mark.parametrize(
    "command",
    [["preview", "m.yaml"], ["tune", "m.yaml"], ["grid", "m.yaml", "--set", "merge.combination_type=cat,svd"]],
)
def test_where_one_is_wanted_they_are_named(here, command):
    result = invoke(*command)
    assert result.exit_code in (ExitCode.USAGE, ExitCode.INVALID_RECIPE)
    assert "stands for 2 recipes, and one is wanted" in result.stderr
    assert "m.yaml#m-0.5" in result.stderr


def test_out_is_for_one(here):
    assert "--out is for one recipe, these are 2" in invoke("run", "m.yaml", "--out", "x").stderr
    (one,) = facts("run", "m.yaml#m-1", "--out", "x", "--no-publish")
    assert one["artifact"] == str(here / "x")


def test_standard_input_may_stand_for_several(here):
    result = invoke("validate", "-", stdin=MATRIX)
    assert result.stdout.splitlines() == [f"-#{name}: ok" for name in NAMES]
    assert invoke("plan", "-", stdin=MATRIX).exit_code == ExitCode.CHANGES_PENDING


def test_the_provenance_names_the_files_that_the_recipe_was_put_together_from(here, monkeypatch):
    import subprocess

    def git(*words):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", "common.yaml", "pair.yaml", "m.yaml")
    git("commit", "-qm", "recipes")
    facts("run", "m.yaml#m-1", "--no-publish")
    statement = json.loads((here / "dist/m-1/provenance.json").read_text())
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    known = {each["name"]: each["annotations"]["clean"] for each in found if "gitCommit" in each["digest"]}
    assert known == {"recipe": True, "common.yaml": True, "pair.yaml": True}
    Path("pair.yaml").write_text(PAIR + "\n")
    facts("run", "m.yaml#m-1", "--no-publish", "--rebuild", "--set", "merge.combination_type=cat")
    statement = json.loads((here / "dist/m-1/provenance.json").read_text())
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    known = {each["name"]: each["annotations"]["clean"] for each in found if "gitCommit" in each["digest"]}
    assert known == {"recipe": False, "common.yaml": True, "pair.yaml": False}


def test_the_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("validate", ROOT / "recipes" / "weights.yaml", "--print")
    names = [yaml.safe_load(text)["name"] for text in result.stdout.split("---\n")]
    assert names == ["ink-0.5-sum", "ink-0.5-knots", "ink-1.0-sum", "ink-1.0-knots"]


def test_a_name_behind_a_file_without_a_matrix_is_the_same_recipe(here):
    text = MATRIX.replace("matrix: {loras.ink.weight: [0.5, 1]}\n", "").replace("-{loras.ink.weight}", "")
    Path("one.yaml").write_text(text.replace("{loras.ink.weight}", "x"))
    assert facts("lock", "one.yaml#m")[0]["lock"] == "one.lock.yaml"
    assert [each["recipe"] for each in facts("plan", "one.yaml#m", "one.yaml", code=ExitCode.CHANGES_PENDING)] == [
        "one.yaml"
    ]


def test_a_recipe_that_is_named_twice_is_one(here):
    names = ("m.yaml", "m.yaml#m-1", "./m.yaml#m-1", ".")
    assert [each["name"] for each in facts("plan", *names, code=ExitCode.CHANGES_PENDING)] == NAMES


def test_a_recipe_that_takes_nearly_everything_from_its_defaults(here):
    Path("m.yaml").unlink()
    Path("common.yaml").write_text(COMMON.replace("factored}", "factored, combination_type: cat}") + f"loras:\n{PAIR}")
    Path("least.yaml").write_text("name: least\ndefaults: common.yaml\n")
    result = invoke("validate", ".")
    assert (result.stdout, result.stderr) == ("least.yaml: ok\n", "pair.yaml: no recipe, passed over\n")


def test_names_that_no_recipe_has(here):
    assert "it stands for m-0.5, m-1, and not for 'a/b'" in invoke("lock", "--if-locked", "m.yaml#a/b").stderr or (
        invoke("lock", "--if-locked", "m.yaml#a/b").exit_code == ExitCode.DONE
    )
    assert "a#b.yaml: can't read the recipe" in invoke("plan", "a#b.yaml").stderr


def test_what_is_printed_ends_in_a_line_break(here):
    Path("m.yaml").write_text("---\n" + MATRIX.rstrip("\n"))
    assert invoke("validate", "m.yaml", "--print").stdout.count("\n---\n") == 1
