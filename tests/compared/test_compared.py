"""The comparison on pictures: its parts, and all of it on next to nothing."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import forked_python
import numpy as np
import pytest
import torch
from command_line import MODELS
from compared.cases import Setting, groups, scenes, settings
from compared.judge import CONCEPTS, EXCLUDING, Effort, accuracy, broken, drawings, trained
from compared.measuring import places, plain, without_pictures
from compared.painting import Painter
from train.settings import Settings

from loramerge import load_adapter, load_base
from loramerge.bases.quiet import quiet
from loramerge.methods import METHODS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods-compared.md"
RUN = ROOT / "tests" / "compared" / "run.py"


def test_every_type_of_the_program_is_compared():
    ways = settings()
    assert {way.type for way in ways} == {method.name() for method in METHODS}
    assert {way.type for way in ways if way.main} == {method.name() for method in METHODS}
    assert len({str(way) for way in ways}) == len(ways)
    assert ways[0] == Setting("cat", {}, main=True)


def test_every_pair_is_there_triples_of_each_and_all():
    found = groups()
    assert len(found) == 28 + 8 + 1
    assert len({frozenset(group) for group in found}) == len(found)
    for name in CONCEPTS:
        assert [sum(name in group for group in found if len(group) == size) for size in (2, 3, 8)] == [7, 3, 1]
    assert {lora.name for lora in Settings().loras} == {*CONCEPTS}


def test_prompts_call_for_all_concepts_and_fit_the_text_encoders():
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "base" / "tokenizer")
    for group in groups():
        first, again = list(scenes(group, 6)), list(scenes(group, 6))
        assert first == again
        assert [seed for _, seed in first] == list(range(6))
        for prompt, _ in first:
            assert len(tokenizer(prompt).input_ids) <= tokenizer.model_max_length
            assert ("in dip" in prompt) == ("dip" in group)
            assert ("star" in prompt) == ("star" in group)
            assert "dip" not in group or "blue" not in prompt


def test_drawings_have_every_concept_and_one_ground():
    pictures, labels = drawings(200, random.Random(0))
    assert pictures.shape == (200, 3, 64, 64)
    assert bool(((labels.mean(0) > 0.15) & (labels.mean(0) < 0.6)).all())
    assert not bool(labels[:, places(EXCLUDING)].all(1).any())


@pytest.mark.long
def test_a_little_training_teaches_it_most_and_it_finds_nothing_in_noise():
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(MODELS / "base" / "vae", local_files_only=True)
    judge = trained(vae, Effort(drawings=600, steps=150))
    found = accuracy(judge, *drawings(200, random.Random(7)))
    assert min(found.values()) > 0.7
    assert found["glow"] > 0.95
    nothing = ((broken(vae, 32, 1.0) + 1) / 2).permute(0, 2, 3, 1).numpy()
    assert (judge.scores(nothing) >= 0.5).mean() < 0.1


@pytest.mark.long
def test_a_lora_in_the_weights_draws_what_diffusers_draws_with_it():
    with quiet():
        paint = Painter(MODELS / "base", steps=3, guidance=2.0)
    asked = [("a big green circle in ink", 0), ("a red ring in ink", 1)]
    adapter = load_adapter(str(MODELS / "ink.safetensors"), load_base(str(MODELS / "base")))
    before, with_it, after = paint(asked), paint(asked, adapter), paint(asked)
    with quiet():
        paint.pipeline.load_lora_weights(MODELS, weight_name="ink.safetensors", adapter_name="ink")
    loaded = paint.pipeline(
        [prompt for prompt, _ in asked],
        num_inference_steps=3,
        guidance_scale=2.0,
        generator=[torch.Generator().manual_seed(seed) for _, seed in asked],
        output_type="np",
    ).images
    assert np.abs(with_it - loaded).max() < 1e-3
    assert np.abs(with_it - before).max() > 0.1
    np.testing.assert_array_equal(before, after)


def test_plain_data_keeps_no_pictures():
    found = {"a": {"scores": np.array([[0.123456]]), "pictures": [1]}, "b": ("x", 2)}
    assert plain(without_pictures(found)) == {"a": {"scores": [[0.1235]]}, "b": ["x", 2]}


@pytest.mark.long
def test_the_smallest_run_writes_a_page_that_can_be_written_again(tmp_path):
    page, figures = tmp_path / "methods-compared.md", tmp_path / "figures.json"
    shutil.copy(PAGE, page)
    places_of = ("--page", page, "--figures", figures, "--kept", tmp_path / "kept")
    done = forked_python.run(RUN, "--quick", "--jobs", "1", *places_of)
    assert done.returncode == 0, done.stderr
    run = json.loads(figures.read_text())
    assert [len(each["group"]) for each in run["results"]] == [2, 3, 8]
    for each in run["results"]:
        assert {"`cat`", "`ties`, density 0.5"} <= {*each["ways"]}
        assert np.array(each["ways"]["`cat`"]["scores"]).shape == (2, len(CONCEPTS))
        assert each["ways"]["`cat`"]["share"] == pytest.approx([1.0] * len(each["group"]), abs=0.2)
        assert each["ways"]["`cat`"]["error"] < 1e-5
    written = page.read_text()
    assert "| `cat` |" in written
    assert (tmp_path / "pictures" / "methods-compared.jpg").stat().st_size > 1000
    again = forked_python.run(RUN, "--again", figures, "--page", page)
    assert str(page) in again.stdout, again.stderr
    assert page.read_text() == written
