"""Norms from factors against dense deltas in float64, where nothing cancels, where something does, and at extremes."""

from __future__ import annotations

import math

import pytest
import torch

from loramerge.adapter import LowRank
from loramerge.numerics import gram
from loramerge.numerics.norms import norms

WEIGHTS = (0.7, -1.3)


def random_pair(seed, *, rank=5, out=40, shape=(30,), size=1.0, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    down, up = torch.randn(rank, *shape, generator=generator), torch.randn(out, rank, generator=generator)
    return LowRank(down * size, up * size if len(shape) == 1 else (up * size)[..., None, None], scale)


def factors(pairs):
    return [weight * pair.scale for weight, pair in zip(WEIGHTS, pairs, strict=True)]


def concatenated(pairs):
    """As `cat` has it: the factors are in the downs."""
    down = torch.cat(
        [(pair.down.double() * factor).float() for pair, factor in zip(pairs, factors(pairs), strict=True)]
    )
    return LowRank(down, torch.cat([pair.up for pair in pairs], 1), 1.0)


def dense(pair, factor):
    return (pair.up.flatten(1).double() @ pair.down.flatten(1).double()) * factor


def truth(merged, pairs):
    deltas = [dense(pair, factor) for pair, factor in zip(pairs, factors(pairs), strict=True)]
    whole, target = dense(merged, merged.scale), sum(deltas)
    return [
        *(float(delta.norm()) for delta in (*deltas, whole, target, whole - target)),
        float(torch.sum(deltas[0] * deltas[1])),
        *(float(torch.sum(whole * delta)) for delta in deltas),
    ]


def found(merged, pairs):
    measured = norms(merged, pairs, factors(pairs))
    return [
        *measured.inputs,
        measured.merged,
        measured.target,
        measured.difference,
        measured.products[0, 1],
        *measured.held,
    ]


@pytest.fixture
def formats(monkeypatch):
    """The number formats in which Gram matrices were computed."""
    used, compute = [], gram.gram_in_strips
    monkeypatch.setattr(gram, "gram_in_strips", lambda columns: used.append(columns.dtype) or compute(columns))
    return used


@pytest.mark.parametrize("shape", [(30,), (6, 3, 3)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_what_does_not_cancel_is_told_in_float32(formats, size, shape):
    pairs = [random_pair(seed, rank=3 + seed, size=size, shape=shape) for seed in range(2)]
    merged = random_pair(9, rank=4, size=size, shape=shape)
    assert found(merged, pairs) == pytest.approx(truth(merged, pairs), rel=1e-5, abs=0)
    assert set(formats) == {torch.float32}


@pytest.mark.parametrize("nearly", [1e-2, 1e-4])
def test_what_cancels_is_told_in_float64(formats, nearly):
    pairs = [random_pair(seed) for seed in range(2)]
    merged = concatenated(pairs)
    noise = torch.Generator().manual_seed(7)
    merged = LowRank(merged.down, merged.up + nearly * torch.randn(merged.up.shape, generator=noise), merged.scale)
    assert found(merged, pairs) == pytest.approx(truth(merged, pairs), rel=1e-6, abs=0)
    assert torch.float64 in formats


def test_inputs_that_cancel_have_a_small_target():
    pair = random_pair(0)
    other = LowRank(pair.down, pair.up * (WEIGHTS[0] / -WEIGHTS[1] * (1 + 1e-3)), pair.scale)
    merged = random_pair(5)
    assert found(merged, [pair, other]) == pytest.approx(truth(merged, [pair, other]), rel=1e-5, abs=0)


@pytest.mark.parametrize("shape", [(30,), (6, 3, 3)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_what_rounding_loses_in_stacked_factors_is_told_exactly(size, shape):
    pairs = [random_pair(seed, rank=3 + seed, size=size, shape=shape) for seed in range(2)]
    merged = concatenated(pairs)
    measured, exact = found(merged, pairs), truth(merged, pairs)
    assert 0 < exact[4] < 1e-6 * exact[3]
    assert measured == pytest.approx(exact, rel=1e-5, abs=0)


def test_what_one_weight_loses_and_another_does_not_is_told_in_float32(formats, monkeypatch):
    monkeypatch.setattr(f"{__name__}.WEIGHTS", (0.7, 0.5))
    pairs = [random_pair(seed, scale=1.0) for seed in range(2)]
    merged = concatenated(pairs)
    assert found(merged, pairs) == pytest.approx(truth(merged, pairs), rel=1e-5, abs=0)
    assert set(formats) == {torch.float32}


def test_factors_that_are_kept_to_the_bit_differ_by_nothing():
    pairs = [random_pair(seed, scale=1.0) for seed in range(2)]
    merged = LowRank(torch.cat([pair.down for pair in pairs]), torch.cat([pair.up for pair in pairs], 1), 1.0)
    assert norms(merged, pairs, [1.0, 1.0]).difference == 0


@pytest.mark.parametrize("size", [1e-21, 1e19])
def test_squares_that_float32_can_not_hold(size):
    pairs = [random_pair(seed, size=size) for seed in range(2)]
    merged = random_pair(9, size=size)
    assert found(merged, pairs) == pytest.approx(truth(merged, pairs), rel=1e-9, abs=0)


def test_nothing_has_no_norm():
    pairs = [random_pair(seed, size=0.0) for seed in range(2)]
    assert found(random_pair(9, size=0.0), pairs) == [0.0] * 8
    assert not any(map(math.isnan, found(concatenated(pairs), pairs)))
