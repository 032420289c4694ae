"""Types that PEFT does not have and that look at the values of dense deltas, against the papers in float64."""

from __future__ import annotations

import pytest
import torch
from engines.small import SHAPES, changed, method, off, part, truncated
from engines.test_spaces import core, merge
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import papers
from pydantic import ValidationError

from loramerge.errors import LoramergeError
from loramerge.numerics.dare_masks import keep_mask

pytestmark = pytest.mark.slow

TYPES = ("della", "breadcrumbs", "sce")
by_type = pytest.mark.parametrize("combination_type", TYPES)


def loras():
    """Of several ranks and scales; one weighs less than nothing."""
    return [
        part("a", rank=4, weight=0.7),
        part("b", rank=2, seed=1, weight=-0.8, scale=2.0),
        part("c", rank=3, seed=2, weight=0.4),
    ]


def expected(chosen, parts, module, matrices, factor="delta"):
    weights = [each.weights[module] for each in parts]
    if chosen.combination_type == "breadcrumbs":
        return papers.breadcrumbs(matrices, weights, chosen.density, chosen.gamma)
    if chosen.combination_type == "sce":
        return papers.sce(matrices, weights, chosen.density)

    def drawn(place, chances):
        return keep_mask(chances.shape, chances, (chosen.seed, parts[place].name, f"unet.{module}", factor), "cpu")

    return papers.della(matrices, weights, chosen.density, chosen.epsilon, drawn)


@by_type
def test_a_type_is_what_its_paper_says_cut_to_a_rank(combination_type):
    parts, chosen = loras(), method(combination_type, svd_rank=5)
    merged = merge(parts, chosen)
    for module in ("wide", "conv"):
        want = expected(chosen, parts, module, [each.modules[module].delta().flatten(1) for each in parts])
        assert merged[module].pair.shape == SHAPES[module]
        assert merged[module].pair.rank == 5
        assert off(merged[module].pair.delta(), truncated(want, 5)) <= 1e-6
        assert merged[module].retained_energy == pytest.approx(float(truncated(want, 5).norm() ** 2 / want.norm() ** 2))


@by_type
def test_in_core_space_it_is_the_same_on_the_cores(combination_type):
    parts, chosen = loras(), method(combination_type, svd_rank="sum", space="core")
    left, cores, right = core([each.modules["tall"] for each in parts])
    want = left @ expected(chosen, parts, "tall", cores, "core") @ right
    assert off(merge(parts, chosen)["tall"].pair.delta(), want) <= 1e-6


@by_type
def test_what_is_kept_depends_on_no_order_and_no_thread(combination_type):
    parts, chosen = loras(), method(combination_type)
    results = [merge(parts, chosen, threads=count) for count in (1, 3)]
    few = [type(each)(each.name, {"conv": each.modules["conv"]}, each.weights) for each in parts]
    results.append(merge(few, chosen))
    assert all(torch.equal(each["conv"].pair.up, results[0]["conv"].pair.up) for each in results)


@settings(max_examples=10, deadline=None)
@given(density=st.floats(0.25, 0.75))
@by_type
def test_twice_the_deltas_are_twice_the_merge(combination_type, density):
    chosen = method(combination_type, density=density, svd_rank=32)
    parts = [part(str(place), seed=place, weight=0.5, modules=("pointwise",)) for place in range(2)]
    larger = [changed(each, each.name, 0.5, lambda pair: pair.times(2.0)) for each in parts]
    one, other = (merge(each, chosen)["pointwise"].pair.delta() for each in (parts, larger))
    assert off(other, 2 * one) <= 1e-6


def test_with_nothing_to_drop_breadcrumbs_is_the_weighted_sum():
    parts = loras()
    merged = merge(parts, method("breadcrumbs", density=1.0, gamma=0.0, svd_rank="sum"))
    for module in SHAPES:
        want = sum(each.weights[module] * each.modules[module].delta().flatten(1) for each in parts)
        assert off(merged[module].pair.delta(), want) <= 1e-6


def test_sce_takes_what_one_lora_alone_touches_times_its_weight():
    parts = [part("a", weight=0.7), part("b", seed=1, modules=("wide",))]
    merged = merge(parts, method("sce", density=0.1))
    assert off(merged["tall"].pair.delta(), 0.7 * parts[0].modules["tall"].delta()) <= 1e-6


@pytest.mark.parametrize("combination_type", [*TYPES, "ties_svd"])
def test_a_delta_that_float32_does_not_hold_is_refused_by_name(combination_type):
    parts = [part("a", modules=("wide",)), part("b", seed=1, std=1e21, modules=("wide",))]
    with pytest.raises(LoramergeError, match=r"what LoRA b adds to unet\.wide is too large for float32"):
        merge(parts, method(combination_type))


def test_della_keeps_large_values_more_often():
    """As often as epsilon says, over many draws: within five standard deviations."""
    chances = torch.linspace(0.3, 0.7, 50_000).repeat(4, 1)
    kept = keep_mask(chances.shape, chances, (1, "a"), "cpu").double()
    for rows in (slice(0, 10_000), slice(40_000, 50_000)):
        share = float(chances[:, rows].mean())
        assert abs(float(kept[:, rows].mean()) - share) <= 5 * (share * (1 - share) / 40_000) ** 0.5
    assert bool(keep_mask((3,), torch.ones(3), (0,), "cpu").all())


@pytest.mark.parametrize(
    ("combination_type", "parameters", "message"),
    [
        ("della", {"density": 0.9, "epsilon": 0.2}, "from 0.7 to 1.1; with density 0.9, epsilon is at most 0.1"),
        ("della", {"density": 0.1, "epsilon": 0.1}, "from 0 to 0.2; with density 0.1, epsilon is less than 0.1"),
        ("della", {"density": 0.95}, "epsilon is at most 0.05"),
        ("breadcrumbs", {"density": 0.8, "gamma": 0.3}, "density 0.8 leaves 0.2 of the values to drop"),
        ("breadcrumbs", {"density": 1.0}, "leaves 0 of the values to drop, and gamma is 0.01"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(combination_type, parameters, message):
    with pytest.raises(ValidationError, match=message):
        method(combination_type, **({"epsilon": 0.1} if combination_type == "della" else {"gamma": 0.01}) | parameters)
