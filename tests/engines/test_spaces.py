"""Combining in a space that the LoRAs share, against the papers' formulas on dense deltas in float64."""

from __future__ import annotations

import pytest
import torch
from engines.small import COMPONENT, SHAPES, method, off, part, rule, truncated
from hypothesis import given, settings
from hypothesis import strategies as st

from loramerge.deltas.dense import Dense
from loramerge.engines import factored
from loramerge.errors import MismatchError
from loramerge.merging.checks import check_parts
from loramerge.merging.module import Part
from loramerge.numerics.dare_masks import keep_mask
from loramerge.numerics.spaces import SPACES

pytestmark = pytest.mark.slow

SPACE_NAMES = tuple(name for name in SPACES if name != "ctm")
"""Those that hold each delta whole."""
RULES = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")


def merge(parts, chosen, **options):
    options = {"seed": getattr(chosen, "seed", 0), "device": "cpu", "finish": lambda *found: found[2]} | options
    return factored.merge_component(COMPONENT, parts, chosen, **options)


def loras():
    """Of different ranks and scales; one weighs less than nothing."""
    return [
        part("a", rank=4, weight=0.7),
        part("b", rank=2, seed=1, weight=-0.8, scale=2.0),
        part("c", rank=3, seed=2, weight=0.4),
    ]


def core(pairs):
    """arXiv:2509.17786, equations 4 to 6: the bases of the stacked factors, and Uᵀ·Δ·V of each dense delta."""
    roots = [abs(pair.scale) ** 0.5 for pair in pairs]
    ups = torch.cat([pair.up.flatten(1).double() * root for pair, root in zip(pairs, roots, strict=True)], 1)
    downs = torch.cat([pair.down.flatten(1).double() * root for pair, root in zip(pairs, roots, strict=True)])
    left, right = torch.linalg.svd(ups, full_matrices=False)[0], torch.linalg.svd(downs, full_matrices=False)[2]
    left, right = upright(left), upright(right.T).T
    return left, [left.T @ pair.delta().flatten(1) @ right.T for pair in pairs], right


def knots(pairs):
    """arXiv:2410.19735, section 4: one decomposition of the deltas side by side, cut where it is nothing."""
    beside = torch.cat([pair.delta().flatten(1) for pair in pairs], 1)
    left, values, right = torch.linalg.svd(beside, full_matrices=False)
    there = values > 1e-10 * values[0]
    upright_left = upright(left[:, there])
    shares = ((upright_left.T @ left[:, there]) @ (values[there, None] * right[there])).chunk(len(pairs), 1)
    return upright_left, list(shares), torch.eye(shares[0].shape[1], dtype=torch.float64)


def upright(columns):
    """With a sign that needs no decision of a library: the entry that is largest is positive."""
    return columns * columns.gather(0, columns.abs().argmax(0, keepdim=True)).sign()


def expected(name, parts, module, chosen):
    pairs = [each.modules[module] for each in parts]
    left, coordinates, right = {"core": core, "knots": knots}[name](pairs)
    masks = []
    if chosen.random:
        masks = [
            keep_mask(each.shape, chosen.density, (chosen.seed, lora.name, f"unet.{module}", name), "cpu")
            for each, lora in zip(coordinates, parts, strict=True)
        ]
    return left @ rule(coordinates, [each.weights[module] for each in parts], chosen, masks) @ right


@pytest.mark.parametrize("combination_type", RULES)
@pytest.mark.parametrize("name", SPACE_NAMES)
def test_a_rule_in_a_space_is_what_the_paper_says(name, combination_type):
    parts, chosen = loras(), method(combination_type, space=name)
    merged = merge(parts, chosen)
    for module, shape in SHAPES.items():
        assert merged[module].pair.shape == shape
        assert merged[module].pair.rank == 9
        assert off(merged[module].pair.delta(), expected(name, parts, module, chosen)) <= 1e-6


@pytest.mark.parametrize("combination_type", [each for each in RULES if each != "linear"])
@pytest.mark.parametrize("name", SPACE_NAMES)
def test_a_type_with_a_rank_cuts_what_the_rule_gives(name, combination_type):
    parts, chosen = loras(), method(f"{combination_type}_svd", space=name, svd_rank=5)
    merged = merge(parts, chosen)
    for module in SHAPES:
        want = expected(name, parts, module, chosen)
        assert merged[module].pair.rank == 5
        assert off(merged[module].pair.delta(), truncated(want, 5)) <= 1e-6
        kept = float(truncated(want, 5).norm() ** 2 / want.norm() ** 2)
        assert merged[module].retained_energy == pytest.approx(kept)


