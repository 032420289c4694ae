"""What a merge holds of each LoRA, against dense deltas in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loramerge import Adapter, LowRank
from loramerge.analysis.energy import Kept, kept, kept_of
from loramerge.deltas.dense import Dense

FULL = lambda *_: 1.0  # noqa: E731


def pair(seed, rank=3, out=7, width=9, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(rank, width, generator=generator), torch.randn(out, rank, generator=generator), scale)


def dense(merged, own, weight):
    """(energy, share) from the deltas and their singular vectors."""
    delta, whole = own.delta().flatten(1) * weight, merged.delta().flatten(1)
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    rank = int((values > 1e-9 * values[0]).sum())
    left, right = left[:, :rank], right[:rank]
    projected = left @ left.T @ whole @ right.T @ right
    return float(projected.norm() / delta.norm()), float((whole * delta).sum() / delta.square().sum())


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6), st.sampled_from([-1.5, 0.3, 1.0]))
def test_it_is_what_dense_deltas_say(seed, rank, other, weight):
    own, merged = pair(seed, rank), pair(seed + 5000, other, scale=2.0)
    found = kept_of(merged, own, weight)
    assert (found.energy, found.share) == pytest.approx(dense(merged, own, weight), rel=1e-9, abs=1e-12)


def test_directions_that_are_there_twice_count_once():
    one = pair(1)
    own = LowRank(torch.cat([one.down, one.down[:1]]), torch.cat([one.up, one.up[:, :1]], 1), 1.0)
    merged = pair(2)
    found = kept_of(merged, own, 1.0)
    assert (found.energy, found.share) == pytest.approx(dense(merged, own, 1.0), rel=1e-9)


def test_of_a_convolution():
    generator = torch.Generator().manual_seed(0)
    own, merged = (
        LowRank(torch.randn(2, 4, 3, 3, generator=generator), torch.randn(5, 2, 1, 1, generator=generator), 1.0)
        for _ in range(2)
    )
    found = kept_of(merged, own, 0.7)
    assert (found.energy, found.share) == pytest.approx(dense(merged, own, 0.7), rel=1e-9)


def test_a_lora_alone_is_kept_whole_and_a_part_of_it_in_part():
    own = pair(3)
    whole, half = kept_of(own, own, 1.0), kept_of(own.times(0.5), own, 1.0)
    assert (whole.energy, whole.share) == pytest.approx((1.0, 1.0))
    assert (half.energy, half.share) == pytest.approx((0.5, 0.5))


def test_the_opposite_has_energy_and_a_negative_share():
    own = pair(4)
    found = kept_of(own.times(-1.0), own, 1.0)
    assert (found.energy, found.share) == pytest.approx((1.0, -1.0))


def test_a_dense_merge_or_lora_is_not_projected():
    own, merged = pair(5), pair(6)
    full = Dense.of(merged.delta().float())
    found = kept_of(full, own, 1.0)
    assert found.energy == pytest.approx(float(full.delta().norm() / own.delta().norm()), rel=1e-6)
    assert found.share == pytest.approx(dense(merged, own, 1.0)[1], rel=1e-5)
    assert kept_of(None, Dense.of(own.delta().float()), 2.0).own == pytest.approx(4 * float(own.delta().square().sum()))


def test_what_the_merge_lacks_counts_as_lost():
    one, two = pair(7), pair(8)
    lora = Adapter({"unet": {"a": one, "b": two}})
    found = kept(Adapter({"unet": {"a": one}}), {"x": (lora, FULL)})["x"]
    first, second = (float(each.delta().square().sum()) for each in (one, two))
    assert found.share == pytest.approx(first / (first + second))
    assert found.energy == pytest.approx(math.sqrt(first / (first + second)))


def test_where_it_weighs_nothing_it_loses_nothing():
    one, two = pair(9), pair(10)
    lora = Adapter({"unet": {"a": one, "b": two}})
    found = kept(Adapter({"unet": {"a": one}}), {"x": (lora, lambda _, module: float(module == "a"))})["x"]
    assert found.share == pytest.approx(1.0)
    nothing = kept(Adapter({}), {"x": (lora, lambda *_: 0.0)})["x"]
    assert nothing == Kept()
    assert nothing.energy is None
    assert nothing.share is None
