from __future__ import annotations

from itertools import combinations

import pytest
import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.conflicts import MOST_OF_A_KIND, conflicts
from loramerge.analysis.fidelity import measure_module
from loramerge.analysis.notable import MOST_PAIRS, notable
from loramerge.analysis.overlap import directions, overlaps
from loramerge.analysis.overlap_json import MOST_MODULES, as_data
from loramerge.bases.anatomy import Anatomy
from loramerge.bases.published import architecture
from loramerge.merging.module import Share
from loramerge.stages.combine import WeightedAdapter

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


def said(one, other, weights=(1.0, 1.0)):
    adapters = {
        name: (Adapter(components), lambda *_, weight=weight: weight)
        for name, components, weight in zip(("feng", "ikea"), (one, other), weights, strict=True)
    }
    found = conflicts(overlaps(adapters))
    assert conflicts(briefly(adapters)) == found
    return found


def briefly(adapters):
    """What measuring the merge tells of the LoRAs."""
    parts = [WeightedAdapter(name, adapter, weigh()) for name, (adapter, weigh) in adapters.items()]
    modules = {
        place: [
            Share(part.name, pair := part.adapter.components[place[0]][place[1]], part.weight, pair)
            for part in parts
            if place[1] in part.adapter.components.get(place[0], {}) and part.weight
        ]
        for place in dict.fromkeys((component, module) for part in parts for component, module, _ in part.adapter)
    }
    fidelity = {}
    for (component, module), inputs in modules.items():
        if inputs:
            merged = LowRank(
                torch.cat([share.pair.down * (share.weight * share.pair.scale) for share in inputs]),
                torch.cat([share.pair.up for share in inputs], 1),
                1.0,
            )
            fidelity.setdefault(component, {})[module] = measure_module(merged, inputs)
    return directions(fidelity, list(adapters), same={}, anatomy=Anatomy())


def test_loras_that_were_trained_apart_are_nothing_to_think_over():
    assert said(lora(0), lora(100)) == []


def test_opposite_directions_in_a_block():
    one = lora(0)
    against = {"up_blocks_0": pair(2, -1.0), "mid_block": pair(1, -0.5)}
    (sentence,) = said(one, lora(100, **against))
    assert sentence == (
        "feng and ikea pull mid_block, up_blocks.0 in opposite directions: expect one to lose; lower its weight there"
    )


def test_blocks_of_a_transformer_are_named_in_its_order_and_as_recipes_weigh_them():
    names = [f"blocks.{number}.attn1.to_q" for number in range(30)]
    one = Adapter({"transformer": {name: pair(number) for number, name in enumerate(names)}})
    against = dict.fromkeys((*names[8:12], names[0], names[2]))
    other = {name: pair(number, -1.0) if name in against else pair(number + 50) for number, name in enumerate(names)}
    other["proj_out"] = pair(99)
    weights = {"feng": (one, lambda *_: 1.0), "ikea": (Adapter({"transformer": other}), lambda *_: 1.0)}
    found = conflicts(overlaps(weights, anatomy=architecture("wan/1.3b").anatomy(["transformer"])))
    assert found[0].startswith("feng and ikea pull blocks.0-3, blocks.8-11 in opposite directions")


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


@pytest.mark.slow
def test_too_many_modules_are_left_to_their_blocks():
    tiny = LowRank(torch.ones(1, 2), torch.ones(2, 1), 1.0)
    modules = {f"mid_block.m{number}": tiny for number in range(MOST_MODULES + 1)}
    adapters = {name: (Adapter({"unet": modules}), lambda *_: 1.0) for name in "ab"}
    (found,) = as_data(overlaps(adapters))["pairs"]
    assert "by_module" not in found
    assert found["blocks"]["unet.mid_block"]["modules"] == MOST_MODULES + 1


def many(groups, same="the same file"):
    """LoRAs by name, from the seed of each; those of one seed are one file."""
    adapters = {name: (Adapter(lora(seed)), lambda *_: 1.0) for name, seed in groups.items()}
    pairs = {(one, other): same for one, other in combinations(groups, 2) if groups[one] == groups[other]}
    return overlaps(adapters, same=pairs)


def test_many_names_of_few_loras_are_compared_once():
    groups = {f"l{number:02}": 100 * (number % 3) for number in range(20)}
    pairs = many(groups)
    assert len(pairs) == 190
    assert conflicts(pairs) == []
    assert [pair.names for pair in notable(pairs)] == [("l00", "l01"), ("l00", "l02"), ("l01", "l02")]
    data = as_data(pairs)["pairs"]
    assert sum(pair["notable"] for pair in data) == 3
    assert all(("by_module" in pair) is pair["notable"] for pair in data)
    assert sum(pair["same"] == "the same file" for pair in data) == 21 + 21 + 15


def test_the_worst_of_many_conflicts_have_sentences_and_the_others_are_named_together():
    names = [f"l{number}" for number in range(6)]
    adapters = {name: (Adapter(lora(0, 1.0 + place)), lambda *_: 1.0) for place, name in enumerate(names)}
    sentences = conflicts(overlaps(adapters))
    assert len(sentences) == MOST_OF_A_KIND + 1
    assert sentences[-1] == (
        "12 more pairs of LoRAs do much the same somewhere: l0 and l4, l0 and l5, l1 and l2 and 9 more"
    )


def test_a_table_shows_the_pairs_that_have_most_in_common():
    names = {f"l{number}": 100 * number for number in range(8)}
    adapters = {name: (Adapter(lora(seed)), lambda *_: 1.0) for name, seed in names.items()}
    adapters["like7"] = (Adapter(lora(700, mid_block=pair(5))), lambda *_: 1.0)
    pairs = overlaps(adapters)
    shown = notable(pairs)
    assert len(shown) == MOST_PAIRS < len(pairs)
    assert ("l7", "like7") in [each.names for each in shown]
    assert shown == [each for each in pairs if each in shown]