@pytest.mark.parametrize("name", SPACE_NAMES)
@settings(max_examples=20, deadline=None)
@given(
    ranks=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    weights=st.lists(st.floats(-2, 2).filter(lambda weight: abs(weight) > 1e-3), min_size=3, max_size=3),
    scale=st.floats(-3, 3).filter(lambda scale: abs(scale) > 1e-3),
)
def test_linear_is_the_weighted_sum_at_any_ranks(name, ranks, weights, scale):
    """Also where all ranks together are more than the module can hold, as 24 rows are less than 90."""
    chosen = method("linear", space=name)
    parts = [
        part(f"lora{place}", rank=rank, seed=place, weight=weights[place], scale=scale, modules=("conv",))
        for place, rank in enumerate(ranks)
    ]
    terms = [each.weights["conv"] * each.modules["conv"].delta() for each in parts]
    error = (merge(parts, chosen, alone=True)["conv"].pair.delta() - sum(terms)).norm()
    assert error <= 1e-6 * sum(term.norm() for term in terms)


@pytest.mark.parametrize("name", SPACES)
def test_equal_loras_and_one_of_zeros_are_no_trouble(name):
    first = part("a", weight=0.5)
    zero = part("c", seed=3, std=0.0)
    twice = [first, part("b", weight=0.25), zero]
    for module, merged in merge(twice, method("linear", space=name)).items():
        assert off(merged.pair.delta(), 0.75 * first.modules[module].delta()) <= 1e-6


def ctm(pairs, rank):
    """arXiv:2606.03723, section 4: subspaces by alternating projections of normalised cores, then coordinates."""
    left, cores, right = core(pairs)
    even = [each / each.norm() for each in cores]

    def leading(square):
        return torch.linalg.eigh(square)[1].flip(1)[:, :rank]

    outer = leading(sum(each @ each.T for each in even))
    inner = leading(sum(each.T @ each for each in even))
    for _ in range(1000):
        outer = leading(sum(each @ inner @ inner.T @ each.T for each in even))
        inner = leading(sum(each.T @ outer @ outer.T @ each for each in even))
    outer, inner = upright(left @ outer), upright(right.T @ inner).T
    return outer, [outer.T @ pair.delta().flatten(1) @ inner.T for pair in pairs], inner


@pytest.mark.parametrize(
    ("combination_type", "parameters", "rank"),
    [("linear", {}, 4), ("magnitude_prune", {}, 4), ("ties_svd", {"svd_rank": 3}, 3), ("ties_svd", {}, 4)],
)
def test_compress_then_merge_has_the_rank_that_is_asked_for(combination_type, parameters, rank):
    parts, chosen = loras(), method(combination_type, space="ctm", **parameters)
    merged = merge(parts, chosen)
    for module in ("wide", "conv"):
        left, coordinates, right = ctm([each.modules[module] for each in parts], rank)
        want = left @ rule(coordinates, [each.weights[module] for each in parts], chosen) @ right
        assert merged[module].pair.rank == rank
        assert off(merged[module].pair.delta(), want) <= 1e-6
        assert merged[module].retained_energy in (None, pytest.approx(1))


def test_where_there_is_room_for_all_compressing_loses_nothing():
    parts = loras()
    merged = merge(parts, method("dare_linear_svd", density=1.0, space="ctm", svd_rank="sum"))
    for module in SHAPES:
        want = sum(each.weights[module] * each.modules[module].delta().flatten(1) for each in parts)
        assert off(merged[module].pair.delta(), want) <= 1e-6


@pytest.mark.parametrize("name", SPACES)
def test_a_space_has_no_room_for_full_differences(name):
    full = Dense(lambda: torch.ones(SHAPES["wide"]), SHAPES["wide"])
    parts = [part("a", modules=("wide",)), Part("b", {"wide": full}, {"wide": 1.0})]
    with pytest.raises(MismatchError, match=f"`space: {name}` is that of up and down factors"):
        check_parts("unet", parts, None, method("ties", space=name), reference=False)
