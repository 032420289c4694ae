"""Modules that PEFT merges some at a time are those that one call merges; what draws random masks is one call."""

from __future__ import annotations

import pytest
import torch
from engines.small import COMPONENT, PARAMETERS, SHAPES, method, part

from loramerge.engines import module_groups, peft

SOME = [*SHAPES][:3]


def merged(parts, chosen, **options):
    steps = []
    found = peft.merge_component(
        COMPONENT, parts, chosen, seed=getattr(chosen, "seed", 0), device="cpu",
        finish=lambda _module, _inputs, each: each, advance=lambda: steps.append(1), **options,
    )  # fmt: skip
    assert len(steps) == len(parts) + 1
    return found


@pytest.mark.parametrize("weights", ["one for each LoRA", "one for each module"])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_groups_are_the_whole(monkeypatch, combination_type, reference, weights):
    parts = [part("a", seed=1), part("b", rank=4, seed=2, weight=-0.4)]
    if weights != "one for each LoRA":
        for number, module in enumerate(SHAPES):
            parts[0].weights[module] = 0.2 + 0.1 * number
    chosen = method(combination_type)
    whole = merged(parts, chosen, reference=reference)
    monkeypatch.setattr(module_groups, "GROUP", 1)
    assert len(module_groups.groups_of(COMPONENT, parts, chosen)) == (1 if "dare" in combination_type else len(SHAPES))
    before = torch.get_rng_state()
    apart = merged(parts, chosen, reference=reference)
    assert torch.equal(torch.get_rng_state(), before)
    assert [*apart] == [*whole] == sorted(SHAPES)
    for module, each in whole.items():
        assert each.pair.equals(apart[module].pair), module
        assert each.retained_energy == apart[module].retained_energy


@pytest.mark.parametrize(
    ("second", "wanted"), [(SOME, [1, 1, 2]), (SOME[1:2], [4]), ([*SHAPES][2:], [2, 2]), ([*SHAPES], [1, 1, 1, 1])]
)
def test_every_lora_has_a_part_in_each_group(monkeypatch, second, wanted):
    """PEFT merges a single LoRA by `linear`, whatever it was told."""
    monkeypatch.setattr(module_groups, "GROUP", 1)
    parts = [part("a"), part("b", modules=tuple(second))]
    groups = module_groups.groups_of(COMPONENT, parts, method("ties_svd"))
    assert sorted(len(group) for group in groups) == wanted
    assert sorted(module for group in groups for module in group) == sorted(SHAPES)
    assert all({*group} & {*second} for group in groups)
    assert all(sorted(group, key=[*SHAPES].index) == group for group in groups)
    found = merged(parts, method("ties_svd"))
    monkeypatch.undo()
    assert all(each.pair.equals(merged(parts, method("ties_svd"))[module].pair) for module, each in found.items())


def test_loras_that_share_too_little_are_merged_in_fewer_groups(monkeypatch):
    """The second one's modules are dealt first, and the third one has none left for the other group."""
    monkeypatch.setattr(module_groups, "GROUP", 1)
    parts = [part("a"), part("b", modules=("conv", "wide")), part("c", modules=("conv", "wide"))]
    assert len(module_groups.groups_of(COMPONENT, parts, method("cat"))) == 2
    parts = [
        part("a", modules=("conv", "wide")),
        part("b", modules=("conv", "tall")),
        part("c", modules=("wide", "tall")),
    ]
    groups = module_groups.groups_of(COMPONENT, parts, method("cat"))
    assert all(any(module in each.modules for module in group) for each in parts for group in groups)
