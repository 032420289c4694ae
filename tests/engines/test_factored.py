"""The factored engine against PEFT, against float64, and against itself."""

from __future__ import annotations

import pytest
import torch
from engines.small import (
    COMPONENT,
    FACTOR_WISE,
    PARAMETERS,
    SHAPES,
    changed,
    dense,
    drawing,
    method,
    off,
    part,
    truncated,
)

from loramerge.adapter import LowRank
from loramerge.engines import factored, peft
from loramerge.merging.module import Part
from loramerge.numerics.dare_masks import keep_mask

pytestmark = pytest.mark.slow

PRUNED_AT_RANDOM = ("dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd")
SAME_AS_PEFT = [each for each in PARAMETERS if each not in PRUNED_AT_RANDOM]


def as_merged(_module, _inputs, merged):
    return merged


def merge(parts, chosen, **options):
    options = {"seed": getattr(chosen, "seed", 0), "device": "cpu", "finish": as_merged} | options
    return factored.merge_component(COMPONENT, parts, chosen, **options)


def by_peft(parts, chosen, *, reference=True):
    seed = getattr(chosen, "seed", 0)
    return peft.merge_component(
        COMPONENT, parts, chosen, seed=seed, device="cpu", finish=as_merged, reference=reference
    )


def masks(parts, module, chosen, factor):
    shapes = {"down": lambda pair: pair.down.shape, "up": lambda pair: pair.up.shape, "delta": lambda pair: pair.shape}
    return [
        keep_mask(
            shapes[factor](each.modules[module]), chosen.density, (chosen.seed, each.name, f"unet.{module}", factor),
            "cpu",
        )
        for each in parts
        if module in each.modules
    ]  # fmt: skip


def random_parts(**options):
    return [part("a", seed=0, weight=0.7, **options), part("b", seed=1, weight=-0.8, scale=2.0, **options)]


def adversarial():
    """Pairs of LoRAs that are hard on arithmetic, by what they are."""
    first = part("a", weight=1.0)
    generator = torch.Generator().manual_seed(7)

    def nearly(pair):
        return LowRank(pair.down, pair.up * (1 + 1e-4 * torch.randn(pair.up.shape, generator=generator)), pair.scale)

    return {
        "random": random_parts(),
        "three": [*random_parts(), part("c", seed=2, weight=0.3)],
        "cancelling": [first, changed(first, "b", -1.0, nearly)],
        "duplicate": [first, changed(first, "b", 0.5, lambda pair: pair)],
        "one is zero": [first, changed(first, "b", 0.5, lambda pair: LowRank(pair.down, pair.up * 0, pair.scale))],
        "far apart": [part("a", std=5.0, scale=1e4), part("b", seed=1, std=0.05, scale=1e-4)],
        "apart the other way": [part("a", std=0.01), part("b", seed=1, std=1.0, scale=1e4, weight=-1e-2)],
    }


@pytest.mark.parametrize("case", adversarial())
@pytest.mark.parametrize("combination_type", SAME_AS_PEFT)
def test_it_gives_what_peft_gives_and_never_a_larger_error(combination_type, case):
    parts, chosen = adversarial()[case], method(combination_type)
    ours, theirs = merge(parts, chosen), by_peft(parts, chosen)
    assert set(ours) == set(theirs)
    for module in SHAPES:
        mine, other = ours[module].pair, theirs[module].pair
        assert mine.shape == other.shape
        if combination_type in FACTOR_WISE:
            assert torch.equal(mine.down, other.down)
            assert torch.equal(mine.up, other.up)
            continue
        truth = dense(parts, module, chosen)
        if chosen.decomposes:
            assert mine.rank == other.rank
            truth = truncated(truth, mine.rank)
        error, theirs_error = off(mine.delta(), truth), off(other.delta(), truth)
        assert error <= theirs_error * (1 + 1e-3) + 1e-7
        if theirs_error <= 1e-5:
            assert off(mine.delta(), other.delta().flatten(1)) <= (1e-5 if chosen.decomposes else 1e-6)


@pytest.mark.parametrize("combination_type", ["dare_linear", "dare_ties"])
def test_dare_on_factors_is_pefts_function_on_our_masks(combination_type):
    from peft.utils import merge_utils

    parts, chosen = random_parts(), method(combination_type)
    merged = merge(parts, chosen)
    function = getattr(merge_utils, combination_type)
    for module in SHAPES:
        pairs = [each.modules[module] for each in parts]
        roots = [abs(each.weights[module] * pair.scale) ** 0.5 for each, pair in zip(parts, pairs, strict=True)]
        for factor, signs in (("down", (1, -1)), ("up", (1, 1))):
            weights = torch.tensor([root * sign for root, sign in zip(roots, signs, strict=True)])
            with drawing(masks(parts, module, chosen, factor)):
                want = function([getattr(pair, factor) for pair in pairs], weights, chosen.density)
            assert torch.equal(getattr(merged[module].pair, factor), want)


@pytest.mark.parametrize("combination_type", ["dare_linear_svd", "dare_ties_svd"])
def test_dare_on_deltas_is_pefts_function_on_our_masks(combination_type):
    parts, chosen = random_parts(), method(combination_type)
    merged = merge(parts, chosen)
    for module in SHAPES:
        drawn = [mask.flatten(1) for mask in masks(parts, module, chosen, "delta")]
        want = truncated(dense(parts, module, chosen, drawn), 4)
        assert off(merged[module].pair.delta(), want) <= 1e-5


