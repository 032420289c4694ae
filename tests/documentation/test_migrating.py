"""What the page for users of other tools says, run on the miniature: its table, and the recipe of its model."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest
from command_line import MODELS, invoke
from documentation.test_pages import MIGRATING

pytestmark = pytest.mark.slow

TEXT = MIGRATING.read_text(encoding="utf-8")
LINES = re.findall(r"^\| .*? \| `loramerge ((?:merge|resize|extract|convert) [^`]+)`", TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`a` and `b`, their base, and `tuned`: what the page's own recipe makes of them."""
    folder = tmp_path_factory.mktemp("migrating")
    shutil.copytree(MODELS / "base", folder / "base")
    shutil.copy(MODELS / "sun.safetensors", folder / "b.safetensors")
    same_rank = ("--rank", 5, "--base", folder / "base", "-o", folder / "a.safetensors")  # `linear` wants it
    assert invoke("resize", MODELS / "glow.safetensors", *same_rank).exit_code == 0
    (block,) = re.findall(r"```yaml\n(base: .*?)```", TEXT, re.DOTALL)
    (folder / "recipe.yaml").write_text(f"version: 1\nname: both\n{block.replace('base.safetensors', 'base')}")
    done = invoke("run", folder / "recipe.yaml", "--out", folder / "both", "--set", "report=brief")
    assert done.exit_code == 0, done.output
    shutil.move(folder / "both" / "model", folder / "tuned")
    return folder


def test_the_table_has_what_it_should():
    assert len(LINES) >= 12
    assert {line.split()[0] for line in LINES} == {"merge", "resize", "extract", "convert"}


@pytest.mark.parametrize("line", sorted({*LINES}))
def test_a_line_of_the_table_does_it(line, place, monkeypatch):
    monkeypatch.chdir(place)
    arguments = [*shlex.split(line), "--force"]
    if arguments[0] != "extract":  # of the miniature the base has to be said
        arguments += ["--base", "base"]
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert (place / arguments[arguments.index("-o") + 1]).exists()
