"""How much of each LoRA is left in a merge, compared with dense projections in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.kept import Kept, directions, kept, own_of
from loramerge.deltas.dense import Dense

WEIGHTS = st.floats(-2, 2).filter(lambda weight: abs(weight) > 0.01)


def pair(seed, rank=3, out=12, into=10, scale=0.5):
    random = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(rank, into, generator=random), torch.randn(out, rank, generator=random), scale)


def adapter(*pairs):
    return Adapter({"unet": {f"m{place}": each for place, each in enumerate(pairs)}})


def own(weight=1.0, **adapters):
    return directions({name: (each, lambda *_: weight) for name, each in adapters.items()})


def dense(merged, pairs, weight):
    """1 - ‖P(M) - wΔ‖ / ‖wΔ‖ over all modules, with dense projections."""
    off, whole = [], []
    for module, each in pairs.items():
        delta = weight * each.delta().flatten(1)
        left, _, right = torch.linalg.svd(each.delta().flatten(1), full_matrices=False)
        left, right = left[:, : each.rank], right[: each.rank].T
        found = merged[module].delta().flatten(1) if module in merged else torch.zeros_like(delta)
        off.append(float((left @ left.T @ found @ right @ right.T - delta).norm()))
        whole.append(float(delta.norm()))
    return 1 - math.hypot(*off) / math.hypot(*whole)


@given(st.integers(0, 2**20), WEIGHTS)
def test_it_is_what_dense_projections_give(seed, weight):
    first, second, third = (pair(seed + place, rank=2 + place) for place in range(3))
    lora, merged = adapter(first, second), adapter(third)
    found = kept(merged, own(weight, ink=lora))
    expected = dense(merged.components["unet"], lora.components["unet"], weight)
    assert found["ink"].likeness == pytest.approx(expected, abs=1e-9)


def test_a_lora_alone_is_kept_whole_and_an_absent_one_not_at_all():
    lora, other = adapter(pair(1), pair(2)), adapter(LowRank(torch.zeros(1, 10), torch.zeros(12, 1), 1.0))
    assert kept(lora, own(ink=lora))["ink"].likeness == pytest.approx(1, abs=1e-9)
    assert kept(other, own(ink=lora))["ink"].likeness == pytest.approx(0, abs=1e-9)
    assert kept(lora, own(2.0, ink=lora))["ink"].likeness == pytest.approx(0.5, abs=1e-9)


def test_what_changes_nothing_has_no_part():
    nothing = adapter(LowRank(torch.zeros(1, 10), torch.zeros(12, 1), 1.0))
    for found in (kept(nothing, own(ink=nothing)), kept(nothing, own(0.0, ink=adapter(pair(1))))):
        assert found == {"ink": Kept()}
        assert (found["ink"].energy, found["ink"].share, found["ink"].likeness) == (None, None, None)


def test_convolutions_and_dense_differences():
    random = torch.Generator().manual_seed(0)
    convolution = LowRank(torch.randn(2, 4, 3, 3, generator=random), torch.randn(6, 2, 1, 1, generator=random), 1.0)
    whole = Dense.of(torch.randn(6, 5, generator=random))
    lora = adapter(convolution, whole)
    half = Adapter({"unet": {name: each.times(0.5) for name, each in lora.components["unet"].items()}})
    assert kept(half, own(ink=lora))["ink"].likeness == pytest.approx(0.5, abs=1e-9)


def energy_and_share(merged, lora, weight):
    """The same from the deltas and their singular vectors."""
    delta, whole = lora.delta().flatten(1) * weight, merged.delta().flatten(1)
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    rank = int((values > 1e-9 * values[0]).sum())
    left, right = left[:, :rank], right[:rank]
    projected = left @ left.T @ whole @ right.T @ right
    return float(projected.norm() / delta.norm()), float((whole * delta).sum() / delta.square().sum())


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6), st.sampled_from([-1.5, 0.3, 1.0]))
def test_energy_and_share_are_what_dense_deltas_say(seed, rank, other, weight):
    own, merged = pair(seed, rank), pair(seed + 5000, other, scale=2.0)
    found = own_of(own, weight).kept_in(merged)
    assert (found.energy, found.share) == pytest.approx(energy_and_share(merged, own, weight), rel=1e-9, abs=1e-12)


def test_directions_that_are_there_twice_count_once():
    one = pair(1)
    own = LowRank(torch.cat([one.down, one.down[:1]]), torch.cat([one.up, one.up[:, :1]], 1), 1.0)
    merged = pair(2)
    found = own_of(own, 1.0).kept_in(merged)
    assert (found.energy, found.share) == pytest.approx(energy_and_share(merged, own, 1.0), rel=1e-9)


def test_of_a_convolution():
    generator = torch.Generator().manual_seed(0)
    own, merged = (
        LowRank(torch.randn(2, 4, 3, 3, generator=generator), torch.randn(5, 2, 1, 1, generator=generator), 1.0)
        for _ in range(2)
    )
    found = own_of(own, 0.7).kept_in(merged)
    assert (found.energy, found.share) == pytest.approx(energy_and_share(merged, own, 0.7), rel=1e-9)


def test_a_part_of_a_lora_is_kept_in_part():
    own = pair(3)
    whole, half = own_of(own, 1.0).kept_in(own), own_of(own, 1.0).kept_in(own.times(0.5))
    assert (whole.energy, whole.share) == pytest.approx((1.0, 1.0))
    assert (half.energy, half.share) == pytest.approx((0.5, 0.5))


def test_the_opposite_has_energy_and_a_negative_share():
    own = pair(4)
    found = own_of(own, 1.0).kept_in(own.times(-1.0))
    assert (found.energy, found.share) == pytest.approx((1.0, -1.0))


def test_a_dense_merge_is_projected_and_a_dense_lora_writes_and_reads_everything():
    own, merged = pair(5), pair(6)
    full = Dense.of(merged.delta().float())
    found = own_of(own, 1.0).kept_in(full)
    assert (found.energy, found.share) == pytest.approx(energy_and_share(merged, own, 1.0), rel=1e-5)
    whole = own_of(Dense.of(own.delta().float()), 2.0)
    assert whole.kept_in(None).own == pytest.approx(4 * float(own.delta().square().sum()))
    found = whole.kept_in(merged)
    assert found.energy == pytest.approx(float(merged.delta().norm() / (2 * own.delta()).norm()), rel=1e-6)
    assert found.likeness == pytest.approx(
        1 - float((merged.delta() - 2 * own.delta()).norm() / (2 * own.delta()).norm()), rel=1e-6
    )


def test_what_the_merge_lacks_counts_as_lost():
    one, two = pair(7), pair(8)
    lora = Adapter({"unet": {"a": one, "b": two}})
    found = kept(Adapter({"unet": {"a": one}}), directions({"x": (lora, lambda *_: 1.0)}))["x"]
    first, second = (float(each.delta().square().sum()) for each in (one, two))
    assert found.share == pytest.approx(first / (first + second))
    assert found.energy == pytest.approx(math.sqrt(first / (first + second)))


def test_where_it_weighs_nothing_it_loses_nothing():
    one, two = pair(9), pair(10)
    lora = Adapter({"unet": {"a": one, "b": two}})
    found = kept(Adapter({"unet": {"a": one}}), directions({"x": (lora, lambda _, module: float(module == "a"))}))["x"]
    assert found.share == pytest.approx(1.0)
