"""Grids: the merge of every variant from the same noise, the base loaded once, nothing written but pictures."""

from __future__ import annotations

import json

import pytest
from drawn import far, recipe_of, text

from loramerge import grid, preview, read_recipe, read_variants
from loramerge.errors import MismatchError
from loramerge.stages import grid as grid_stage
from loramerge.stages import preview_inputs as prepare

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
WEIGHTS = "loras.ink.weight=0.7,0.2"
TYPES = "merge={combination_type: cat},{combination_type: ties, density: 0.5}"


def counted(monkeypatch, owner, name):
    """The calls of a function, from now on."""
    calls, function = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **options: calls.append(args) or function(*args, **options))
    return calls


@pytest.fixture
def read(tmp_path):
    return lambda *settings, **more: read_variants(recipe_of(tmp_path, **more), settings)


@pytest.mark.long
def test_a_grid_for_each_prompt_and_seed(read, tmp_path, monkeypatch):
    from diffusers import StableDiffusionPipeline

    loads = counted(monkeypatch, StableDiffusionPipeline, "from_pretrained")
    resolved = counted(monkeypatch, prepare, "resolve")
    merged = counted(monkeypatch, grid_stage, "combine")
    out = tmp_path / "out"
    done = grid(read(WEIGHTS, TYPES), out=out)
    assert (len(loads), len(resolved), len(merged)) == (1, 1, 4)
    names = {f"0{row}-x{x}-y{y}.png" for row in (1, 2) for x in (1, 2) for y in (1, 2)}
    assert {path.name for path in out.iterdir()} == names | {"grid-01.png", "grid-02.png"}
    assert [path.name for path in done.sheets] == ["grid-01.png", "grid-02.png"]
    assert done.drawn == len(done.pictures) == 8
    assert len({path.read_bytes() for path in done.pictures}) == 8

    said = text(out / "02-x2-y2.png")
    assert said["model"] == f"{WEIGHTS[:16]} = 0.2, merge = {{combination_type: ties, density: 0.5}}"
    assert json.loads(said["loras"]) == {"ink": 0.2, "glow": 0.8}
    assert json.loads(said["merge"])["density"] == 0.5
    assert said["seed"] == "1"
    sheet = text(out / "grid-02.png")
    assert json.loads(sheet["x"]) == {"loras.ink.weight": ["0.7", "0.2"]}
    assert list(json.loads(sheet["y"])) == ["merge"]
    assert json.loads(sheet["cells"])[1][1]["model"] == said["model"]

    whole = preview(read_recipe(recipe_of(tmp_path)), out=tmp_path / "whole")
    assert far(out / "02-x1-y1.png", whole.folder / "02-merged.png") == 0

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "01-x1-y2.png").unlink()
    assert grid(read(WEIGHTS, TYPES), out=out).drawn == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert len(merged) == 5


def test_one_axis(read, tmp_path):
    done = grid(read("loras.ink.weight={unet: {mid: 0.5}},1", preview={"seeds": [0]}), out=tmp_path / "out")
    assert [path.name for path in done.pictures] == ["01-x1.png", "01-x2.png"]


def test_variants_that_can_not_be_merged_are_named_before_anything_is_drawn(read, tmp_path):
    with pytest.raises(MismatchError) as caught:
        grid(read("loras.ink.weight=0,1", "loras.glow.weight=1,0"), out=tmp_path / "out")
    assert str(caught.value).startswith(
        "loras.ink.weight = 0, loras.glow.weight = 0: every LoRA weighs 0, so there is nothing to merge"
    )
    assert not (tmp_path / "out").exists()
