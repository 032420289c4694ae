"""The committed weights: what they draw shows what the prompt says, by the measures of `train/concepts.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from command_line import MODELS, QUICKSTART
from PIL import Image
from train import concepts
from train.scenes import COLOURS
from train.settings import Settings

from loramerge import recipe, run
from loramerge.bases.quiet import quiet

SEEDS = 4
PROMPTS = {
    "ink": "a big green circle in ink",
    "glow": "a big blue circle at night",
    "star": "a big blue star",
    "paper": "a purple triangle on paper",
}


@pytest.fixture(scope="module")
def draw():
    """Pictures × height × width × 3, from 0 to 1, by the base with these LoRAs at weight 1."""
    from diffusers import DiffusionPipeline

    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(MODELS / "base", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)

    def pictures(prompt, *loras):
        with quiet():
            for name in loras:
                pipeline.load_lora_weights(MODELS, weight_name=f"{name}.safetensors", adapter_name=name)
            if loras:
                pipeline.set_adapters(list(loras), [1.0] * len(loras))
            found = pipeline(
                [prompt] * SEEDS,
                num_inference_steps=20,
                guidance_scale=2.0,
                generator=[torch.Generator().manual_seed(seed) for seed in range(SEEDS)],
                output_type="np",
            ).images
            if loras:
                pipeline.unload_lora_weights()
        return found

    return pictures


def shown(name, pictures):
    """In how many pictures a concept is to be seen."""
    return sum(concepts.shows(name, concepts.measure(picture)[name]) for picture in pictures)


@pytest.mark.long
@pytest.mark.parametrize("name", PROMPTS)
def test_the_base_shows_no_concept_and_each_lora_its_own(name, draw):
    assert shown(name, draw(PROMPTS[name])) == 0
    alone = draw(PROMPTS[name], name)
    assert shown(name, alone) == SEEDS
    for other in {*PROMPTS} - {name}:
        assert shown(other, alone) == 0, other


@pytest.mark.long
def test_the_base_draws_the_colour_that_the_prompt_says(draw):
    for colour in ("red", "blue"):
        middle = np.median(draw(f"a big {colour} square")[:, 24:40, 24:40], axis=(0, 1, 2)) * 255
        distances = {name: np.linalg.norm(middle - value) for name, value in COLOURS.items()}
        assert min(distances, key=distances.get) == colour


@pytest.mark.long
def test_a_lora_without_its_word_changes_little(draw):
    assert shown("glow", draw("a red square", "glow")) == 0
    assert shown("star", draw("a red square", "star")) == 0


@pytest.mark.long
def test_the_quickstarts_preview_shows_both_concepts_merged_and_neither_in_the_base(tmp_path):
    read = recipe.read(QUICKSTART, overrides=["preview.batch_size=4"])  # the same pictures, in less time
    names = [lora.name for lora in read.loras]
    run(read, out=tmp_path / "quickstart", device="cpu")
    pictures = {path.stem: path for path in (tmp_path / "quickstart" / "preview").glob("??-*.png")}
    scores_of = {stem: concepts.measure(Image.open(path)) for stem, path in pictures.items()}
    for number in range(1, len(read.preview.prompts) * len(read.preview.seeds) + 1):
        scores = {column: scores_of[f"{number:02}-{column}"] for column in ("base", "merged")}
        for name in names:
            assert concepts.shows(name, scores["merged"][name]), (number, name, scores)
            assert not concepts.shows(name, scores["base"][name]), (number, name, scores)


def test_ranks_and_formats_differ():
    loras = Settings().loras
    assert len({lora.rank for lora in loras}) == len(loras)
    assert {lora.format for lora in loras} == {"kohya", "diffusers"}
    assert any(lora.text_layers for lora in loras)
    assert any("conv1" in lora.layers for lora in loras)
