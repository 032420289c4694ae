from __future__ import annotations

from pathlib import Path

import pytest

from loramerge.files.neighbours import beside


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    for name in ("recipes/ink-glow.yaml", "recipes/fox.yaml", "recipes/notes.txt", "recipes/.hidden.yaml"):
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("recipes/ink-glw.yaml", "did you mean recipes/ink-glow.yaml?"),
        ("recipes/ink-glow.yml", "did you mean recipes/ink-glow.yaml?"),
        ("recipes/zebra.yaml", "beside it: fox.yaml, ink-glow.yaml"),
        ("zebra.yaml", "no .yaml or .yml file lies beside it"),
        ("recepes/fox.yaml", "there is no folder recepes; did you mean recipes?"),
        ("elsewhere/below/fox.yaml", "there is no folder elsewhere"),
    ],
)
def test_what_lies_beside_a_recipe_that_is_not_there(here, path, said):
    del here
    assert beside(Path(path), (".yaml", ".yml")) == said


def test_anything_counts_without_an_ending(here):
    del here
    assert beside(Path("recipes/note.txt")) == "did you mean recipes/notes.txt?"
    assert beside(Path("recipe")) == "did you mean recipes?"
    assert beside(Path("/nowhere/at/all")) == "there is no folder /nowhere"


def test_names_that_are_too_long_say_nothing():
    assert beside(Path("x" * 5000), (".yaml",)) in {"", "no .yaml file lies beside it"}
    assert beside(Path("x" * 5000) / "y") == ""
