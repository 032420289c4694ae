from __future__ import annotations

import math

import foreign
import pytest
import shared_data
import tiny
import torch
from canonical import adapter_of
from hypothesis import given
from hypothesis import strategies as st

from loramerge import load_adapter, load_base
from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.overlap import overlaps
from loramerge.analysis.overlap_measures import summed

FULL = lambda _component, _module: 1.0  # noqa: E731


def pair(out, inner, rank, seed, scale=1.0, kernel=()):
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, inner, *kernel, generator=generator)
    return LowRank(down, torch.randn(out, rank, *(1 for _ in kernel), generator=generator), scale)


def between(one, other, weigh=FULL, other_weigh=FULL):
    """The overlap of two pairs."""
    adapters = {"a": (Adapter({"unet": {"m": one}}), weigh), "b": (Adapter({"unet": {"m": other}}), other_weigh)}
    (found,) = overlaps(adapters)
    return found.modules["unet", "m"]


def dense(one, other):
    """Cosine, column overlap, row overlap and sign conflict of two dense deltas, with numpy's decompositions."""
    one, other = one.flatten(1), other.flatten(1)

    def basis(matrix):
        left, sizes, _ = torch.linalg.svd(matrix, full_matrices=False)
        return left[:, sizes > 1e-5 * sizes[0]]

    def subspaces(one, other):
        first, second = basis(one), basis(other)
        return float(torch.linalg.svdvals(first.T @ second).square().sum()) / min(first.shape[1], second.shape[1])

    product = one * other
    return (
        float(product.sum() / (one.norm() * other.norm())),
        subspaces(one, other),
        subspaces(one.T, other.T),
        float(product[product < 0].abs().sum() / product.abs().sum()),
    )


def measures(overlap):
    return overlap.cosine, overlap.column_overlap, overlap.row_overlap, overlap.sign_conflict


@pytest.mark.parametrize("kernel", [(), (3, 3)], ids=["linear", "convolution"])
@pytest.mark.parametrize("ranks", [(1, 1), (4, 4), (2, 9), (16, 3)])
def test_it_is_what_dense_float64_says(ranks, kernel):
    one, other = (pair(24, 20, rank, seed, 0.3, kernel) for seed, rank in enumerate(ranks))
    # The second shares a part of the first, in what it writes and in what it does.
    other = LowRank(other.down, torch.cat([one.up[:, :1] - other.up[:, :1], other.up[:, 1:]], 1), other.scale)
    found = between(one, other)
    assert measures(found) == pytest.approx(dense(one.delta(), other.delta()), abs=1e-9)
    assert (found.modules, found.sampled, found.dimensions) == (1, 0, min(ranks))


def test_a_rank_above_the_matrix():
    one, other = pair(6, 4, 16, 0), pair(6, 4, 5, 1)
    assert measures(between(one, other)) == pytest.approx(dense(one.delta(), other.delta()), abs=1e-9)
    assert between(one, other).row_overlap == pytest.approx(1.0)  # both read everything


@pytest.mark.parametrize(("factor", "cosine", "conflict"), [(1.0, 1.0, 0.0), (-0.3, -1.0, 1.0)])
def test_duplicates_and_what_undoes_them(factor, cosine, conflict):
    one = pair(30, 20, 4, 0)
    found = between(one, LowRank(one.down * factor, one.up, 2.0))
    assert measures(found) == pytest.approx((cosine, 1.0, 1.0, conflict), abs=1e-9)


def test_a_pair_in_another_basis_is_the_same_delta():
    one, turn = pair(30, 20, 4, 0), torch.randn(4, 4, generator=torch.Generator().manual_seed(9))
    other = LowRank(turn @ one.down, one.up @ turn.inverse(), one.scale)
    assert measures(between(one, other)) == pytest.approx((1.0, 1.0, 1.0, 0.0), abs=1e-6)


def test_orthogonal_ones():
    one, other = pair(8, 6, 2, 0), pair(8, 6, 3, 1)
    one = LowRank(torch.cat([one.down[:, :3], torch.zeros(2, 3)], 1), one.up, 1.0)
    other = LowRank(torch.cat([torch.zeros(3, 3), other.down[:, :3]], 1), other.up, 1.0)
    cosine, columns, rows, conflict = measures(between(one, other))
    assert (cosine, rows) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert columns == pytest.approx(dense(one.delta(), other.delta())[1])
    assert conflict is None  # they nowhere meet


@pytest.mark.parametrize(
    "nothing",
    [
        LowRank(torch.zeros(2, 6), torch.ones(8, 2), 1.0),
        LowRank(torch.ones(2, 6), torch.zeros(8, 2), 1.0),
        LowRank(torch.ones(2, 6), torch.tensor([[1.0, -1.0]]).repeat(8, 1), 1.0),  # what it adds it takes away
        LowRank(torch.ones(2, 6), torch.ones(8, 2), 0.0),
    ],
)
def test_a_lora_of_zeros_has_no_direction(nothing):
    cosine, *_, conflict = measures(between(nothing, pair(8, 6, 2, 0)))
    assert (cosine, conflict) == (None, None)


def test_a_direction_that_cancels_is_none():
    one = pair(30, 20, 3, 0)
    twice = LowRank(torch.cat([one.down, one.down[:1]]), torch.cat([one.up, one.up[:, 1:2]], 1), 1.0)
    assert between(twice, pair(30, 20, 8, 1)).dimensions == 3


