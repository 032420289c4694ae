"""`kind: model` of a denoiser that lies by itself, as `save_pretrained` of its class writes it."""

import json
import os
import re
import shutil

import foreign
import pytest
import tiny
import torch
from command_line import invoke, write_recipe

from loramerge import read_recipe, run
from loramerge.errors import ExitCode, MismatchError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The UNet of Stable Diffusion 1.5 alone, its pipeline, and a LoRA that touches the UNet."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny.folder("sd15"), "pipeline")
    shutil.copytree(tiny.folder("sd15") / "unet", "base")
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True, components=("unet",))
    foreign.write_diffusers(pairs, tmp_path / "ink.safetensors")
    return tmp_path


def recipe(here, base="base", **more):
    return write_recipe(here, base=base, loras={"ink": "ink.safetensors"}, outputs=[{"kind": "model", **more}])


@pytest.mark.parametrize("settings", [{}, {"dtype": "bfloat16", "max_shard_size": "200KB"}], ids=str)
def test_it_is_what_the_fused_pipeline_has(here, settings):
    run(read_recipe(recipe(here, **settings)), out=here / "alone", device="cpu")
    run(read_recipe(recipe(here, base="pipeline", **settings)), out=here / "whole", device="cpu")
    want = {each.name: each.read_bytes() for each in (here / "whole" / "model" / "unet").iterdir()}
    assert {each.name: each.read_bytes() for each in (here / "alone" / "model").iterdir()} == want


def test_the_card_loads_it_by_its_class_and_it_is_made_again(here):
    done = invoke("run", recipe(here))
    assert done.exit_code == ExitCode.DONE, done.output
    card = (here / "dist" / "small" / "README.md").read_text()
    code = re.search(r"### diffusers, without any LoRA: `model`\n\n```python\n(.*?)\n```", card, re.DOTALL)[1]
    assert "DiffusionPipeline" not in code
    os.chdir(here / "dist" / "small")
    scope = {}
    exec(code, scope)  # noqa: S102  the card's own code
    assert type(scope["unet"]).__name__ == "UNet2DConditionModel"
    before = tiny.shared("sd15").unet.state_dict()
    assert any(not torch.equal(each, before[name]) for name, each in scope["unet"].state_dict().items())
    os.chdir(here)
    again = invoke("verify", here / "dist" / "small", "--rebuild", "--recipe", here / "small.yaml")
    assert again.exit_code == ExitCode.DONE, again.output


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"scheduler": {"class": "LCMScheduler"}}, "has no scheduler that could be replaced"),
        ({"components": {"vae": "pipeline"}}, "is no folder of a pipeline of diffusers"),
    ],
    ids=str,
)
def test_what_only_a_pipeline_has_is_refused(here, more, match):
    with pytest.raises(MismatchError, match=match):
        run(read_recipe(recipe(here, **more)), out=here / "out", device="cpu")


def test_no_pipeline_can_be_written(here):
    path = recipe(here)
    path.write_text(path.read_text().replace("kind: model", "kind: pipeline"))
    with pytest.raises(MismatchError, match=r"one model and no pipeline"):
        run(read_recipe(path), out=here / "out", device="cpu")
    assert json.loads((here / "base" / "config.json").read_text())["_class_name"] == "UNet2DConditionModel"
