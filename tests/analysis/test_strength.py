"""Merges that are nothing, and merges that are too much."""

import pytest
import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.fidelity import measure
from loramerge.analysis.kept import directions, kept
from loramerge.analysis.strength import STRONG, shares, strength


def pair(seed, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(3, 40, generator=generator), torch.randn(50, 3, generator=generator), size)


def stacked(loras, component="unet"):
    """What `cat` gives of name → (pair, weight) in one module."""
    down = torch.cat([each.down for each, _ in loras.values()])
    up = torch.cat([each.up * each.scale * weight for each, weight in loras.values()], 1)
    merged = Adapter({component: {"m": LowRank(down, up, 1.0)}})
    given = {
        name: (Adapter({component: {"m": each}}), lambda *_, weight=weight: weight)
        for name, (each, weight) in loras.items()
    }
    return measure(merged, given), {name: weigh for name, (_, weigh) in given.items()}


def said(**loras):
    return strength(*stacked(loras))


def test_a_merge_as_strong_as_its_loras_is_nothing_to_think_over():
    assert said(a=(pair(0), 1.0), b=(pair(1), 1.0)) == []
    assert said(a=(pair(0), 0.5), b=(pair(0), 0.5)) == []


def test_loras_that_cancel_each_other():
    (sentence,) = said(a=(pair(0), 0.7), b=(pair(0), -0.7))
    assert sentence.startswith("the merge is zero and changes nothing: what went in cancels out")


def test_loras_of_zeros():
    assert said(a=(pair(0, 0.0), 0.7)) == [
        "LoRA a: every weight in it is zero, so it changes nothing; was it trained?",
        "the merge is zero and changes nothing: what went in is zero",
    ]
    (sentence,) = said(a=(pair(0), 0.7), b=(pair(1, 0.0), 1.0))
    assert sentence.startswith("LoRA b: every weight")


def test_a_component_that_cancels_is_named():
    both, weights = stacked({"a": (pair(0), 1.0), "b": (pair(1), 1.0)})
    text, _ = stacked({"a": (pair(2), 1.0), "b": (pair(2), -1.0)}, "text_encoder")
    (sentence,) = strength({**both, **text}, weights)
    assert sentence.startswith("the merge of text_encoder is zero")


@pytest.mark.parametrize(
    ("weights", "ratio"),
    [((3.0,), "3.0"), ((1.0, 1.0, 1.0), "3.0"), ((STRONG,), ""), ((1.0, 1.0), ""), ((-2.5,), "2.5")],
)
def test_a_merge_far_above_each_lora_at_weight_1(weights, ratio):
    sentences = said(**{f"l{number}": (pair(0), weight) for number, weight in enumerate(weights)})
    assert [sentence.partition("(")[2].partition(")")[0] for sentence in sentences] == (
        [f"unet {ratio} times as strong as l0"] if ratio else []
    )


def test_many_loras_that_have_nothing_in_common():
    (sentence,) = said(**{f"l{number}": (pair(number), 1.0) for number in range(20)})
    assert "(unet 3.9 times as strong as l" in sentence


def held(merged, **loras):
    """What is said of a merge in one module, and the shares of the LoRAs in it; at weight 1."""
    weighted = {name: (Adapter({"unet": {"m": each}}), lambda *_: 1.0) for name, each in loras.items()}
    adapter = Adapter({"unet": {"m": merged}})
    fidelity = measure(adapter, weighted)
    expected = {name: entry.share for name, entry in kept(adapter, directions(weighted)).items()}
    assert shares(fidelity) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    return strength(fidelity, {name: weigh for name, (_, weigh) in weighted.items()})


def test_a_lora_of_which_little_is_left_is_named():
    one, other = pair(0), pair(1)
    merged = LowRank(torch.cat([one.down, other.down * 0.3]), torch.cat([one.up, other.up], 1), 1.0)
    (sentence,) = held(merged, a=one, b=other)
    assert sentence.startswith("the merge holds 29% of b:")
    assert "expect to see little of that, or nothing; raise its weight, or" in sentence


def test_several_of_which_little_is_left_are_named_together():
    (sentence,) = held(pair(5, 0.01), a=pair(0), b=pair(1))
    assert "% of a, " in sentence
    assert "raise their weights" in sentence


def test_a_lora_that_is_turned_round_is_held_to_no_part():
    (sentence,) = held(pair(0).times(-1.0), a=pair(0), b=pair(0).times(-1.0))
    assert sentence.startswith("the merge holds 0% of a:")


def test_of_a_single_lora_nothing_is_said():
    assert held(pair(0).times(0.1), a=pair(0)) == []


def test_half_of_a_lora_is_nothing_to_think_over():
    assert held(pair(0).times(0.51), a=pair(0), b=pair(0)) == []
