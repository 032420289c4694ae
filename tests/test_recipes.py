"""The recipes that come with loramerge, and the small models that the first one uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loramerge import recipe

RECIPES = Path(__file__).parent.parent / "recipes"
QUICKSTART = RECIPES / "quickstart"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_opens_with_the_line_that_runs_it(path):
    schema, line, *_ = path.read_text().splitlines()
    assert schema == "# yaml-language-server: $schema=../schemas/recipe.schema.json"
    first, *_ = recipe.read_each(path)
    assert line == f"# loramerge {'tune' if first.search else 'run'} recipes/{path.name}"
    assert first.description


def committed():
    files = (path for path in sorted(QUICKSTART.rglob("*")) if path.is_file() and path.suffix not in {".py", ".pyc"})
    return {path.relative_to(QUICKSTART): path for path in files}


def test_the_models_are_small_and_tell_nothing_of_the_machine_they_were_made_on():
    files = committed()
    assert sum(path.stat().st_size for path in files.values()) < 12_000_000
    for file, path in files.items():
        if file.suffix == ".json":
            assert not re.search(r'name_or_path|"/\w|is_local|local_files', path.read_text())
