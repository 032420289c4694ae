"""What rounding costs, told from the factors, against float64 truth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loramerge.adapter import LowRank
from loramerge.analysis.rounding import loss

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def lost(pair, dtype):
    rounded = LowRank(pair.down.to(DTYPES[dtype]).float(), pair.up.to(DTYPES[dtype]).float(), pair.scale)
    return float((rounded.delta() - pair.delta()).norm())


@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    rank=st.integers(1, 8),
    kernel=st.sampled_from([(), (1, 1), (3, 3)]),
    scale=st.floats(-4, 4),
    exponents=st.tuples(st.integers(-7, 3), st.integers(-7, 3)),
    seed=st.integers(0, 99),
)
def test_the_loss_is_that_of_the_dense_deltas(dtype, rank, kernel, scale, exponents, seed):
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, 6, *kernel, generator=generator) * 10.0 ** exponents[0]
    up = torch.randn(9, rank, *(1 for _ in kernel), generator=generator) * 10.0 ** exponents[1]
    pair = LowRank(down, up, scale)
    assert loss(pair, dtype) == pytest.approx(lost(pair, dtype), rel=1e-4, abs=1e-30)


def test_what_needs_no_rounding_loses_nothing():
    pair = LowRank(torch.ones(2, 6), torch.ones(9, 2), 0.3)
    assert loss(pair, "float16") == loss(pair, "bfloat16") == 0
