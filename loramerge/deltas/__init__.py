"""What adapters add to a weight: one file for each kind, listed here."""

from __future__ import annotations

from loramerge.deltas.dense import FullDifference
from loramerge.deltas.hadamard import Hadamard
from loramerge.deltas.kind import Kind, ShapeError, Shapes
from loramerge.deltas.kronecker import Kronecker
from loramerge.deltas.low_rank import LowRankKind
from loramerge.deltas.parameter import ParameterDifference

KINDS: tuple[type[Kind], ...] = (LowRankKind, Hadamard, Kronecker, FullDifference, ParameterDifference)
"""Every kind of adapter that is read."""


def kinds_of(roles: frozenset[str]) -> tuple[type[Kind], ...]:
    """The kinds that have a tensor of any of these roles."""
    return tuple(kind for kind in KINDS if kind.all_roles() & roles)


def shape_of(shapes: Shapes) -> tuple[int, ...] | None:
    """Shape of the delta that tensors of one module stand for; None where they are no one kind, or not whole.

    Args:
        shapes: Of the tensors, by their roles.
    """
    roles = frozenset(shapes)
    kinds = kinds_of(roles)
    if len(kinds) != 1 or kinds[0].missing(roles):
        return None
    try:
        return kinds[0].shape(shapes)
    except ShapeError:
        return None
