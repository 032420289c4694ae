"""The distance of what is found against the least one, which LAPACK's singular values in float64 give."""

from __future__ import annotations

import math

import pytest
import torch

from loramerge.numerics import nearest as module
from loramerge.numerics.gram import distance_of
from loramerge.numerics.nearest import SAME, TOLERANCE, nearest, nearest_by_energy
from loramerge.numerics.threads import one_thread

RANK = 24
ROOM = 1e-6
"""Of rounding, where a distance is compared with the least one."""


def orthonormal(rows, columns, generator):
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64)).Q


def with_values(shape, values):
    generator = torch.Generator().manual_seed(0)
    values = torch.as_tensor(values, dtype=torch.float64)
    left, right = (orthonormal(size, len(values), generator) for size in shape)
    return (left * values) @ right.T


def noise(shape):
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return found / math.prod(shape) ** 0.5


def steps(count):
    return torch.arange(1, count + 1, dtype=torch.float64)


SPECTRA = {
    "noise": noise,
    "low rank": lambda shape: with_values(shape, torch.ones(12)),
    "low rank and noise that float16 makes": lambda shape: with_values(shape, 1 / steps(12)) + 1e-2 * noise(shape),
    "low rank and noise that float32 makes": lambda shape: with_values(shape, 1 / steps(12)) + 1e-5 * noise(shape),
    "as much noise": lambda shape: with_values(shape, torch.logspace(0, -1, 60)) + noise(shape),
    "roots": lambda shape: with_values(shape, steps(min(shape)) ** -0.5),
    "harmonic": lambda shape: with_values(shape, 1 / steps(min(shape))),
    "exponential": lambda shape: with_values(shape, 10 ** (-steps(min(shape)) / 20)),
    "steep": lambda shape: with_values(shape, 10 ** (-steps(min(shape)) / 4)),
    "a gap in front of the rank": lambda shape: with_values(shape, torch.where(steps(min(shape)) < RANK, 1.0, 0.999)),
    "a gap behind the rank": lambda shape: with_values(shape, torch.where(steps(min(shape)) <= RANK + 3, 1.0, 1e-3)),
    "one": lambda shape: with_values(shape, [1.0]),
    "one and little else": lambda shape: with_values(shape, [1.0]) + 1e-6 * noise(shape),
    "tiny": lambda shape: 1e-30 * noise(shape),
    "huge": lambda shape: 1e25 * noise(shape),
}


def product(found):
    return (found.left * found.values) @ found.right


@pytest.mark.parametrize("shape", [(480, 320), (300, 700)], ids=["tall", "wide"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_nothing_is_nearer_but_for_the_tolerance(spectrum, shape):
    matrix = SPECTRA[spectrum](shape).float()
    values = torch.linalg.svdvals(matrix.double())
    least, norm = float(values[RANK:].norm()), float(values.norm())
    with one_thread():
        found = nearest(matrix, RANK)
    assert len(found.values) <= RANK
    far = float((matrix.double() - product(found)).norm())
    assert far <= max(least * (1 + TOLERANCE), 2 * SAME * norm)
    assert far == pytest.approx(distance_of(matrix, found.left * found.values, found.right), rel=1e-6, abs=ROOM * norm)
    assert found.energy == pytest.approx(norm**2, rel=1e-6)
    assert bool((found.values[:-1] >= found.values[1:]).all())
    for vectors in (found.left.T, found.right):
        assert torch.allclose(vectors @ vectors.T, torch.eye(len(vectors), dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("rank", [1, 12, 40, 319, 320, 1000])
def test_every_rank_is_the_nearest(rank):
    matrix = SPECTRA["as much noise"]((480, 320)).float()
    values = torch.linalg.svdvals(matrix.double())
    with one_thread():
        found = nearest(matrix, rank)
    least = float(values[rank:].norm())
    assert float((matrix.double() - product(found)).norm()) <= max(least * (1 + TOLERANCE), ROOM * float(values.norm()))


def test_small_matrices_and_those_of_zeros_beside_one_row():
    matrix = torch.zeros(30, 20)
    matrix[3] = torch.arange(20.0)
    with one_thread():
        found = nearest(matrix, 8)
    assert len(found.values) == 1
    assert torch.allclose(product(found).float(), matrix, atol=1e-5)


@pytest.mark.parametrize("spectrum", ["low rank", "as much noise", "harmonic", "noise"])
@pytest.mark.parametrize("energy", [0.5, 0.95, 1.0])
def test_a_share_of_the_energy_takes_as_few_triples_as_hold_it(spectrum, energy):
    matrix = SPECTRA[spectrum]((480, 320)).float()
    squares = torch.linalg.svdvals(matrix.double()).square()
    fewest = int((squares.cumsum(0) < energy * squares.sum() * (1 - 1e-9)).sum()) + 1
    with one_thread():
        found = nearest_by_energy(matrix, energy)
        limited = nearest_by_energy(matrix, energy, 10)
    if energy < 1:
        assert fewest <= len(found.values) <= fewest + 1
    assert float(found.values.square().sum()) >= energy * found.energy * (1 - ROOM)
    assert len(limited.values) == min(10, len(found.values))


def test_what_no_filter_parts_is_decomposed_as_a_whole(monkeypatch):
    monkeypatch.setattr(module, "_BUDGET", 3)
    matrix = noise((480, 320)).float()
    values = torch.linalg.svdvals(matrix.double())
    with one_thread():
        found = nearest(matrix, RANK)
    assert torch.allclose(found.values, values[:RANK], rtol=1e-6)


def test_threads_do_not_change_it():
    matrix = SPECTRA["as much noise"]((640, 400)).float()
    found = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        with one_thread():
            found.append(nearest(matrix, RANK))
    assert all(torch.equal(found[0].left, other.left) and torch.equal(found[0].right, other.right) for other in found)