def test_a_negative_weight_turns_it_round():
    one, other = pair(24, 20, 4, 0), pair(24, 20, 4, 1)
    plain, turned = between(one, other), between(one, other, other_weigh=lambda *_: -0.5)
    assert turned.cosine == pytest.approx(-plain.cosine)
    assert turned.sign_conflict == pytest.approx(1 - plain.sign_conflict)
    assert turned.column_overlap == plain.column_overlap


def test_signs_of_a_large_module_come_from_a_part_of_it():
    one, other = pair(600, 1500, 4, 0), pair(600, 1500, 4, 1)
    other = LowRank(one.down + other.down, one.up, 1.0)
    found = between(one, other)
    assert found.sampled == 1
    product = one.delta() * other.delta()
    assert found.agreeing == pytest.approx(float(product.clamp(min=0).sum()), rel=0.3)
    assert found.sign_conflict == pytest.approx(dense(one.delta(), other.delta())[3], abs=0.03)
    assert found == between(one, other)


@given(
    out=st.integers(1, 10),
    inner=st.integers(1, 10),
    ranks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seeds=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    weights=st.tuples(*[st.floats(-3, 3).filter(lambda weight: abs(weight) > 1e-3)] * 2),
    size=st.floats(1e-3, 1e3),
)
def test_the_algebra(out, inner, ranks, seeds, weights, size):
    one, other = (pair(out, inner, rank, seed) for rank, seed in zip(ranks, seeds, strict=True))
    weigh, other_weigh = (lambda *_, weight=weight: weight for weight in weights)
    found = between(one, other, weigh, other_weigh)
    assert -1 <= found.cosine <= 1
    assert 0 <= found.column_overlap <= 1
    assert 0 <= found.row_overlap <= 1
    assert 0 <= found.sign_conflict <= 1
    assert abs(found.product) <= found.agreeing + found.differing + 1e-9 * found.energy
    # Symmetric, and no matter how large either is.
    for same in (
        between(other, one, other_weigh, weigh),
        between(LowRank(one.down * size, one.up, one.scale), other, weigh, other_weigh),
        between(one, other, weigh, lambda *_: size * weights[1]),
    ):
        assert measures(same) == pytest.approx(measures(found), abs=1e-4)


def test_several_modules_are_one_long_delta():
    pairs = [foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2, seed=seed, conv_rank=2) for seed in (0, 1)]
    one, other = map(adapter_of, pairs)
    half = Adapter({"unet": {name: one.components["unet"][name] for name in list(one.components["unet"])[::2]}})
    mixed = {component: dict(modules) for component, modules in other.components.items()}
    for name, same in half.components["unet"].items():
        mixed["unet"][name] = LowRank(same.down, -same.up, same.scale)
    (found,) = overlaps({"a": (one, FULL), "b": (Adapter(mixed), lambda *_: 2.0)})
    assert len(found.modules) == len(one)
    deltas = [torch.cat([pair.delta().flatten() for *_, pair in adapter]) for adapter in (one, Adapter(mixed))]
    whole = summed(found.modules.values())
    assert whole.cosine == pytest.approx(float(torch.nn.functional.cosine_similarity(*deltas, dim=0)), abs=1e-9)
    product = deltas[0] * deltas[1]
    assert whole.sign_conflict == pytest.approx(float(-product.clamp(max=0).sum() / product.abs().sum()), abs=2e-3)
    by_component = found.grouped(lambda component, _: component)
    assert set(by_component) == {"unet", "text_encoder", "text_encoder_2"}
    assert math.isclose(summed(by_component.values()).product, whole.product)


def test_every_pair_of_three_and_what_only_one_touches():
    one, other, third = (pair(8, 6, 2, seed) for seed in range(3))
    adapters = {
        "a": (Adapter({"unet": {"m": one, "n": one}, "text_encoder": {"t": one}}), FULL),
        "b": (Adapter({"unet": {"m": other, "n": other}}), lambda _, module: float(module == "m")),
        "c": (Adapter({"unet": {"n": third, "x": pair(8, 5, 2, 3)}}), FULL),
    }
    ab, ac, bc = overlaps(adapters)
    assert (ab.names, list(ab.modules), ab.alone) == (("a", "b"), [("unet", "m")], (2, 0))
    assert (ac.names, list(ac.modules), ac.alone) == (("a", "c"), [("unet", "n")], (2, 1))
    assert (bc.names, list(bc.modules), bc.alone) == (("b", "c"), [], (1, 2))
    assert measures(summed(bc.modules.values())) == (None, None, None, None)
    assert ab.modules["unet", "m"] == between(one, other)


def test_modules_of_other_shapes_are_counted():
    (found,) = overlaps(
        {name: (Adapter({"unet": {"m": pair(8, width, 2, 0)}}), FULL) for name, width in (("a", 6), ("b", 7))}
    )
    assert (found.modules, found.unlike, found.alone) == ({}, 1, (0, 0))


def test_loras_that_strangers_trained_apart_are_unrelated():
    base = load_base(str(shared_data.model("stable-diffusion-v1-5")))
    names = ("pokemon", "rick-and-morty", "portrait")
    adapters = {name: (load_adapter(str(shared_data.lora(f"sd15-{name}.safetensors")), base), FULL) for name in names}
    for found in overlaps(adapters):
        whole = summed(found.modules.values())
        assert abs(whole.cosine) < 0.01
        assert whole.sign_conflict == pytest.approx(0.5, abs=0.02)
        assert whole.column_overlap < 0.2
