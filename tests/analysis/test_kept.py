"""How much of each LoRA is left in a merge, compared with dense projections in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.kept import directions, kept
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
    assert found["ink"] == pytest.approx(expected, abs=1e-9)


def test_a_lora_alone_is_kept_whole_and_an_absent_one_not_at_all():
    lora, other = adapter(pair(1), pair(2)), adapter(LowRank(torch.zeros(1, 10), torch.zeros(12, 1), 1.0))
    assert kept(lora, own(ink=lora))["ink"] == pytest.approx(1, abs=1e-9)
    assert kept(other, own(ink=lora))["ink"] == pytest.approx(0, abs=1e-9)
    assert kept(lora, own(2.0, ink=lora))["ink"] == pytest.approx(0.5, abs=1e-9)


def test_what_changes_nothing_has_no_part():
    nothing = adapter(LowRank(torch.zeros(1, 10), torch.zeros(12, 1), 1.0))
    assert kept(nothing, own(ink=nothing)) == {}
    assert kept(nothing, own(0.0, ink=adapter(pair(1)))) == {}


def test_convolutions_and_dense_differences():
    random = torch.Generator().manual_seed(0)
    convolution = LowRank(torch.randn(2, 4, 3, 3, generator=random), torch.randn(6, 2, 1, 1, generator=random), 1.0)
    whole = Dense.of(torch.randn(6, 5, generator=random))
    lora = adapter(convolution, whole)
    half = Adapter({"unet": {name: each.times(0.5) for name, each in lora.components["unet"].items()}})
    assert kept(half, own(ink=lora))["ink"] == pytest.approx(0.5, abs=1e-9)
