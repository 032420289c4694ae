"""Types that look at singular vectors, norms and angles, from the factors, against the papers on dense deltas."""

from __future__ import annotations

import pytest
import torch
from engines.small import SHAPES, changed, method, off, part, truncated
from engines.test_spaces import merge
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import papers

from loramerge.adapter import LowRank
from loramerge.deltas.dense import Dense
from loramerge.errors import MismatchError
from loramerge.merging.checks import check_parts
from loramerge.merging.module import Part

pytestmark = pytest.mark.slow

PAPERS = {
    "tsv": papers.tsv,
    "iso_c": papers.iso_c,
    "iso_cts": lambda deltas, weights, ranks: papers.iso_cts(deltas, weights, ranks, 0.5),
    "karcher": papers.karcher,
    "nuslerp": papers.nuslerp,
}
FLAT = ("iso_c", "iso_cts")
by_type = pytest.mark.parametrize("combination_type", PAPERS)


def loras(combination_type, **options):
    found = [
        part("a", rank=4, weight=0.7, **options),
        part("b", rank=2, seed=1, weight=-0.8, scale=2.0, **options),
        part("c", rank=3, seed=2, weight=0.4, **options),
    ]
    return found[:2] if combination_type == "nuslerp" else found


def expected(combination_type, parts, module):
    """The combined delta before it is cut."""
    pairs = [each.modules[module] for each in parts]
    weights = [each.weights[module] for each in parts]
    deltas = [pair.delta().flatten(1) for pair in pairs]
    return PAPERS[combination_type](deltas, weights, [pair.rank for pair in pairs])


@by_type
def test_a_type_is_what_its_paper_says(combination_type):
    parts = loras(combination_type)
    merged = merge(parts, method(combination_type, svd_rank="sum"))
    for module, shape in SHAPES.items():
        pair = merged[module].pair
        assert pair.shape == shape
        assert pair.rank == sum(each.modules[module].rank for each in parts)
        assert off(pair.delta(), expected(combination_type, parts, module)) <= 1e-6
        assert merged[module].retained_energy == pytest.approx(1)


@by_type
def test_a_rank_keeps_the_largest_singular_values(combination_type):
    parts = loras(combination_type)
    merged = merge(parts, method(combination_type, svd_rank=3))
    for module in SHAPES:
        want = expected(combination_type, parts, module)
        assert merged[module].pair.rank == 3
        # Where all values are equal, every choice of three is as near as any other.
        assert off(merged[module].pair.delta(), want) == pytest.approx(off(truncated(want, 3), want), rel=1e-6)


def test_where_all_values_are_equal_a_rank_keeps_what_is_strongest_in_the_sum():
    parts = loras("iso_c")
    for module, merged in merge(parts, method("iso_c", svd_rank=3)).items():
        total = sum(each.weights[module] * each.modules[module].delta().flatten(1) for each in parts)
        left, _, _ = papers.svd(total, 3)
        got = merged.pair.delta().flatten(1)
        assert off(left @ left.T @ got, got) <= 1e-6


@by_type
def test_full_differences_are_merged_as_they_are(combination_type):
    """From the deltas: the same as from factors of full rank."""
    full = torch.randn(12, 10, generator=torch.Generator().manual_seed(3))
    other = torch.randn(12, 10, generator=torch.Generator().manual_seed(4))
    dense = [
        Part("a", {"wide": Dense(lambda: full, (12, 10))}, {"wide": 0.7}),
        Part("b", {"wide": Dense(lambda: other, (12, 10))}, {"wide": 0.6}),
    ]
    factors = [
        Part(name, {"wide": LowRank(matrix, torch.eye(12)[:, :12], 1.0)}, {"wide": weight})
        for name, matrix, weight in (("a", full, 0.7), ("b", other, 0.6))
    ]
    chosen = method(combination_type, svd_rank=10)
    got, want = (merge(parts, chosen)["wide"].pair.delta() for parts in (dense, factors))
    assert off(got, want) <= 1e-6


lists = st.lists(st.floats(0.1, 2), min_size=2, max_size=3)


