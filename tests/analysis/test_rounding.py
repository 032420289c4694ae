"""What rounding costs, told from the factors, against float64 truth."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loramerge.adapter import LowRank
from loramerge.analysis.rounding import before_rounding, loss, rounded_outputs
from loramerge.formats import KohyaOutput
from loramerge.outputs.inputs import InputsOutput
from loramerge.outputs.pipeline import PipelineOutput

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
    stored=st.booleans(),
)
def test_the_loss_is_that_of_the_dense_deltas(dtype, rank, kernel, scale, exponents, seed, stored):
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, 6, *kernel, generator=generator) * 10.0 ** exponents[0]
    up = torch.randn(9, rank, *(1 for _ in kernel), generator=generator) * 10.0 ** exponents[1]
    if stored:  # as `cat` takes over what a file has in that format
        up = up.to(DTYPES[dtype]).float()
    pair = LowRank(down, up, scale)
    assert loss(pair, dtype) == pytest.approx(lost(pair, dtype), rel=1e-4, abs=1e-30)


def test_what_needs_no_rounding_loses_nothing():
    pair = LowRank(torch.ones(2, 6), torch.ones(9, 2), 0.3)
    assert loss(pair, "float16") == loss(pair, "bfloat16") == 0


def outputs(*given):
    return SimpleNamespace(outputs=given)


def kohya(dtype):
    return KohyaOutput(kind="adapter", format="kohya", name=f"k-{dtype}", dtype=dtype)


def test_what_rounding_does_is_said_of_every_output_that_is_not_the_merge_to_the_digit():
    fused = [PipelineOutput(kind="pipeline", name=name, dtype=dtype) for name, dtype in (("p", None), ("q", "float16"))]
    given = outputs(kohya("float32"), kohya("float16"), kohya("bfloat16"), InputsOutput(kind="inputs"), *fused)
    errors = {"k-float16": 2.5e-4, "k-bfloat16": 2e-3}
    assert rounded_outputs(given, errors) == {
        "float16 loses 2.5e-04 of the merge": ["k-float16"],
        "bfloat16 loses 2.0e-03 of the merge": ["k-bfloat16"],
        "sums rounded to the number format of the base": ["p"],
        "sums rounded to float16": ["q"],
    }
    assert before_rounding(outputs(kohya("bfloat16")), errors) == (
        ", before rounding (k-bfloat16: bfloat16 loses 2.0e-03 of the merge)"
    )


@pytest.mark.parametrize("error", [0.0, 1e-7])
def test_a_rounding_that_loses_nothing_takes_nothing_from_what_is_exact(error):
    assert before_rounding(outputs(kohya("float32"), kohya("float16")), {"k-float16": error}) == ""
