"""The merges of several tensors, against PEFT's functions."""

import pytest
import torch

from loramerge.numerics.task_arithmetic import Thinning, elected_mean, weighted_sum

SHAPES = [(1,), (3, 50), (70_000,), (8, 4, 3, 3)]


def tensors(count, shape):
    generator = torch.Generator().manual_seed(count)
    found = [torch.randn(shape, generator=generator) for _ in range(count)]
    for each in found:  # as pruning leaves them
        each[torch.rand(shape, generator=generator) < 0.4] = 0
    return found, [0.7, -0.8, 1.3, 0.1, -0.4][:count]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_weighted_sum_is_pefts_to_the_bit(count, shape):
    from peft.utils import merge_utils

    given, weights = tensors(count, shape)
    assert torch.equal(weighted_sum(given, weights), merge_utils.task_arithmetic(given, torch.tensor(weights)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("majority", ["total", "frequency"])
def test_the_elected_mean_is_pefts_to_the_bit(count, shape, majority):
    from peft.utils import merge_utils

    given, weights = tensors(count, shape)
    stacked = torch.stack(given)
    mask = merge_utils.calculate_majority_sign_mask(stacked, majority)
    weighted = stacked * merge_utils.reshape_weight_task_tensors(stacked, torch.tensor(weights))
    assert torch.equal(elected_mean(given, weights, majority), merge_utils.disjoint_merge(weighted, mask))


def test_equal_terms_of_opposite_weight_cancel():
    (one,), _ = tensors(1, (1000,))
    assert not weighted_sum([one, one], [0.7, -0.7]).any()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("function", ["dare_linear", "dare_ties"])
def test_what_is_kept_is_rescaled_as_peft_does_it(count, function, monkeypatch):
    from peft.utils import merge_utils

    given, weights = tensors(count, (3, 20_000))
    generator = torch.Generator().manual_seed(0)
    masks = [torch.rand(given[0].shape, generator=generator) < 0.3 for _ in given]
    drawn = iter(masks)
    monkeypatch.setattr(torch, "bernoulli", lambda like: next(drawn).to(like.dtype))
    want = getattr(merge_utils, function)(given, torch.tensor(weights), 0.3)
    thinning = Thinning(masks, 0.3)
    ours = {"dare_linear": lambda: weighted_sum(given, weights, thinning),
            "dare_ties": lambda: elected_mean(given, weights, "total", thinning)}[function]()  # fmt: skip
    assert torch.equal(ours, want)


def test_what_goes_in_is_left_alone():
    given, weights = tensors(3, (100,))
    before = [each.clone() for each in given]
    weighted_sum(given, weights)
    elected_mean(given, weights, "total")
    assert all(map(torch.equal, given, before))
