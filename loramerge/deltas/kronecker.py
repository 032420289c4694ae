"""LoKr: a Kronecker product (Yeh et al., LyCORIS, arXiv:2309.14859; lycoris/functional/lokr.py).

ΔW = W₁⊗W₂, where each of the two is a matrix or a product of two, and W₂ has a convolution's kernel. With W₁ = P·Q and
W₂ = U·V that is (P⊗U)·(Q⊗V), a low-rank pair. A matrix that is not factored is itself times the identity.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loramerge.deltas.computed import ComputedLowRank
from loramerge.deltas.dense import Dense
from loramerge.deltas.hadamard import contracted
from loramerge.deltas.kind import Kind, Scale, ShapeError, Shapes, Spans, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank

_CORE = "lokr_t2"


class Kronecker(Kind):
    """`lokr_w1`, or `lokr_w1_a` and `lokr_w1_b`; the same for `lokr_w2`, with `lokr_t2` for a kernel."""

    title = "LoKr"
    roles = tuple(((f"lokr_w{number}",), (f"lokr_w{number}_a", f"lokr_w{number}_b")) for number in (1, 2))
    optional = frozenset({_CORE})

    @classmethod
    def shape(cls, shapes: Shapes) -> tuple[int, ...]:
        """A kernel lies in the columns where the file has it there."""
        for number in (1, 2):
            whole = f"lokr_w{number}"
            if whole in shapes and (others := {f"{whole}_a", f"{whole}_b"} & shapes.keys()):
                raise ShapeError(f"{{{whole}}} and {{{min(others)}}} say the same twice")
        if _CORE in shapes and "lokr_w2" in shapes:
            raise ShapeError(f"{{lokr_w2}} is whole, and {{{_CORE}}} is a part of a factored one")
        one, two = _shape_of(shapes, 1), _shape_of(shapes, 2)
        if len(one) != 2:  # noqa: PLR2004  # a matrix
            raise ShapeError("{lokr_w1} should be a matrix: a kernel is in the second one")
        return one[0] * two[0], one[1] * two[1], *two[2:]

    @classmethod
    def made(cls, tensors: Tensors, spans: Spans, scale: Scale) -> LowRank:
        """Its factors; the delta itself where they would be no smaller."""
        shapes = {role: tensor.shape for role, tensor in tensors.items()}
        shape = cls.shape(shapes)
        rank = math.prod(_rank(shapes, number) for number in (1, 2))
        formats = frozenset().union(*(each.number_formats for each in tensors.values()))
        trained = next((shapes[role][0] for role in ("lokr_w2_b", "lokr_w1_b") if role in shapes), None)

        def factors() -> tuple[Tensor, Tensor]:
            import torch

            (left, right), (up, down) = (_factored(tensors, shapes, number) for number in (1, 2))
            return torch.kron(right, down).float(), torch.kron(left, up).float()

        def matrix() -> Tensor:
            import torch

            one, two = (_matrix(tensors, number) for number in (1, 2))
            return torch.kron(one, two).float().reshape(shape)

        found: LowRank
        if rank >= min(shape[0], math.prod(shape[1:])):
            found = Dense(matrix, shape, scale(trained), kind=cls.title, trained_rank=trained, number_formats=formats)
        else:
            found = ComputedLowRank(
                factors, shape, rank, scale(trained), kind=cls.title, trained_rank=trained, number_formats=formats
            )
        return found.rows(spans) if spans else found


def _shape_of(shapes: Shapes, number: int) -> tuple[int, ...]:
    """Shape of W₁ or W₂."""
    whole = f"lokr_w{number}"
    if whole in shapes:
        if len(shapes[whole]) < 2:  # noqa: PLR2004  # a matrix
            raise ShapeError(f"{{{whole}}} should be a matrix")
        return shapes[whole]
    left, right, core = shapes[f"{whole}_a"], shapes[f"{whole}_b"], shapes.get(_CORE) if number > 1 else None
    shown = f"{{{whole}_a}} and {{{whole}_b}}"
    if len(left) != 2 or len(right) < 2 or not right[0]:  # noqa: PLR2004  # matrices
        raise ShapeError(f"{shown} should be out×rank and rank×in")
    if core is None:
        if left[1] != right[0]:
            raise ShapeError(f"{shown} are no pair: they should be out×rank and rank×in")
        return left[0], *right[1:]
    if len(core) <= 2 or core[:2] != (left[0], right[0]) or len(right) != 2:  # noqa: PLR2004  # a kernel
        raise ShapeError(f"{shown} do not go with {{{_CORE}}}, which should be rank×rank and a kernel")
    return left[1], right[1], *core[2:]


def _rank(shapes: Shapes, number: int) -> int:
    """Of the factors of W₁ or W₂: the identity has that of the smaller side."""
    whole = f"lokr_w{number}"
    if whole in shapes:
        return min(shapes[whole][0], math.prod(shapes[whole][1:]))
    return shapes[_CORE][0] if number > 1 and _CORE in shapes else shapes[f"{whole}_b"][0]


def _pair(tensors: Tensors, number: int) -> tuple[Tensor, Tensor] | None:
    """The factors that the file has, in float64, as matrices."""
    whole = f"lokr_w{number}"
    if whole in tensors:
        return None
    left, right = (tensors[f"{whole}_{half}"].load().double() for half in "ab")
    if number > 1 and (core := tensors.get(_CORE)) is not None:
        return contracted(core.load().double(), left, right)
    return left, right.flatten(1)


def _matrix(tensors: Tensors, number: int) -> Tensor:
    """W₁ or W₂ in float64; a kernel lies in the columns."""
    pair = _pair(tensors, number)
    return tensors[f"lokr_w{number}"].load().double().flatten(1) if pair is None else pair[0] @ pair[1]


def _factored(tensors: Tensors, shapes: Shapes, number: int) -> tuple[Tensor, Tensor]:
    """Two factors of W₁ or W₂ in float64: those of the file, or itself and the identity."""
    import torch

    pair = _pair(tensors, number)
    if pair is not None:
        return pair
    matrix, rank = _matrix(tensors, number), _rank(shapes, number)
    identity = torch.eye(rank, dtype=matrix.dtype)
    return (identity, matrix) if rank == len(matrix) else (matrix, identity)
