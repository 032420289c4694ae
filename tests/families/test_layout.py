"""Rules and layouts themselves, whatever family they are of."""

import pytest
import torch
from families.models import in_original_names
from hypothesis import given
from hypothesis import strategies as st

from loramerge.families.layout import QKV, Layout, Rule, each, rules

FUSED = rules({"blocks.*.qkv": each("layers.*.", QKV), "blocks.*.out": "layers.*.to_out.0"})


def _held(layout):
    return {
        name: {part.canonical: part.spans for part in original.parts} for name, original in layout.originals.items()
    }


def test_rules_as_a_table():
    assert rules({"a": "b", "c": ["d", "e"], "f": ["g", "h"]}, swapped=["a"], turns={"f": 4}) == (
        Rule("a", ("b",), swapped=True),
        Rule("c", ("d", "e")),
        Rule("f", ("g", "h"), turns=4),
    )


def test_parts_of_a_fused_layer_lie_one_below_the_other():
    shapes = {"layers.3.to_q.weight": (6, 8), "layers.3.to_k.weight": (2, 8), "layers.3.to_v.weight": (4, 8)}
    layout = Layout(FUSED, shapes)
    assert _held(layout) == {
        "blocks.3.qkv.weight": {
            "layers.3.to_q.weight": ((0, 6),),
            "layers.3.to_k.weight": ((6, 8),),
            "layers.3.to_v.weight": ((8, 12),),
        }
    }
    assert layout.originals["blocks.3.qkv.weight"].shape == (12, 8)
    assert not layout.originals["blocks.3.qkv.weight"].is_whole


def test_parts_are_in_the_order_of_the_rule_whatever_that_of_the_model():
    shapes = {f"layers.0.{name}": (height, 8) for name, height in (("to_v", 4), ("to_q", 6), ("to_k", 2))}
    (original,) = Layout(FUSED, shapes).originals.values()
    assert [part.canonical for part in original.parts] == ["layers.0.to_q", "layers.0.to_k", "layers.0.to_v"]


def test_a_bias_is_fused_as_its_weight_is():
    layout = Layout(FUSED, {f"layers.0.{name}.bias": (4,) for name in QKV})
    assert layout.originals["blocks.0.qkv.bias"].shape == (12,)


def test_a_part_that_a_block_lacks_takes_no_room():
    held = _held(Layout(FUSED, {"layers.0.to_q": (6, 8), "layers.0.to_v": (4, 8)}))
    assert held == {"blocks.0.qkv": {"layers.0.to_q": ((0, 6),), "layers.0.to_v": ((6, 10),)}}


def test_swapped_halves():
    layout = Layout(rules({"final": "norm_out.linear"}, swapped=["final"]), {"norm_out.linear": (8, 3)})
    original = layout.originals["final"]
    assert _held(layout) == {"final": {"norm_out.linear": ((4, 8), (0, 4))}}
    assert original.shape == (8, 3)
    assert not original.is_whole
    scale, shift = torch.ones(4, 3), torch.zeros(4, 3)
    fused = in_original_names(layout, {"norm_out.linear": torch.cat([scale, shift])})["final"]
    assert fused.equal(torch.cat([shift, scale]))


def test_parts_that_take_turns():
    """Two heads, of which each has four rows of queries and two of keys: more heads have queries than have keys."""
    layout = Layout(
        rules({"qkv": ["to_q", "to_k", "to_v"]}, turns={"qkv": 2}),
        {"to_q": (8, 3), "to_k": (4, 3), "to_v": (4, 3)},
    )
    original = layout.originals["qkv"]
    assert _held(layout) == {"qkv": {"to_q": ((0, 4), (8, 12)), "to_k": ((4, 6), (12, 14)), "to_v": ((6, 8), (14, 16))}}
    assert original.shape == (16, 3)
    assert not original.is_whole


def test_what_no_rule_names_keeps_its_name():
    layout = Layout(FUSED, {"proj.weight": (2, 3), "scale": (), "layers.0.to_out.1": (4, 4)})
    assert [*layout.originals] == ["proj.weight", "scale", "layers.0.to_out.1"]
    assert all(original.is_whole for original in layout.originals.values())
    assert layout.originals["scale"].shape == ()


def test_a_rule_ends_at_a_dot():
    layout = Layout(rules({"out": "proj"}), {"proj": (1, 1), "proj.weight": (1, 1), "proj_out.weight": (1, 1)})
    assert [*layout.originals] == ["out", "out.weight", "proj_out.weight"]


def test_the_longest_rule_counts():
    layout = Layout(
        rules({"b.*": "blocks.*", "b.*.norm": "blocks.*.attn.norm_q", "b.*.scale": "blocks.*.attn.norm_q.weight"}),
        {"blocks.1.ff": (1, 1), "blocks.1.attn.norm_q.bias": (1,), "blocks.1.attn.norm_q.weight": (1,)},
    )
    assert [*layout.originals] == ["b.1.ff", "b.1.norm.bias", "b.1.scale"]


@pytest.mark.parametrize("number", [2, 37])
def test_a_number_counts_before_a_star(number):
    layout = Layout(
        rules({"b.*.mod": "blocks.*.norm", f"last.{number}.mod": f"blocks.{number}.norm"}),
        {f"blocks.{block}.norm": (2, 2) for block in (1, number)},
    )
    assert [*layout.originals] == ["b.1.mod", f"last.{number}.mod"]


def test_two_numbers():
    layout = Layout(rules({"d.*.r.*.conv": "down.*.resnets.*.conv1"}), {"down.4.resnets.12.conv1.weight": (1, 1)})
    assert [*layout.originals] == ["d.4.r.12.conv.weight"]


def test_a_canonical_tensor_is_found():
    layout = Layout(FUSED, {f"layers.0.{name}": (4, 4) for name in QKV})
    assert {layout.by_canonical[f"layers.0.{name}"].name for name in QKV} == {"blocks.0.qkv"}


@given(
    heights=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    swapped=st.booleans(),
    turns=st.integers(1, 4),
    width=st.integers(1, 3),
)
def test_what_is_fused_and_split_again_is_the_same(heights, swapped, turns, width):
    names = [f"part_{number}" for number in range(len(heights))]
    heights = [height * turns for height in heights]
    if swapped:
        names, heights = names[:1], [2 * heights[0]]
    start = 0
    tensors = {}
    for name, height in zip(names, heights, strict=True):
        tensors[name] = torch.arange(start, start + height * width).reshape(height, width).float()
        start += height * width
    layout = Layout(
        (Rule("whole", tuple(names), swapped, turns),), {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    )
    fused = in_original_names(layout, tensors)["whole"]
    assert fused.shape == (sum(heights), width)
    assert not fused.isnan().any()
    for part in layout.originals["whole"].parts:
        split = torch.cat([fused[first:behind] for first, behind in part.spans])
        assert split.equal(tensors[part.canonical])
