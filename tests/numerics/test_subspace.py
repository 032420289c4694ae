"""The filtered search for singular triples, against a full decomposition in float64."""

import pytest
import torch

from loramerge.numerics import subspace as eigenvectors
from loramerge.numerics.subspace import leading
from loramerge.numerics.threads import one_thread

HEIGHT, SIZE, COUNT, RANK = 300, 200, 12, 24


@pytest.fixture(autouse=True)
def _on_one_thread():
    with one_thread():
        yield


@pytest.fixture
def searched(monkeypatch):
    """The number formats in which there was a search, with what came of it."""
    seen, search = [], eigenvectors._search

    def seeing(tall, gram, block, count):
        found, left = search(tall, gram, block, count)
        seen.append((str(gram.dtype).removeprefix("torch."), found is not None))
        return found, left

    monkeypatch.setattr(eigenvectors, "_search", seeing)
    return seen


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near_low_rank(noise, decay=0.0):
    """A matrix of rank 24 and noise on it, in float32, and the row space without the noise."""
    down = random(RANK, SIZE, seed=1)
    up = random(HEIGHT, RANK, seed=2) * torch.exp(-decay * torch.arange(RANK))
    return (up @ down + noise * random(HEIGHT, SIZE, seed=3)).float(), down.mT


def best(matrix):
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (left[:, :COUNT] * values[:COUNT]) @ right[:COUNT], values[:COUNT]


def error(matrix, found):
    """How far the truncated matrix is from the best one."""
    left, values, right = found
    want, _ = best(matrix)
    return float(((left * values) @ right - want).norm() / want.norm())


def assert_triples(matrix, found):
    left, values, right = found
    assert (left.shape, values.shape, right.shape) == ((HEIGHT, COUNT), (COUNT,), (COUNT, SIZE))
    assert {each.dtype for each in found} == {torch.float64}
    one = torch.eye(COUNT, dtype=torch.float64)
    assert torch.allclose(left.mT @ left, one, atol=1e-9)
    assert torch.allclose(right @ right.mT, one, atol=1e-9)
    assert torch.allclose(values, best(matrix)[1], rtol=1e-6)
    assert torch.equal(values, values.sort(descending=True).values)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-2, 0.3, 1.0])
@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("guess", ["good", "none", "useless", "half of it is zero"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_truncated_matrix_is_the_best_one(noise, decay, guess, dtype):
    matrix, space = near_low_rank(noise, decay)
    matrix = matrix.to(dtype)
    space = {
        "good": space,
        "none": None,
        "useless": random(SIZE, RANK, seed=9),
        "half of it is zero": space * (torch.arange(RANK) % 2),
    }[guess]
    found = leading(matrix, COUNT, space)
    assert_triples(matrix, found)
    assert error(matrix, found) <= 2e-7


@pytest.mark.slow
@pytest.mark.parametrize("missing", [1, 4])
@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3, 1e-1])
def test_what_the_guess_misses_is_no_false_proof(noise, decay, missing):
    """The block's own smallest value said nothing of what lies outside of it: errors up to 6e-3 were called proven."""
    for seed in range(4):
        height, size, rank, count = 200 + 70 * seed, 130 + 40 * seed, 10 + 4 * seed, 8 + 2 * seed
        up = random(height, rank, seed=seed) * torch.exp(-decay * torch.arange(rank))
        down = random(rank, size, seed=seed + 10)
        matrix = (up @ down + noise * random(height, size, seed=seed + 20)).float()
        left, values, right = leading(matrix, count, down.mT * (torch.arange(rank) >= missing))
        outer, sizes, inner = torch.linalg.svd(matrix.double(), full_matrices=False)
        want = (outer[:, :count] * sizes[:count]) @ inner[:count]
        assert float(((left * values) @ right - want).norm() / want.norm()) <= 2e-7


