from __future__ import annotations

import pytest
import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.conflicts import conflicts
from loramerge.analysis.overlap import overlaps
from loramerge.analysis.overlap_json import MOST_MODULES, as_data
from loramerge.methods import Cat, TiesSvd

BLOCKS = ("down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1")


def pair(seed, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(4, 40, generator=generator), torch.randn(60, 4, generator=generator), size)


def lora(seed, size=1.0, **others):
    """Random in every block but those that are given, by their names with an underscore for the dot."""
    modules = {
        f"{block}.attentions.0.proj_in": others.get(block.replace(".", "_")) or pair(seed + number, size)
        for number, block in enumerate(BLOCKS)
    }
    text = others.get("text") or pair(seed + 50, size)
    return {"unet": modules, "text_encoder": {"text_model.encoder.layers.0.mlp.fc1": text}}


def said(one, other, method=None, weights=(1.0, 1.0)):
    adapters = {
        name: (Adapter(components), lambda *_, weight=weight: weight)
        for name, components, weight in zip(("feng", "ikea"), (one, other), weights, strict=True)
    }
    return conflicts(overlaps(adapters), method)


def test_loras_that_were_trained_apart_are_nothing_to_think_over():
    assert said(lora(0), lora(100)) == []


def test_opposite_directions_in_a_block():
    one = lora(0)
    against = {"up_blocks_0": pair(2, -1.0), "mid_block": pair(1, -0.5)}
    (sentence,) = said(one, lora(100, **against))
    assert sentence == (
        "feng and ikea pull mid_block, up_blocks.0 in opposite directions: expect one to lose; lower its weight there "
        "or use ties_svd"
    )
    assert said(one, lora(100, **against), Cat(combination_type="cat"))[0].endswith("or use ties_svd")
    assert said(one, lora(100, **against), TiesSvd(combination_type="ties_svd", density=0.5))[0].endswith(
        "expect one to lose; lower its weight there"
    )


def test_a_negative_weight_turns_a_duplicate_into_its_opposite():
    assert said(lora(0), lora(0))[0] == (
        "feng and ikea do much the same in unet, text_encoder: there their weights add up; lower one of them"
    )
    assert said(lora(0), lora(0), weights=(1.0, -1.0))[0].startswith("feng and ikea pull unet, text_encoder in opp")


@pytest.mark.parametrize(("size", "words"), [(0.01, "feng is 1"), (100.0, "ikea is 9")])
def test_a_lora_that_drowns_another(size, words):
    sentences = said(lora(0), lora(100, size))
    assert [sentence.split(" where both touch ")[1].split(":")[0] for sentence in sentences] == ["text_encoder", "unet"]
    assert all(sentence.startswith(words) for sentence in sentences)


def test_a_lora_of_zeros_is_no_conflict():
    assert said(lora(0), lora(0, 0.0)) == []


def test_as_data():
    adapters = {name: (Adapter(lora(seed)), lambda *_: 1.0) for name, seed in (("feng", 0), ("ikea", 2))}
    (found,) = as_data(overlaps(adapters))["pairs"]
    assert found["loras"] == ["feng", "ikea"]
    assert (found["modules"], found["alone"], found["unlike"]) == (5, {"feng": 0, "ikea": 0}, 0)
    assert set(found["components"]) == {"unet", "text_encoder"}
    assert list(found["blocks"]) == [*(f"unet.{block}" for block in BLOCKS), "text_encoder"]
    (kind,) = found["blocks"]["unet.mid_block"]["kinds"]
    assert kind == "projections"
    assert found["by_module"]["unet"]["mid_block.attentions.0.proj_in"]["modules"] == 1
    assert all(value == round(value, 6) for value in (found["cosine"], found["row_overlap"]))


def test_too_many_modules_are_left_to_their_blocks():
    tiny = LowRank(torch.ones(1, 2), torch.ones(2, 1), 1.0)
    modules = {f"mid_block.m{number}": tiny for number in range(MOST_MODULES + 1)}
    adapters = {name: (Adapter({"unet": modules}), lambda *_: 1.0) for name in "ab"}
    (found,) = as_data(overlaps(adapters))["pairs"]
    assert "by_module" not in found
    assert found["blocks"]["unet.mid_block"]["modules"] == MOST_MODULES + 1
