"""LoHa: the Hadamard product of two low-rank matrices (Hyeon-Woo et al., FedPara, arXiv:2108.06098).

ΔW = (A₁B₁)∘(A₂B₂), of ranks r. Its rows are sums of r² products, so it is itself a low-rank matrix of rank r²:
up = A₁⊙A₂ and down = B₁⊙B₂, every column of one times every column of the other, every row times every row. For a
convolution LyCORIS has a core for each side (`hada_t1`, `hada_t2`; lycoris/functional/loha.py), which is contracted
into Bᵢ first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loramerge.deltas.computed import ComputedLowRank
from loramerge.deltas.dense import Dense
from loramerge.deltas.kind import Kind, Scale, ShapeError, Shapes, Spans, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank

_A_SIDE = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_CORES = ("hada_t1", "hada_t2")


class Hadamard(Kind):
    """`hada_w1_a`, `hada_w1_b`, `hada_w2_a`, `hada_w2_b`; with `hada_t1` and `hada_t2` for a kernel."""

    title = "LoHa"
    roles = tuple(((role,),) for role in _A_SIDE)
    optional = frozenset(_CORES)

    @classmethod
    def missing(cls, roles: frozenset[str]) -> str | None:
        """Also the core of the one side where that of the other is there."""
        absent = [role for role in _CORES if role not in roles]
        return super().missing(roles) or (absent[0] if len(absent) == 1 else None)

    @classmethod
    def shape(cls, shapes: Shapes) -> tuple[int, ...]:
        """Without cores a convolution's kernel lies in the columns, as the file has it."""
        sides = [_side_shape(shapes, number) for number in (1, 2)]
        if sides[0] != sides[1]:
            raise ShapeError("{hada_w1_a}·{hada_w1_b} and {hada_w2_a}·{hada_w2_b} differ in shape")
        return sides[0]

    @classmethod
    def made(cls, tensors: Tensors, spans: Spans, scale: Scale) -> LowRank:
        """Its factors; the delta itself where they would be no smaller."""
        shapes = {role: tensor.shape for role, tensor in tensors.items()}
        shape = cls.shape(shapes)
        ranks = [shapes[f"hada_w{number}_b"][0] for number in (1, 2)]
        formats = frozenset().union(*(each.number_formats for each in tensors.values()))

        def sides() -> list[tuple[Tensor, Tensor]]:
            return [_side(tensors, number) for number in (1, 2)]

        def factors() -> tuple[Tensor, Tensor]:
            (a_one, b_one), (a_two, b_two) = sides()
            up = (a_one[:, :, None] * a_two[:, None, :]).flatten(1)
            down = (b_one[:, None, :] * b_two[None, :, :]).flatten(0, 1)
            return down.float(), up.float()

        def matrix() -> Tensor:
            (a_one, b_one), (a_two, b_two) = sides()
            return ((a_one @ b_one) * (a_two @ b_two)).float().reshape(shape)

        found: LowRank
        if math.prod(ranks) >= min(shape[0], math.prod(shape[1:])):
            found = Dense(matrix, shape, scale(ranks[0]), kind=cls.title, trained_rank=ranks[0], number_formats=formats)
        else:
            found = ComputedLowRank(
                factors,
                shape,
                math.prod(ranks),
                scale(ranks[0]),
                kind=cls.title,
                trained_rank=ranks[0],
                number_formats=formats,
            )
        return found.rows(spans) if spans else found


def _side_shape(shapes: Shapes, number: int) -> tuple[int, ...]:
    names = f"hada_w{number}_a", f"hada_w{number}_b", f"hada_t{number}"
    left, right, core = shapes[names[0]], shapes[names[1]], shapes.get(names[2])
    shown = f"{{{names[0]}}} and {{{names[1]}}}"
    if len(left) != 2 or len(right) != 2 or not right[0]:  # noqa: PLR2004  # matrices
        raise ShapeError(f"{shown} should be matrices, out×rank and rank×in")
    if core is None:
        if left[1] != right[0]:
            raise ShapeError(f"{shown} are no pair: they should be out×rank and rank×in")
        return left[0], right[1]
    if len(core) <= 2 or core[:2] != (left[0], right[0]):  # noqa: PLR2004  # a kernel
        raise ShapeError(f"{shown} do not go with {{{names[2]}}}, which should be rank×rank and a kernel")
    return left[1], right[1], *core[2:]


def _side(tensors: Tensors, number: int) -> tuple[Tensor, Tensor]:
    """(A, B) of one side, out×r and r×(in·kh·kw), in float64."""
    left, right = (tensors[f"hada_w{number}_{half}"].load().double() for half in "ab")
    core = tensors.get(f"hada_t{number}")
    return (left, right) if core is None else contracted(core.load().double(), left, right)


def contracted(core: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """A Tucker decomposition as two factors, as LyCORIS has it: Σᵢⱼ coreᵢⱼ.. leftᵢₒ rightⱼₙ.

    Args:
        core: r×s×kh×kw.
        left: r×out.
        right: s×in.

    Returns:
        out×r and r×(in·kh·kw).
    """
    import torch

    return left.T.contiguous(), torch.einsum("ij...,jn->in...", core, right).flatten(1)
