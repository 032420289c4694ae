"""The largest values, against PEFT's own pruning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loramerge.numerics.magnitude import keep_largest

SIZES = (1, 2, 100, 40_960, 200_001)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", [0.001, 0.1, 0.5, 0.999])
def test_it_keeps_what_peft_keeps(size, density):
    from peft.utils.merge_utils import magnitude_based_pruning

    tensor = torch.randn(size, generator=torch.Generator().manual_seed(size))
    assert torch.equal(keep_largest(tensor, density), magnitude_based_pruning(tensor, density))


@pytest.mark.parametrize("density", [0.01, 0.3, 0.7])
@pytest.mark.parametrize("size", [4_096, 200_000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_among_equal_values_it_keeps_those_that_peft_keeps(size, density, dtype):
    from peft.utils.merge_utils import magnitude_based_pruning

    tensor = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(dtype).float().reshape(64, -1)
    assert torch.equal(keep_largest(tensor, density), magnitude_based_pruning(tensor, density))
    flat = torch.full((size,), 0.25)
    assert torch.equal(keep_largest(flat, density), magnitude_based_pruning(flat, density))


@settings(deadline=None)
@given(
    st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=60),
    st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True),
)
def test_on_any_values(values, density):
    from peft.utils.merge_utils import magnitude_based_pruning

    tensor = torch.tensor(values)
    assert torch.equal(keep_largest(tensor, density), magnitude_based_pruning(tensor, density))


def test_a_sample_that_misleads_costs_time_alone():
    from peft.utils.merge_utils import magnitude_based_pruning

    tensor = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0))
    tensor[:: (1 << 18) // (1 << 14)] *= 1e6  # what is sampled has nothing to do with the rest
    for density in (0.01, 0.5, 0.97):
        assert torch.equal(keep_largest(tensor, density), magnitude_based_pruning(tensor, density))


def test_the_tensor_itself_is_left_alone():
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    before = tensor.clone()
    keep_largest(tensor, 0.5)
    assert torch.equal(tensor, before)


def test_more_of_equal_zeros_than_fit():
    tensor = torch.zeros(100)
    tensor[:10] = 1
    assert torch.equal(keep_largest(tensor, 0.5), tensor)
    assert torch.equal(keep_largest(torch.ones(3), 0.1), torch.zeros(3))