@settings(max_examples=15, deadline=None)
@given(weights=lists, ranks=st.lists(st.integers(1, 9), min_size=3, max_size=3), factor=st.floats(0.01, 100))
@by_type
def test_twice_the_deltas_are_twice_the_merge(combination_type, weights, ranks, factor):
    weights = weights[:2] if combination_type == "nuslerp" else weights
    parts = [
        part(str(place), rank=ranks[place], seed=place, weight=weight, modules=("pointwise",))
        for place, weight in enumerate(weights)
    ]
    larger = [changed(each, each.name, each.weights["pointwise"], lambda pair: pair.times(factor)) for each in parts]
    chosen = method(combination_type, svd_rank="sum")
    one, other = (merge(each, chosen)["pointwise"].pair.delta() for each in (parts, larger))
    assert off(other, factor * one) <= 1e-6


@settings(max_examples=15, deadline=None)
@given(weights=lists, ranks=st.lists(st.integers(1, 16), min_size=3, max_size=3))
def test_iso_c_has_one_singular_value_and_the_space_of_the_sum(weights, ranks):
    parts = [
        part(str(place), rank=ranks[place], seed=place, weight=weight, modules=("pointwise",))
        for place, weight in enumerate(weights)
    ]
    got = merge(parts, method("iso_c", svd_rank="sum"))["pointwise"].pair.delta().flatten(1)
    total = sum(each.weights["pointwise"] * each.modules["pointwise"].delta().flatten(1) for each in parts)
    rank = min(32, sum(each.modules["pointwise"].rank for each in parts))
    values = torch.linalg.svdvals(got)
    assert values[:rank] == pytest.approx([float(torch.linalg.svdvals(total)[:rank].mean())] * rank, rel=1e-5)
    assert float(values[rank:].sum()) <= 1e-5 * float(values[0])
    left, _, right = papers.svd(total, rank)
    assert off(left @ left.T @ got @ right.T @ right, got) <= 1e-5


@pytest.mark.parametrize("combination_type", ["tsv", "karcher", "nuslerp"])
def test_what_only_one_lora_touches_is_that_lora_times_its_weight(combination_type):
    parts = [part("a", weight=0.7), part("b", seed=1, weight=-0.8, modules=("wide", "tall"))]
    merged = merge(parts, method(combination_type))
    for module in ("conv", "pointwise"):
        assert off(merged[module].pair.delta(), 0.7 * parts[0].modules[module].delta()) <= 1e-6


@pytest.mark.parametrize("combination_type", ["karcher", "nuslerp"])
@settings(max_examples=15, deadline=None)
@given(weights=st.lists(st.floats(0.1, 2), min_size=2, max_size=2), larger=st.floats(0.1, 10))
def test_a_mean_is_as_long_as_the_loras_and_that_of_equal_ones_is_any_of_them(combination_type, weights, larger):
    first = part("a", weight=weights[0], modules=("wide",))
    second = changed(first, "b", weights[1], lambda pair: pair)
    merged = merge([first, second], method(combination_type))["wide"].pair.delta()
    assert off(merged, first.modules["wide"].delta()) <= 1e-6
    longer = [first, changed(first, "b", weights[1], lambda pair: pair.times(larger))]
    share = weights[1] / sum(weights)
    norm = (1 - share + share * larger) * first.modules["wide"].delta().norm()
    assert float(merge(longer, method(combination_type))["wide"].pair.delta().norm()) == pytest.approx(float(norm))


@by_type
def test_opposite_loras_and_zeros_give_numbers(combination_type):
    """No direction is made of what is only rounding."""
    first = part("a", weight=0.5)
    opposite = changed(first, "b", 0.5, lambda pair: pair.times(-1.0))
    zero = part("c", seed=3, std=0.0)
    third = [] if combination_type == "nuslerp" else [zero]
    for parts in ([first, opposite, *third], [zero, part("d", seed=4, std=0.0)], [first, zero]):
        for merged in merge(parts, method(combination_type, svd_rank="sum")).values():
            delta = merged.pair.delta()
            assert bool(delta.isfinite().all())
            assert float(delta.norm()) <= 10 * sum(
                float(pair.delta().norm()) for each in parts for pair in each.modules.values()
            )
    if combination_type in FLAT:
        assert all(
            float(merged.pair.delta().norm()) == 0
            for merged in merge([first, opposite], method("iso_c", svd_rank="sum")).values()
        )


def test_nuslerp_merges_no_more_than_two():
    with pytest.raises(MismatchError, match="`nuslerp` merges 2 LoRAs, and unet has 3: a, b, c"):
        check_parts("unet", loras("tsv"), None, method("nuslerp"), reference=False)
