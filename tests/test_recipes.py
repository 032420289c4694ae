"""The recipes that come with loramerge, and the small models that the first one uses."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import truth
from safetensors.torch import load_file

from loramerge import recipe

RECIPES = Path(__file__).parent.parent / "recipes"
QUICKSTART = RECIPES / "quickstart"
VERSIONS = ("_diffusers_version", "transformers_version")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_opens_with_the_line_that_runs_it(path):
    schema, line, *_ = path.read_text().splitlines()
    assert schema == "# yaml-language-server: $schema=../schemas/recipe.schema.json"
    assert line == f"# loramerge run recipes/{path.name}"
    assert recipe.read(path).description


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("make_quickstart", QUICKSTART / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("quickstart")
    module.main(folder)
    return folder


def test_the_script_makes_what_lies_there(made):
    files = [path.relative_to(made) for path in sorted(made.rglob("*")) if path.is_file()]
    there = [path.relative_to(QUICKSTART) for path in sorted(QUICKSTART.rglob("*")) if path.is_file()]
    assert files == [path for path in there if path.suffix not in {".py", ".pyc"}]
    for file in files:
        if file.suffix == ".safetensors":
            assert truth.relative_error(load_file(made / file), load_file(QUICKSTART / file)) < 1e-3
        elif file.suffix == ".json":
            new, old = (json.loads((folder / file).read_text()) for folder in (made, QUICKSTART))
            assert {key: new[key] for key in old if key not in VERSIONS} == {
                key: old[key] for key in old if key not in VERSIONS
            }


def test_the_script_makes_the_same_bytes_twice(made, tmp_path):
    before = {path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    spec = importlib.util.spec_from_file_location("make_quickstart", QUICKSTART / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_models_are_small_and_tell_nothing_of_the_machine_they_were_made_on():
    files = [path for path in QUICKSTART.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < 900_000
    for path in files:
        if path.suffix == ".json":
            assert not re.search(r'_name_or_path|"/|local', path.read_text())
        assert path.stat().st_mode & 0o777 == 0o644
