"""Pictures compared with each other: by pixels, and by a CLIP model that is small and knows nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from PIL import Image, ImageChops

from loramerge.adapter import Adapter
from loramerge.errors import SourceError
from loramerge.search.alike import Alike, features
from loramerge.search.clip import ByClip, ClipModel
from loramerge.search.judged import Picture, Tried

SIZE = 64


def plain(colour):
    return Image.new("RGB", (SIZE, SIZE), colour)


def hatched(pitch=4, turn=1, shift=0):
    down, right = np.indices((SIZE, SIZE))
    lines = ((down + turn * right + shift) // (pitch // 2) % 2 * 255).astype(np.uint8)
    return Image.fromarray(np.stack([lines] * 3, axis=2))


def tried(*images):
    return Tried(None, Adapter({}), [Picture("a bowl", seed, image) for seed, image in enumerate(images)])


WHITE, DARK = plain("white"), plain((20, 20, 60))
INK = hatched()


def test_a_merge_that_draws_what_one_lora_draws_keeps_that_one():
    judge = Alike.beside([WHITE], {"ink": [INK], "glow": [DARK]})
    assert judge(tried(INK)).parts["ink"] == pytest.approx(1)
    assert judge(tried(DARK)).parts["glow"] == pytest.approx(1)
    assert judge(tried(WHITE)).parts == {"ink": 0, "glow": 0}


def test_both_at_once_is_better_than_each_alone():
    left, right = (Image.new("L", (SIZE, SIZE)) for _ in range(2))
    left.paste(255, (0, 0, SIZE // 2, SIZE))
    right.paste(255, (SIZE // 2, 0, SIZE, SIZE))
    ink, glow = Image.composite(INK, WHITE, left), Image.composite(DARK, WHITE, right)
    judge = Alike.beside([WHITE], {"ink": [ink], "glow": [glow]})
    both = judge(tried(ImageChops.multiply(ink, glow)))
    assert both.score == min(both.parts.values()) > 0.9
    assert max(judge(tried(each)).score for each in (ink, glow)) < 0.1


def test_a_texture_that_moved_is_the_same_and_one_that_turned_is_another():
    base, own, moved, turned = features([WHITE, INK, hatched(shift=1), hatched(turn=-1)])
    assert np.linalg.norm(moved - own) < 0.2 * np.linalg.norm(own - base)
    assert np.linalg.norm(turned - own) > 0.5 * np.linalg.norm(own - base)


def test_a_lora_that_changes_no_picture_has_no_part():
    judge = Alike.beside([WHITE], {"ink": [WHITE], "glow": [DARK]})
    assert list(judge(tried(DARK)).parts) == ["glow"]
    assert Alike.beside([WHITE], {"ink": [WHITE]})(tried(DARK)).score == 0


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A random CLIP model of two layers, saved as transformers saves one."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = tiny.shared("sd15").tokenizer
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, **sizes}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config={"image_size": 32, "patch_size": 8, **sizes}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    size = {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}
    CLIPImageProcessor(**size).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_clip_model_compares_with_prompts_and_with_the_loras_own_pictures(clip):
    from transformers import CLIPModel

    model = ClipModel(clip, "clip")
    own = {name: model.of_pictures([each]) for name, each in (("ink", INK), ("glow", DARK))}
    judge = ByClip(model, own)
    found = judge(tried(INK))
    assert found.parts["ink"] == pytest.approx(1, abs=1e-5)
    assert found.parts["glow"] < 1
    direct = CLIPModel.from_pretrained(clip, local_files_only=True).eval()
    with torch.no_grad():
        given = model._texts(["a bowl"], return_tensors="pt")
        pixels = model._pictures(images=[INK], return_tensors="pt")
        said = direct(input_ids=given["input_ids"], attention_mask=given["attention_mask"], **pixels)
        cosine = float(torch.nn.functional.cosine_similarity(said.image_embeds, said.text_embeds))
    assert found.score == pytest.approx(found.parts["glow"] + cosine, abs=1e-5)


def test_a_prompt_that_is_too_long_for_it_is_cut(clip):
    assert ClipModel(clip, "clip").of_texts(["a bowl of ramen " * 60, "a"]).shape == (2, 8)


def test_a_folder_that_is_no_clip_model(tmp_path):
    with pytest.raises(SourceError, match="some/folder can't be loaded as a CLIP model") as caught:
        ClipModel(tmp_path, "some/folder")
    assert "hf://openai/clip-vit-base-patch32" in caught.value.hint
