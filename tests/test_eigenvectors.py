"""The filtered search for eigenvectors, against all of them."""

import pytest
import torch

from loramerge import eigenvectors
from loramerge.eigenvectors import leading
from loramerge.threads import one_thread

SIZE, COUNT = 200, 12


@pytest.fixture(autouse=True)
def _on_one_thread():
    with one_thread():
        yield


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near_low_rank(noise, decay=0.0):
    """A matrix of rank 24 and noise on it, and the row space without the noise."""
    down = random(24, SIZE, seed=1)
    up = random(300, 24, seed=2) * torch.exp(-decay * torch.arange(24))
    return up @ down + noise * random(300, SIZE, seed=3), down.mT


def error(matrix, vectors):
    """How far the truncated matrix is from the best one."""
    best = torch.linalg.eigh(matrix.mT @ matrix).eigenvectors[:, -COUNT:]
    want = matrix @ best @ best.mT
    return float((matrix @ vectors @ vectors.mT - want).norm() / want.norm())


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-2, 0.3, 1.0])
@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("guess", ["good", "none", "useless", "half of it is zero"])
def test_the_truncated_matrix_is_the_best_one(noise, decay, guess):
    matrix, space = near_low_rank(noise, decay)
    space = {
        "good": space,
        "none": None,
        "useless": random(SIZE, 24, seed=9),
        "half of it is zero": space * (torch.arange(24) % 2),
    }[guess]
    vectors = leading(matrix.mT @ matrix, COUNT, space)
    assert vectors.shape == (SIZE, COUNT)
    assert torch.allclose(vectors.mT @ vectors, torch.eye(COUNT, dtype=torch.float64), atol=1e-9)
    assert error(matrix, vectors) <= 2e-7


def test_a_good_guess_saves_the_full_decomposition(monkeypatch):
    matrix, space = near_low_rank(0.1)
    gram = matrix.mT @ matrix
    whole = torch.linalg.eigh

    def small_only(matrix):
        assert len(matrix) < SIZE
        return whole(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", small_only)
    leading(gram, COUNT, space)


def test_what_the_guess_lacks_is_found_all_the_same():
    matrix, space = near_low_rank(0.01)
    outside = torch.linalg.qr(torch.cat([space, random(SIZE, 5, seed=4)], 1)).Q[:, 24:]
    matrix = matrix + 500 * random(300, 5, seed=5) @ outside.mT
    assert error(matrix, leading(matrix.mT @ matrix, COUNT, space)) <= 2e-7


def test_without_a_gap_everything_is_decomposed():
    rotation = torch.linalg.qr(random(SIZE, SIZE)).Q
    matrix = rotation * torch.linspace(1, 1.01, SIZE, dtype=torch.float64)
    gram = matrix @ matrix.mT
    assert eigenvectors._filtered(gram, COUNT, random(SIZE, 24, seed=9)) is None
    assert torch.allclose(leading(gram, COUNT, random(SIZE, 24, seed=9)).abs(), rotation[:, -COUNT:].flip(1).abs())


def test_zeros_have_any_eigenvectors():
    vectors = leading(torch.zeros(SIZE, SIZE, dtype=torch.float64), COUNT, random(SIZE, 24))
    assert torch.allclose(vectors.mT @ vectors, torch.eye(COUNT, dtype=torch.float64))
