"""The package as Python sees it."""

import importlib.metadata
import inspect
from pathlib import Path

import pytest
from command_line import MODELS, QUICKSTART

import loramerge


def test_what_is_public_is_listed_and_there():
    assert {*loramerge.__all__, "__version__"} <= {*dir(loramerge)}
    assert all(getattr(loramerge, name) is not None for name in loramerge.__all__)
    assert loramerge.__version__ == importlib.metadata.version("loramerge")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = loramerge.nothing


def test_paths_are_taken_as_they_are():
    base = loramerge.load_base(MODELS / "base")
    assert base.reference == str(MODELS / "base")
    adapter = loramerge.load_adapter(Path(MODELS, "ink.safetensors"), base)
    assert len(adapter) > 0


def test_a_result_is_shown_without_its_numbers():
    shown = repr(loramerge.Result(Path("dist/x"), loramerge.Adapter({}), {"unet": 0.0}, (), (), {"long": "report"}))
    assert "dist/x" in shown
    assert "report" not in shown


def test_whatever_takes_long_says_how_far_it_is_where_it_is_asked(capsys):
    for name in (
        "combine",
        "convert",
        "grid",
        "lock_sources",
        "merge",
        "plan",
        "preview",
        "publish",
        "run",
        "tune",
        "verify",
    ):
        assert "progress" in inspect.signature(getattr(loramerge, name)).parameters, name
    recipe = loramerge.read_recipe(QUICKSTART, overrides=["merge.engine=factored"])
    loramerge.lock_sources(recipe, progress=loramerge.ProgressLines())
    assert capsys.readouterr().err == "resolve …\nlock …\n"
    said = []
    loramerge.lock_sources(recipe, progress=loramerge.ProgressLines(recipe.name, said.append))
    assert said == ["quickstart: resolve …", "quickstart: lock …"]
    assert capsys.readouterr().err == ""
