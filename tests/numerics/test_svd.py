"""Decompositions against torch's own of the dense matrix in float64."""

import pytest
import torch

from loramerge.numerics.svd import of_matrix, of_product
from loramerge.numerics.threads import one_thread

SHAPES = [(60, 40, 6), (40, 60, 6), (30, 30, 12), (5, 50, 9), (50, 5, 9), (1, 7, 1)]


def factors(out, inner, rank, decay=0.0):
    generator = torch.Generator().manual_seed(out * inner)
    up = torch.randn(out, rank, generator=generator, dtype=torch.float64)
    down = torch.randn(rank, inner, generator=generator, dtype=torch.float64)
    return up * torch.exp(-decay * torch.arange(rank)), down


def best(matrix, rank):
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank], values


def error(got, want):
    return float((got - want).norm() / want.norm())


@pytest.fixture(autouse=True)
def _on_one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_product_is_decomposed_without_being_formed(shape, decay):
    up, down = factors(*shape, decay)
    found = of_product(up, down)
    for rank in range(1, min(shape) + 1):
        want, values = best(up @ down, rank)
        left, right = found.truncated(rank)
        assert error(left @ right, want) <= 1e-12
        assert torch.allclose(found.values[:rank], values[:rank])
        assert found.retained(rank) == pytest.approx(float(values[:rank].square().sum() / values.square().sum()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_dense_matrix_is_decomposed_by_its_smaller_gram_matrix(shape, decay):
    up, down = factors(*shape, decay)
    noise = 1e-3 * torch.randn(shape[:2], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = up @ down + noise
    for rank in {1, min(shape), min(shape[:2])}:
        want, values = best(matrix, rank)
        found = of_matrix(matrix, rank)
        left, right = found.truncated(rank)
        assert error(left @ right, want) <= 1e-10
        assert found.retained(rank) == pytest.approx(float(values[:rank].square().sum() / values.square().sum()))
    assert len(of_matrix(matrix).values) == min(shape[:2])


@pytest.mark.parametrize("change", [1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_what_nearly_cancels_keeps_its_digits(change):
    up, down = (each.float() for each in factors(60, 40, 6))
    other = up + change * torch.randn(up.shape, generator=torch.Generator().manual_seed(1))
    other_down = down + change * torch.randn(down.shape, generator=torch.Generator().manual_seed(2))
    stacked_up, stacked_down = torch.cat([other, -up], 1).double(), torch.cat([other_down, down]).double()
    want = other.double() @ other_down.double() - up.double() @ down.double()
    # Rounding the factors alone, in their last digit, changes the difference by so much: nobody can be nearer.
    rounding = torch.finfo(torch.float64).eps * float(stacked_up.norm() * stacked_down.norm() / want.norm())
    for rank in (3, 12):
        left, right = of_product(stacked_up, stacked_down, rank).truncated(rank)
        assert error(left @ right, best(want, rank)[0]) <= max(1e-11, 4 * rounding)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8])
def test_one_much_larger_than_the_other_hides_nothing(scale):
    up, down = factors(60, 40, 6)
    other_up, other_down = factors(61, 41, 6)
    stacked_up, stacked_down = torch.cat([up * scale, other_up[:60]], 1), torch.cat([down, other_down[:, :40]])
    want = scale * up @ down + other_up[:60] @ other_down[:, :40]
    left, right = of_product(stacked_up, stacked_down).truncated(12)
    assert error(left @ right, want) <= 1e-12
    values = torch.linalg.svd(want).S
    assert torch.allclose((left[:, 6:] @ right[6:]).norm(), values[6:12].norm(), rtol=1e-6)


def test_the_largest_entry_of_each_left_vector_is_positive():
    up, down = factors(60, 40, 6)
    for found in (of_product(up, down), of_matrix(up @ down, 6), of_matrix((up @ down).T, 6)):
        assert (found.left.gather(0, found.left.abs().argmax(0, keepdim=True)) > 0).all()
        assert torch.allclose(found.left.T @ found.left, torch.eye(6, dtype=torch.float64), atol=1e-9)


def test_zeros_stay_zeros():
    for found in (of_product(torch.zeros(9, 3).double(), torch.zeros(3, 8).double()), of_matrix(torch.zeros(9, 8), 3)):
        up, down = found.truncated(3)
        assert not (up @ down).any()
        assert up.isfinite().all()
        assert down.isfinite().all()
        assert found.retained(3) == 1
        assert found.rank_for(0.9) == 1


def test_a_rank_beyond_the_triples_is_filled_with_zeros():
    up, down = factors(60, 40, 6)
    found = of_product(up, down)
    wide_up, wide_down = found.truncated(9)
    assert wide_up.shape == (60, 9)
    assert wide_down.shape == (9, 40)
    assert not wide_up[:, 6:].any()
    assert error(wide_up @ wide_down, up @ down) <= 1e-12


def test_the_smallest_rank_that_keeps_enough():
    up, down = torch.eye(5).double(), torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5, 0.0])).double()
    found = of_product(up, down)  # energies 9, 4, 1, 0.25, 0 of 14.25
    wanted = {0.1: 1, 9 / 14.25: 1, 0.7: 2, 13 / 14.25: 2, 0.95: 3, 14 / 14.25: 3, 0.999: 4, 1.0: 4}
    assert {energy: found.rank_for(energy) for energy in wanted} == wanted
