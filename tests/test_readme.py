"""The README's Python example runs, and its recipe is one."""

import re
from pathlib import Path

import pytest

from loramerge.recipe import parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_recipe_is_valid(tmp_path):
    text = blocks("yaml")[0]
    assert parse(text, origin="README.md", folder=tmp_path).name == "ikea-feng"


def test_the_concept_table_is_the_one_that_was_measured():
    shown = README.partition("<!-- concepts -->\n")[2].partition("\n<!-- /concepts -->")[0]
    assert shown == (ROOT / ".github" / "tables" / "concepts.md").read_text(encoding="utf-8").strip()


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = blocks("python")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "quickstart").symlink_to(ROOT / "recipes" / "quickstart")
    text = (ROOT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")
    assert "steps: 20" in text
    (recipes / "quickstart.yaml").write_text(text.replace("steps: 20", "steps: 1"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102  our own text
    assert "unet" in capsys.readouterr().out
    assert (tmp_path / "dist" / "quickstart" / "kohya" / "quickstart.safetensors").is_file()
