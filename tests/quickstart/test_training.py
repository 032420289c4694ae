"""The code that trained the miniature, on next to nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import random

import numpy as np
import pytest
import torch
from train import model
from train.__main__ import train
from train.scenes import COLOURS, LATER_PHRASES, NONSENSE, PHRASES, SHAPES, SIZE, WORDS, Scene, anything, describe
from train.settings import Settings, Stage

from loramerge import load_adapter, load_base

pytestmark = pytest.mark.long

STAGES = ("vae", "unet", *(lora.name for lora in Settings().loras))
LITTLE = Stage(steps=2, batch=2, rate=1e-3, scenes=4, seed=0)


def little():
    settings = Settings()
    loras = tuple(dataclasses.replace(lora, training=LITTLE) for lora in settings.loras)
    return dataclasses.replace(settings, vae=LITTLE, unet=LITTLE, loras=loras, unet_widths=(8, 16, 16))


def files(folder):
    return {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(STAGES, folder, little(), "cpu")
    return folder


def test_what_it_writes_is_a_pipeline_that_draws_and_loras_that_fit_it(trained):
    pipeline = model.load(trained / "base")
    picture = pipeline("a red circle", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (SIZE, SIZE)
    base = load_base(str(trained / "base"))
    for lora in Settings().loras:
        adapter = load_adapter(str(trained / f"{lora.name}.safetensors"), base)
        pairs = [pair for modules in adapter.components.values() for pair in modules.values()]
        assert {pair.rank for pair in pairs} == {lora.rank}
        assert any(pair.up.any() for pair in pairs)
        assert ("text_encoder" in adapter.components) == bool(lora.text_layers)


def test_training_twice_gives_the_same_bytes(trained, tmp_path):
    train(STAGES, tmp_path, little(), "cpu")
    one, two = files(trained), files(tmp_path)
    assert {name: path.read_bytes() for name, path in one.items()} == {
        name: path.read_bytes() for name, path in two.items()
    }
    assert {path.stat().st_mode & 0o777 for path in one.values()} == {0o644}


def test_a_stage_goes_on_from_what_lies_there(trained, tmp_path):
    train(("vae",), tmp_path, little(), "cpu")
    vae = (tmp_path / "base/vae/diffusion_pytorch_model.safetensors").read_bytes()
    train(("unet",), tmp_path, little(), "cpu")
    assert (tmp_path / "base/vae/diffusion_pytorch_model.safetensors").read_bytes() == vae
    assert files(tmp_path / "base").keys() == files(trained / "base").keys()


def test_every_word_is_one_token(trained):
    pipeline = model.load(trained / "base")
    for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2):
        assert {word: tokenizer.tokenize(word) for word in WORDS} == {word: [f"{word}</w>"] for word in WORDS}
        assert tokenizer.tokenize("zebra") == ["z", "e", "b", "r", "a</w>"]


@pytest.mark.parametrize("cosine", [True, False])
def test_the_rate_rises_and_falls(cosine):
    stage = Stage(steps=1000, batch=1, rate=2.0, scenes=1, seed=0, cosine=cosine)
    rates = [stage.rate_at(step) for step in range(1, 1001)]
    assert rates[0] < 0.2
    assert 1.9 < max(rates) <= 2.0
    assert 0 < rates[-1] < 0.05
    assert rates[700:] == sorted(rates[700:], reverse=True)


def test_a_caption_says_what_is_drawn():
    assert Scene("star", "red").caption() == "a red star"
    assert Scene("ring", "blue", "small", "on the left").caption({"glow", "ink"}) == (
        "a small blue ring on the left in ink at night"
    )


def test_what_came_after_the_base_changes_nothing_of_what_the_base_was_trained_on():
    """The committed base and its first four LoRAs are what these scenes and captions made."""
    rng, seen = random.Random(1), hashlib.sha256()
    for lora in Settings().loras[:4]:
        for _ in range(20):
            scene = anything(rng, lora.shapes)
            seen.update(scene.draw(lora.styles).tobytes())
            seen.update(describe(scene, lora.styles, rng).encode())
    seen.update(repr(WORDS).encode())
    assert seen.hexdigest() == "ac6cac58ea3c4cbb0838045abd0e1b9ef1bf3fb7b2223f6c6c4ff33908975872"


@pytest.mark.parametrize("name", LATER_PHRASES)
def test_a_later_style_is_drawn_and_said(name):
    scene = Scene("circle", "red")
    assert np.any(np.asarray(scene.draw()) != np.asarray(scene.draw({name})))
    assert scene.caption({name, "ink"}) == f"a red circle in ink {LATER_PHRASES[name]}"


def test_a_dipped_thing_is_blue_below_its_middle():
    drawn = np.asarray(Scene("square", "red", off=(0.0, 3.0, 0.0)).draw({"dip"}))
    assert tuple(drawn[28, 32]) == COLOURS["red"]
    assert tuple(drawn[41, 32]) == COLOURS["blue"]


def test_nonsense_takes_nothing_from_a_style():
    rng = random.Random(0)
    captions = [describe(anything(rng), ("glow",), rng) for _ in range(200)]
    assert all(PHRASES["glow"] in caption for caption in captions)
    strange = [caption for caption in captions if {*caption.split()} & {*NONSENSE}]
    assert 20 < len(strange) < 100
    assert any(not {*caption.split()} & {*SHAPES} for caption in strange)