@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_the_bytes_do_not_depend_on_workers_or_on_the_callers_threads(combination_type):
    parts, chosen = random_parts(), method(combination_type)
    before = torch.get_num_threads()
    try:
        results = [merge(parts, chosen, threads=count) for count in (1, 2, 4)]
        torch.set_num_threads(2)
        results.append(merge(parts, chosen))
    finally:
        torch.set_num_threads(before)
    for module in SHAPES:
        first, *others = (found[module].pair for found in results)
        assert all(torch.equal(first.down, each.down) and torch.equal(first.up, each.up) for each in others)


@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_the_order_and_number_of_modules_change_nothing(combination_type):
    parts, chosen = random_parts(), method(combination_type)
    alone = merge([part(each.name, seed=each_seed, weight=each.weights["wide"], scale=scale)
                   for each, each_seed, scale in zip(parts, (0, 1), (0.5, 2.0), strict=True)], chosen)  # fmt: skip
    few = merge([type(each)(each.name, {"conv": each.modules["conv"]}, each.weights) for each in parts], chosen)
    assert torch.equal(alone["conv"].pair.up, few["conv"].pair.up)
    assert torch.equal(alone["conv"].pair.down, few["conv"].pair.down)


@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_two_zero_loras_make_zeros(combination_type):
    zero = changed(part("a"), "a", 0.5, lambda pair: LowRank(pair.down, pair.up * 0, pair.scale))
    merged = merge([zero, changed(zero, "b", 0.7, lambda pair: pair)], method(combination_type))
    for found in merged.values():
        assert not found.pair.delta().any()
        assert found.pair.down.isfinite().all()


@pytest.mark.parametrize("combination_type", [each for each in PARAMETERS if each not in FACTOR_WISE])
def test_ranks_may_differ_where_the_factors_are_not_added(combination_type):
    parts, chosen = [part("a", rank=2), part("b", rank=7, seed=1)], method(combination_type)
    merged, theirs = merge(parts, chosen), by_peft(parts, chosen)
    assert {name: found.pair.rank for name, found in merged.items()} == {
        name: found.pair.rank for name, found in theirs.items()
    }


@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_a_module_that_one_lora_touches(combination_type):
    if combination_type in PRUNED_AT_RANDOM:
        pytest.skip("PEFT draws other masks")
    parts = [part("a"), part("b", seed=1, modules=("wide", "conv"))]
    chosen = method(combination_type)
    ours, theirs = merge(parts, chosen), by_peft(parts, chosen)
    for module in SHAPES:
        assert off(ours[module].pair.delta(), theirs[module].pair.delta()) <= 1e-5


@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_one_lora_alone_is_that_lora_times_its_weight(combination_type):
    only = part("a", weight=-0.7)
    merged = merge([only], method(combination_type))
    for module, pair in only.modules.items():
        assert off(merged[module].pair.delta(), -0.7 * pair.delta()) <= 1e-6


def test_signs_of_vectors_do_not_depend_on_who_computes_them():
    merged = merge(random_parts(), method("svd"))
    for found in merged.values():
        up = found.pair.up.flatten(1)
        assert (up.gather(0, up.abs().argmax(0, keepdim=True)) >= 0).all()


def test_progress_is_told_as_often_as_by_peft():
    parts, chosen = random_parts(), method("svd")
    calls = []
    for engine in (factored, peft):
        told = []
        options = {"seed": 0, "device": "cpu", "finish": as_merged, "advance": lambda told=told: told.append(1)}
        engine.merge_component(COMPONENT, parts, chosen, **options)
        calls.append(len(told))
    assert calls == [3, 3]


@pytest.mark.parametrize("combination_type", [each for each in PARAMETERS if each.endswith("svd")])
@pytest.mark.parametrize("case", ["random", "three", "far apart"])
def test_pefts_engine_decomposes_exactly_with_pefts_masks(combination_type, case):
    parts, chosen = adversarial()[case], method(combination_type)
    exact, theirs = by_peft(parts, chosen, reference=False), by_peft(parts, chosen)
    for module in SHAPES:
        mine, other = exact[module], theirs[module]
        assert mine.pair.rank == other.pair.rank
        assert off(mine.pair.delta(), other.pair.delta()) <= 1e-5
        assert 0 < mine.retained_energy <= 1
        assert other.retained_energy is None


def test_clamping_is_left_to_peft_and_here_follows_the_canonical_signs():
    parts, chosen = random_parts(), method("svd", svd_clamp=0.9)
    exact, theirs = by_peft(parts, chosen, reference=False), by_peft(parts, chosen)
    ours, plain = merge(parts, chosen), merge(parts, method("svd"))
    for module in SHAPES:
        assert torch.equal(exact[module].pair.up, theirs[module].pair.up)
        up, down = plain[module].pair.up, plain[module].pair.down
        highest = torch.quantile(torch.cat([up.flatten(), down.flatten()]), 0.9)
        assert off(ours[module].pair.up, up.clamp(-highest, highest)) <= 1e-6


@pytest.mark.parametrize("name", [*SAME_AS_PEFT, "della", "sce"])
@pytest.mark.parametrize("engine", [factored, peft])
def test_a_module_does_not_depend_on_what_another_one_weighs(engine, name):
    if engine is peft and name not in PARAMETERS:
        pytest.skip("PEFT has no such type")
    chosen = method(name)
    found = []
    for tall in (0.3, 0.9):
        first = part("a", seed=0, weight=0.3)
        parts = [Part("a", first.modules, {**first.weights, "tall": tall}), part("b", seed=1, weight=1.0)]
        seed = getattr(chosen, "seed", 0)
        found.append(engine.merge_component(COMPONENT, parts, chosen, seed=seed, device="cpu", finish=as_merged))
    for module in set(SHAPES) - {"tall"}:
        assert off(found[1][module].pair.delta(), found[0][module].pair.delta()) <= 1e-6, module
    assert off(found[1]["tall"].pair.delta(), found[0]["tall"].pair.delta()) > 0.01
