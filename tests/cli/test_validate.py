from __future__ import annotations

from pathlib import Path

import pytest
from command_line import ROOT, invoke, write_recipe

from loramerge.errors import ExitCode

GOOD = {"base": "hf://owner/model", "loras": {"ink": "ink.safetensors"}}


@pytest.fixture
def good(here):
    (here / "ink.safetensors").touch()
    return write_recipe(here, name="good", **GOOD)


@pytest.fixture
def bad(here):
    return write_recipe(here, name="bad", colour="red", version=2, **GOOD)


def test_a_good_recipe(good):
    result = invoke("validate", "good.yaml")
    assert (result.exit_code, result.output) == (ExitCode.DONE, "good.yaml: ok\n")


def test_every_mistake_of_every_recipe(good, bad):
    result = invoke("validate", "good.yaml", "bad.yaml", "nowhere.yaml")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert result.stdout == "good.yaml: ok\n"
    first, second, third, hint = result.stderr.splitlines()
    assert first.startswith("error: bad.yaml:1:10: version: ")
    assert second.startswith("error: bad.yaml:14:1: colour: unknown key")
    assert third == "error: nowhere.yaml: can't read the recipe: there is no such file"
    assert hint == "hint: beside it: bad.yaml, good.yaml"


def test_a_path_that_leads_nowhere(good, here, parsed):
    (here / "ink.safetensors").rename(here / "inc.safetensors")
    result = invoke("validate", "good.yaml")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert result.stderr.startswith(
        "error: good.yaml:7:11: loras.0.source: ink.safetensors: there is no file or folder "
    )
    assert "did you mean inc.safetensors?" in result.stderr
    (problem,) = parsed(invoke("validate", "good.yaml", "--json"))
    assert (problem["key"], problem["line"]) == ("loras.0.source", 7)


@pytest.mark.parametrize("source", ["../dist/first/diffusers/x.safetensors", "../models/first/x.safetensors"])
def test_what_an_earlier_recipe_makes_need_not_be_there(here, parsed, source):
    """The source's folder is not the current one, at which `dist` lies; that is how recipes in a folder are run."""
    (here / "recipes").mkdir()
    publish = [{"kind": "folder", "path": "../models/first"}]
    (here / "recipes" / "ink.safetensors").touch()
    write_recipe(here / "recipes", name="first", publish=publish, **GOOD)
    write_recipe(here / "recipes", name="second", base=GOOD["base"], loras={"first": source, "ink": "ink.safetensors"})
    done = invoke("validate", "recipes")
    assert done.exit_code == ExitCode.DONE
    assert done.output == ("recipes/first.yaml: ok\nrecipes/second.yaml: ok; uses what recipes/first.yaml makes\n")
    assert parsed(invoke("validate", "recipes", "--json")) == []
    alone = invoke("validate", "recipes/second.yaml")
    assert alone.exit_code == ExitCode.INVALID_RECIPE
    reversed_ = invoke("validate", "recipes/second.yaml", "recipes/first.yaml")
    assert reversed_.exit_code == ExitCode.INVALID_RECIPE
    said = "recipes/first.yaml makes it, and comes after this recipe: name it first"
    assert f"recipes/second.yaml:7:11: loras.0.source: {source}: there is no file or folder " in reversed_.stderr
    assert said in reversed_.stderr


def test_a_path_outside_of_what_an_earlier_recipe_makes_has_to_be_there(good, here):
    write_recipe(here, name="later", base=GOOD["base"], loras={"first": "dist/goods/x.safetensors"})
    done = invoke("validate", "good.yaml", "later.yaml")
    assert done.exit_code == ExitCode.INVALID_RECIPE
    assert "makes it" not in done.output


def test_two_recipes_of_one_name(good, here):
    (here / "better.yaml").write_text(good.read_text())
    result = invoke("validate", "good.yaml", "better.yaml")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert "error: better.yaml: name: good.yaml is called good already" in result.stderr


def test_mistakes_as_json(good, bad, parsed):
    result = invoke("validate", "good.yaml", "bad.yaml", "--json")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert result.stderr == ""
    version, colour = parsed(result)
    assert colour | {"message": ""} == {"file": "bad.yaml", "line": 14, "column": 1, "key": "colour", "message": ""}
    assert version["key"] == "version"
    assert "expected" in version["message"]


def test_no_mistakes_as_json(good, parsed):
    assert parsed(invoke("validate", "good.yaml", "--json")) == []


def test_a_folder_stands_for_its_recipes(good, here):
    (here / "compose.yaml").write_text("services: {}\n")
    (here / "good.lock.yaml").write_text("version: 1\nbase: {}\nloras: []\n")
    (here / ".hidden.yaml").write_text("version: 1\nbase: {}\n")
    (here / "broken.yml").write_text("version: [\n")
    result = invoke("validate", ".")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert result.stdout == "good.yaml: ok\n"
    passed_over, broken = result.stderr.splitlines()
    assert passed_over == "compose.yaml: no recipe, passed over"
    assert broken.startswith("error: broken.yml:2:1: not valid YAML")


def test_a_folder_without_recipes(here):
    result = invoke("validate", ".")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.splitlines()[0] == "error: . holds no recipe"


def test_the_recipes_that_come_with_loramerge():
    assert invoke("validate", ROOT / "recipes").exit_code == ExitCode.DONE


def test_standard_input(good):
    result = invoke("validate", "-", stdin=good.read_text())
    assert (result.exit_code, result.stdout) == (ExitCode.DONE, "-: ok\n")
    assert "error: <stdin>:1:1: " in invoke("validate", "-", stdin="name: x\n").stderr


def test_values_set_beside_the_recipe(good):
    assert invoke("validate", "good.yaml", "--set", "loras.0.weight=0.5").exit_code == ExitCode.DONE
    result = invoke("validate", "good.yaml", "--set", "loras.0.weight=strong")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert result.stderr.startswith("error: --set loras.0.weight=strong: loras.0.weight: ")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("loop.yaml", "Too many levels of symbolic links"), ("x" * 5000 + ".yaml", "File name too long")],
    ids=["a link to itself", "a long name"],
)
def test_a_file_that_the_system_refuses_is_a_recipe_that_cant_be_read(name, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("loop.yaml").symlink_to("loop.yaml")
    result = invoke("validate", name)
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert f"can't read the recipe: {reason}" in result.stderr


def test_a_number_of_thousands_of_digits_is_a_mistake_like_any_other(tmp_path, capfd):
    path = tmp_path / "x.yaml"
    path.write_text("version: 1\nname: 0x" + "f" * 5000 + "\nmerge: {combination_type: " + "9" * 5000 + "}\n")
    result = invoke("validate", path)
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert "can't be read as a whole number" in result.stderr
    assert len(result.stderr) < 2000
    assert capfd.readouterr().err == ""
