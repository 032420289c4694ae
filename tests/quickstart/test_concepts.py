"""The measures of the concepts, on drawings that nothing was trained on."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from command_line import MODELS
from train import concepts
from train.scenes import PHRASES, SHAPES, SUBJECT, Scene, anything
from train.training import pixels

DRAWINGS = 120


@pytest.fixture(scope="module")
def drawings():
    """(concepts, picture) with each concept in about half of them; night and paper exclude each other.

    The seed is another one than that with which the thresholds were found.
    """
    rng = random.Random(1000)
    found = []
    for number in range(DRAWINGS):
        styles = {name for name in PHRASES if rng.random() < 0.5}
        styles -= {"paper"} if "glow" in styles else set()
        scene = anything(rng, (SUBJECT,) if number % 2 else SHAPES)
        found.append((styles | ({"star"} if number % 2 else set()), scene.draw(styles)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", concepts.CONCEPTS)
def test_a_score_tells_drawings_with_the_concept_from_those_without(name, drawings):
    scores = [(name in has, concepts.measure(picture)[name]) for has, picture in drawings]
    assert all(0 <= score <= 1 for _, score in scores)
    assert {has for has, _ in scores} == {True, False}
    assert [has for has, _ in scores] == [concepts.shows(name, score) for _, score in scores]


@pytest.mark.slow
@pytest.mark.parametrize("name", concepts.CONCEPTS)
def test_so_it_does_on_what_the_vae_makes_of_them(name, drawings):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(MODELS / "base" / "vae", local_files_only=True)
    half = drawings[: DRAWINGS // 2]
    with torch.no_grad():
        decoded = vae.decode(vae.encode(pixels(picture for _, picture in half)).latent_dist.mode()).sample
    seen = ((decoded.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy()
    right = [
        (name in has) == concepts.shows(name, concepts.measure(picture)[name])
        for (has, _), picture in zip(half, seen, strict=True)
    ]
    assert sum(right) >= 0.96 * len(right)


def test_a_plain_picture_shows_nothing():
    white = concepts.measure(np.ones((64, 64, 3)))
    assert not any(concepts.shows(name, score) for name, score in white.items())


def test_noise_is_no_concept_that_has_a_form():
    noise = np.random.default_rng(0).random((8, 64, 64, 3))
    for picture in noise:
        found = concepts.measure(picture)
        assert not concepts.shows("ink", found["ink"])
        assert not concepts.shows("star", found["star"])


@pytest.mark.parametrize("colour", ["red", "yellow"])
def test_a_measure_does_not_depend_on_the_other_concepts(colour):
    plain = concepts.measure(Scene(SUBJECT, colour).draw())
    dark = concepts.measure(Scene(SUBJECT, colour).draw({"glow"}))
    assert concepts.shows("star", plain["star"])
    assert concepts.shows("star", dark["star"])
    assert not concepts.shows("ink", dark["ink"])