@pytest.mark.parametrize("noise", [0.0, 1e-2, 1.0])
@pytest.mark.parametrize("kept", [4, 16, 24])
def test_no_eigenvalue_outside_of_a_block_exceeds_its_bound(noise, kept):
    matrix = near_low_rank(noise)[0].double()
    gram = matrix.mT @ matrix
    block = torch.linalg.qr(torch.cat([torch.linalg.eigh(gram).eigenvectors[:, -kept:], random(SIZE, 8)], 1)).Q
    beyond = torch.eye(SIZE, dtype=torch.float64) - block @ block.mT
    largest = float(torch.linalg.eigvalsh(beyond @ gram @ beyond)[-1])
    found = eigenvectors.largest_outside(gram, block)
    assert largest <= found * (1 + 1e-9) + 1e-9 * float(gram.norm())
    assert found <= 1.2 * largest + 1e-9 * float(gram.norm())


@pytest.mark.parametrize("decay", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0])
@pytest.mark.parametrize("size", [1e-18, 1e-12, 1.0, 1e12, 1e18])
def test_neither_decay_nor_size_costs_digits(decay, size):
    matrix, space = near_low_rank(0.0, decay)
    matrix *= size
    assert error(matrix, leading(matrix, COUNT, space)) <= 2e-7


def test_a_good_guess_is_enough_in_float32(searched, monkeypatch):
    matrix, space = near_low_rank(0.1)
    whole = torch.linalg.eigh

    def small_only(matrix):
        assert len(matrix) < SIZE
        return whole(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", small_only)
    leading(matrix, COUNT, space)
    assert searched == [("float32", True)]


@pytest.mark.parametrize(("decay", "size"), [(0.6, 1.0), (0.1, 1e-16), (0.1, 1e19)])
def test_what_float32_cant_hold_is_searched_in_float64(decay, size, searched):
    matrix, space = near_low_rank(0.0, decay)
    matrix *= size
    assert error(matrix, leading(matrix, COUNT, space)) <= 2e-7
    assert searched == [("float32", False), ("float64", True)]


@pytest.mark.parametrize(("times", "found"), [(5, True), (500, False)])
def test_what_the_guess_lacks_is_found_all_the_same(times, found, searched):
    matrix, space = near_low_rank(0.01)
    outside = torch.linalg.qr(torch.cat([space, random(SIZE, 5, seed=4)], 1)).Q[:, RANK:]
    matrix = (matrix + times * random(HEIGHT, 5, seed=5) @ outside.mT).float()
    assert error(matrix, leading(matrix, COUNT, space)) <= 2e-7
    assert searched[0] == ("float32", found)


def test_without_a_gap_everything_is_decomposed(searched):
    left, right = (torch.linalg.qr(random(size, SIZE, seed=size)).Q for size in (HEIGHT, SIZE))
    matrix = ((left * torch.linspace(1, 1.01, SIZE, dtype=torch.float64)) @ right.mT).float()
    found = leading(matrix, COUNT, random(SIZE, RANK, seed=9))
    assert searched == [("float32", False), ("float64", False)]
    assert_triples(matrix, found)
    assert torch.allclose(found[1], torch.linspace(1, 1.01, SIZE).flip(0)[:COUNT].double(), atol=1e-6)


def test_all_vectors_are_those_of_the_matrix(searched):
    left, right = (torch.linalg.qr(random(size, SIZE, seed=size)).Q for size in (HEIGHT, SIZE))
    matrix = (left * torch.linspace(1, 1.01, SIZE, dtype=torch.float64)) @ right.mT
    found = leading(matrix, COUNT, random(SIZE, RANK, seed=9))
    assert searched == [("float64", False)]
    assert torch.allclose(found[2].mT.abs(), right[:, -COUNT:].flip(1).abs())
    assert torch.allclose(found[0].abs(), left[:, -COUNT:].flip(1).abs())


def test_what_is_not_proven_is_not_taken(monkeypatch, searched):
    matrix, space = near_low_rank(0.3)
    monkeypatch.setattr(eigenvectors, "_proven", lambda *_: None)
    assert error(matrix, leading(matrix, COUNT, space)) <= 1e-12
    assert searched == [("float32", False), ("float64", False)]


def test_zeros_have_any_vectors():
    left, values, right = leading(torch.zeros(HEIGHT, SIZE), COUNT, random(SIZE, RANK))
    assert torch.allclose(right @ right.mT, torch.eye(COUNT, dtype=torch.float64))
    assert not values.any()
    assert left.isfinite().all()
