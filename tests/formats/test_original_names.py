"""Pairs of the parts of a fused layer become one pair, and that is their deltas: in float64, for any rows and ranks."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from loramerge.adapter import LowRank
from loramerge.families.layout import Layout, Rule
from loramerge.formats.original_names import in_original_names

WIDTH = 3
PARTS = st.lists(st.integers(1, 4), min_size=2, max_size=4)


def laid_out(heights, turns):
    """Parts whose rows, `height` of each in every turn, are those of one layer."""
    shapes = {f"part_{number}": (height * turns, WIDTH) for number, height in enumerate(heights)}
    return Layout((Rule("whole", tuple(shapes), turns=turns),), shapes), shapes


def by_definition(deltas, heights, turns):
    """Turn by turn the next rows of each part."""
    return torch.cat(
        [
            deltas[f"part_{number}"][turn * height : (turn + 1) * height]
            for turn in range(turns)
            for number, height in enumerate(heights)
        ]
    )


def numbers(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(heights=PARTS, turns=st.integers(1, 4), rank=st.integers(1, 3), scale=st.sampled_from([1.0, 0.5, -2.0]))
def test_with_one_down_the_rank_stays(heights, turns, rank, scale):
    layout, shapes = laid_out(heights, turns)
    down = numbers(rank, WIDTH, seed=0)
    pairs = {name: LowRank(down, numbers(out, rank, seed=out), scale) for name, (out, _) in shapes.items()}
    ((name, whole),) = in_original_names(layout, pairs)
    assert (name, whole.rank, whole.shape) == ("whole", rank, (sum(heights) * turns, WIDTH))
    assert whole.down.equal(down)
    ups = {part: pair.up for part, pair in pairs.items()}
    assert whole.up.equal(by_definition(ups, heights, turns))


@given(heights=PARTS, turns=st.integers(1, 4), lacking=st.integers(0, 3), scale=st.sampled_from([1.0, 0.25, -2.0]))
def test_with_several_downs_the_ranks_add_up(heights, turns, lacking, scale):
    """Rows of a part that nothing touches are zeros."""
    layout, shapes = laid_out(heights, turns)
    pairs = {
        name: LowRank(numbers(1 + number, WIDTH, seed=number), numbers(out, 1 + number, seed=9 + number), scale**number)
        for number, (name, (out, _)) in enumerate(shapes.items())
        if number != lacking
    }
    ((_, whole),) = in_original_names(layout, pairs)
    deltas = {
        name: pairs[name].delta() if name in pairs else torch.zeros(shape, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    expected = by_definition(deltas, heights, turns)
    assert whole.rank == sum(pair.rank for pair in pairs.values()) or len(pairs) == 1
    assert (whole.delta() - expected).norm() <= 1e-6 * expected.norm()
