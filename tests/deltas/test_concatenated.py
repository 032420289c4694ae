"""Pairs side by side, made anew each time: what the sum of their deltas is, of every part of it."""

import pytest
import torch

from loramerge.adapter import LowRank
from loramerge.deltas.concatenated import Concatenated

FACTORS = (0.7, -1.3)


def pairs(kernel=()):
    generator = torch.Generator().manual_seed(0)
    return [
        LowRank(
            torch.randn(rank, 6, *kernel, generator=generator),
            torch.randn(8, rank, *(1 for _ in kernel), generator=generator),
            1.0,
        )
        for rank in (2, 3)
    ]


def delta(found, factors=FACTORS):
    return sum(pair.delta() * factor for pair, factor in zip(found, factors, strict=True))


@pytest.mark.parametrize("kernel", [(), (3, 3)])
@pytest.mark.parametrize(
    "change",
    [
        lambda pair: pair,
        lambda pair: pair.times(-0.5),
        lambda pair: pair.rows([(1, 3), (6, 8)]),
        lambda pair: pair.loaded(),
    ],
    ids=["itself", "times", "rows", "loaded"],
)
def test_it_is_the_weighted_sum(kernel, change):
    given = pairs(kernel)
    made = change(Concatenated(given, FACTORS))
    expected = delta([change(pair) for pair in given])
    assert made.rank == 5
    assert made.shape == tuple(expected.shape)
    assert made.number_formats == {"float32"}
    torch.testing.assert_close(made.delta(), expected, rtol=1e-6, atol=1e-6)


def test_a_linear_layer_is_a_convolution_of_one_element():
    made = Concatenated(pairs(), FACTORS).shaped((8, 6, 1, 1))
    torch.testing.assert_close(made.delta(), delta(pairs())[..., None, None], rtol=1e-6, atol=1e-6)


def test_the_downs_are_rounded_once():
    first, second = pairs()
    exact = torch.cat([first.down.double() * FACTORS[0], second.down.double() * FACTORS[1]])
    assert Concatenated([first, second], FACTORS).down.equal(exact.float())
