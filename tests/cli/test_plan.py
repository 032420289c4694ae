from __future__ import annotations

import pytest
from command_line import invoke
from hub.example import OWNER

from loramerge.errors import ExitCode


def test_the_table(recipe, here):
    recipe(publish=[{"kind": "folder", "path": "models"}])
    result = invoke("plan", "small.yaml")
    assert result.exit_code == ExitCode.CHANGES_PENDING
    head, *rows = [line.split() for line in result.stdout.splitlines()]
    assert head == ["RECIPE", "PLACE", "ACTION", "REASON"]
    assert rows == [["small", "dist/small", "build", "new"], ["models", "publish", "new"]]
    assert [path.name for path in here.iterdir()] == ["small.yaml"]
    assert invoke("run", "small.yaml").exit_code == ExitCode.DONE
    result = invoke("plan", "small.yaml")
    assert result.exit_code == ExitCode.DONE
    assert [line.split("  ")[-1] for line in result.stdout.splitlines()[1:]] == [
        "not needed: every target is up to date",
        "up to date",
    ]


def test_as_json(recipe, here, parsed):
    recipe()
    result = invoke("plan", "small.yaml", "--json")
    assert result.stderr == ""
    (entry,) = parsed(result)
    assert entry == {
        "recipe": "small.yaml",
        "name": "small",
        "pending": True,
        "artifact": {
            "place": str(here / "dist/small"),
            "action": "build",
            "reasons": [{"kind": "new", "detail": ""}],
        },
        "targets": [],
        "warnings": [],
    }


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_paths_of_this_machine_are_named_before_anything_is_published(recipe, models, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    recipe(publish=[{"kind": "hub", "repo": "tester/small"}], license="mit")
    warning = f"what goes to hf://tester/small names paths of this machine: {models.base}, {models.ink}, {models.glow};"
    assert warning in invoke("plan", "small.yaml").stderr
    assert warning in invoke("run", "small.yaml").stderr
    assert "paths of this machine" not in invoke("plan", "small.yaml").stderr  # nothing is left to be published


def test_in_markdown_text_stays_text(recipe):
    recipe(publish=[{"kind": "folder", "path": "a|b<i>_c_@me"}])
    lines = invoke("plan", "small.yaml", "--markdown").stdout.splitlines()
    assert lines[:2] == ["| recipe | place | action | reason |", "| --- | --- | --- | --- |"]
    assert lines[3] == r"|  | a\|b&lt;i&gt;\_c\_\@me | publish | new |"


def test_every_recipe_is_shown_whatever_is_wrong_with_one(recipe, here):
    recipe(name="a", colour="red")
    recipe(name="b", loras={"ink": "nowhere.safetensors"})
    recipe(name="c")
    result = invoke("plan", ".")
    assert result.exit_code == ExitCode.FAILED
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["a.yaml", "error"], ["b", "error"], ["c", "dist/c"]]
    assert "error: a.yaml:" in result.stderr
    assert "nowhere.safetensors" in result.stderr


def test_a_damaged_lock_is_that_recipes_error(recipe, here):
    recipe()
    (here / "small.lock.yaml").write_text("version: 2\n")
    assert invoke("plan", "small.yaml").exit_code == ExitCode.INVALID_RECIPE


@pytest.mark.parametrize("arguments", [("--markdown", "--json"), ("--out", "x", "other.yaml")])
def test_wrong_usage(recipe, arguments):
    recipe()
    recipe(name="other")
    assert invoke("plan", "small.yaml", *arguments).exit_code == ExitCode.USAGE


def test_words_in_the_card_of_an_artifact_that_nobody_makes_anew_are_no_obstacle(recipe, here):
    recipe()
    assert invoke("run", "small.yaml").exit_code == ExitCode.DONE
    with (here / "dist/small/README.md").open("a") as card:
        card.write("words of its owner")
    assert invoke("plan", "small.yaml").exit_code == ExitCode.DONE
    again = invoke("run", "small.yaml")
    assert again.exit_code == ExitCode.DONE
    assert "up to date" in again.stdout
    assert (here / "dist/small/README.md").read_text().endswith("words of its owner")
