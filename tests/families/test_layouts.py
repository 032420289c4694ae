"""Each family's names: a tiny model in them, what diffusers' own converters make of it, and that no two are alike."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers.loaders import single_file_utils
from families.models import config_of, converter_of, in_original_names, layers_of, layout_of, shapes_of, tensors_of
from families.rows import ROWS

from loramerge.families import FAMILIES
from loramerge.families.layout import Layout

pytestmark = pytest.mark.slow

CONVERTED = [row for row in ROWS if row.converter]
RULED = sorted({row.family for row in ROWS if FAMILIES[row.family].original})


def _label(row):
    return f"{row.family}-{ROWS.index(row)}"


@pytest.mark.parametrize("row", CONVERTED, ids=_label)
def test_diffusers_converter_gives_every_tensor_back(row):
    tensors = tensors_of(row)
    checkpoint = in_original_names(layout_of(row, shapes_of(row)), tensors)
    converted = converter_of(row)(checkpoint, config=config_of(row))
    back = {name: tensor for name, tensor in converted.items() if tensor is not None}
    assert back.keys() == tensors.keys()
    assert [name for name in tensors if not torch.equal(back[name], tensors[name])] == []


def test_minimax_shards_have_queries_keys_and_values_by_turns_for_each_head():
    row = next(row for row in ROWS if row.family == "minimax_h3")
    tensors, config = tensors_of(row), config_of(row)
    checkpoint = in_original_names(Layout(FAMILIES[row.family].named(config), shapes_of(row)), tensors)
    stacked = in_original_names(layout_of(row, shapes_of(row)), tensors)
    assert {name for name in stacked if not stacked[name].equal(checkpoint[name])} == {
        f"{block}.attn.qkv_proj.weight" for block in ("blocks.0", "blocks.1", "token_refiner.blocks.0")
    }
    back = single_file_utils.convert_minimax_h3_transformer_checkpoint_to_diffusers(checkpoint, config, "interleaved")
    assert back.keys() == tensors.keys()
    assert [name for name in tensors if not torch.equal(back[name], tensors[name])] == []


@pytest.mark.parametrize("row", ROWS, ids=_label)
def test_every_tensor_lies_in_one_original_and_fills_it_with_others(row):
    shapes = shapes_of(row)
    originals = layout_of(row, shapes).originals
    assert Counter(part.canonical for original in originals.values() for part in original.parts) == Counter([*shapes])
    for original in originals.values():
        end = 0
        for start, stop in sorted(span for part in original.parts for span in part.spans):
            assert start == end
            end = stop
        assert end == (original.shape[0] if original.shape else 1)


@pytest.mark.parametrize("row", ROWS, ids=_label)
def test_layers_alone_have_the_same_originals(row):
    whole = layout_of(row, shapes_of(row)).by_canonical
    alone = layout_of(row, layers_of(config_of(row))).by_canonical
    for name, original in alone.items():
        there = whole[f"{name}.weight"]
        assert original.name == there.name.removesuffix(".weight")
        assert original.shape == there.shape
        assert [part.spans for part in original.parts] == [part.spans for part in there.parts]


@pytest.mark.parametrize("family", RULED)
def test_every_rule_is_of_use(family):
    unused = set()
    used = set()
    for row in (row for row in ROWS if row.family == family):
        layout = layout_of(row, shapes_of(row))
        unused |= {canonical for canonical, _ in layout._rules}
        used |= {layout._rule(name)[1] for name in shapes_of(row)}
    assert unused - used == set()


@pytest.mark.parametrize("row", ROWS, ids=_label)
def test_no_flat_name_has_two_meanings(row):
    layers = layers_of(config_of(row))
    originals = layout_of(row, layers).originals
    canonical = {name.replace(".", "_"): [(name, ((0, shape[0]),))] for name, shape in layers.items()}
    original = {
        name.replace(".", "_"): [(part.canonical, part.spans) for part in original.parts]
        for name, original in originals.items()
    }
    assert len(canonical) == len(layers)
    assert len(original) == len(originals)
    assert [name for name in canonical.keys() & original.keys() if canonical[name] != original[name]] == []
