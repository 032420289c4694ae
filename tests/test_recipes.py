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


def make(folder):
    spec = importlib.util.spec_from_file_location("make_quickstart", QUICKSTART / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(folder)
    return {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}


def committed():
    files = (path for path in sorted(QUICKSTART.rglob("*")) if path.is_file() and path.suffix not in {".py", ".pyc"})
    return {path.relative_to(QUICKSTART): path for path in files}


def test_the_script_makes_what_lies_there(tmp_path):
    made, there = make(tmp_path), committed()
    assert list(made) == list(there)
    for file, path in made.items():
        if file.suffix == ".safetensors":
            assert truth.relative_error(load_file(path), load_file(there[file])) < 1e-3
        elif file.suffix == ".json":
            new, old = (json.loads(each.read_text()) for each in (path, there[file]))
            assert {key: new[key] for key in old if key not in VERSIONS} == {
                key: old[key] for key in old if key not in VERSIONS
            }


def test_the_script_makes_the_same_bytes_twice(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    assert {file: path.read_bytes() for file, path in one.items()} == {
        file: path.read_bytes() for file, path in two.items()
    }
    assert {path.stat().st_mode & 0o777 for path in one.values()} == {0o644}


def test_the_models_are_small_and_tell_nothing_of_the_machine_they_were_made_on():
    files = committed()
    assert sum(path.stat().st_size for path in files.values()) < 900_000
    for file, path in files.items():
        if file.suffix == ".json":
            assert not re.search(r'name_or_path|"/\w|is_local|local_files', path.read_text())
