"""Coordinates that several low-rank deltas of one module share, so that what is combined value by value is comparable.

`core` and `knots` hold each delta whole: what is added up in them is the sum of the deltas. `ctm` has room for a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from loramerge.adapter import balanced
from loramerge.numerics.svd import Decomposition, signs_of, with_signs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from loramerge.adapter import LowRank

SpaceName = Literal["core", "knots", "ctm"]
_STEPS = 1000
_STILL = 1e-11  # by how much a subspace may turn in a step that is the last one


@dataclass(frozen=True)
class Space:
    """Deltas as `left @ coordinates @ right`, all in float64.

    Attributes:
        left: out×k, orthonormal columns.
        coordinates: Of each delta, k×l.
        right: l×in, orthonormal rows; None where the coordinates are k×in already.
    """

    left: Tensor
    coordinates: tuple[Tensor, ...]
    right: Tensor | None

    def factors(self, combined: Tensor) -> tuple[Tensor, Tensor]:
        """(up, down) of what has these coordinates; the rank is the smaller of k and l."""
        if self.right is None:
            return self.left, combined
        if len(self.right) <= self.left.shape[1]:
            return self.left @ combined, self.right
        return self.left, combined @ self.right

    def back(self, found: Decomposition) -> Decomposition:
        """The decomposition of a delta, from that of its coordinates."""
        right = found.right if self.right is None else found.right @ self.right
        return with_signs(self.left @ found.left, found.values, right, found.energy)


def core_space(pairs: Sequence[LowRank], device: str | torch.device | None = None, rank: int | None = None) -> Space:
    """The core space (Panariello et al., Accurate and efficient model merging in core space, arXiv:2509.17786).

    The left singular vectors of all `up`s side by side and the right singular vectors of all `down`s one below the
    other are the bases. Of a scale, either factor takes the root.

    Args:
        pairs: Of one module, in memory, with factors of their own.
        device: Where it is computed.
        rank: Has no part in it.

    Returns:
        A space with k = min(out, Σ ranks) and l = min(in, Σ ranks).
    """
    import torch

    del rank
    factors = [_factors(pair, device) for pair in pairs]
    left = _singular_vectors(torch.cat([up for up, _ in factors], 1))
    right = _singular_vectors(torch.cat([down for _, down in factors]).mT).mT
    return Space(left, tuple((left.mT @ up) @ (down @ right.mT) for up, down in factors), right)


def knots_space(pairs: Sequence[LowRank], device: str | torch.device | None = None, rank: int | None = None) -> Space:
    """KnOTS (Stoica et al., Model merging with SVD to tie the knots, arXiv:2410.19735).

    The deltas side by side are U·Σ·[V₁ … Vₙ]; Σ·Vᵢ are the coordinates, on the basis U. The decomposition is that of a
    small matrix, as each delta is the product of thin ones.

    Args:
        pairs: Of one module, in memory, with factors of their own.
        device: Where it is computed.
        rank: Has no part in it.

    Returns:
        A space with k = min(out, Σ ranks), whose coordinates are k×in.
    """
    import torch

    del rank
    factors = [_factors(pair, device) for pair in pairs]
    basis, mix = torch.linalg.qr(torch.cat([up for up, _ in factors], 1))
    parts = torch.split(mix, [pair.rank for pair in pairs], 1)
    inner = [torch.linalg.qr(down.mT) for _, down in factors]
    small = torch.cat([part @ core.mT for part, (_, core) in zip(parts, inner, strict=True)], 1)
    turn, values, rows = torch.linalg.svd(small, full_matrices=False)
    shares = torch.split(values[:, None] * rows, [len(core) for _, core in inner], 1)
    left = basis @ turn
    signs = signs_of(left)
    coordinates = tuple(
        (share * signs[:, None]) @ columns.mT for share, (columns, _) in zip(shares, inner, strict=True)
    )
    return Space(left * signs, coordinates, None)


def ctm_space(pairs: Sequence[LowRank], device: str | torch.device | None = None, rank: int | None = None) -> Space:
    """Compress then merge (He et al., From multiple LoRAs into one low-rank adapter, arXiv:2606.03723).

    The two subspaces of a rank that hold most of all deltas together, each made as long as the others: a partial
    Tucker decomposition of the stack of cores, by alternating eigenproblems from its singular vectors on (De Lathauwer,
    De Moor and Vandewalle, SIAM Journal on Matrix Analysis 21, 2000).

    Args:
        pairs: Of one module, in memory, with factors of their own.
        device: Where it is computed.
        rank: Of both subspaces; that of the core space if it has no more, or if None.

    Returns:
        A space with k = l = rank at most, in which what of a delta is outside both subspaces is lost.
    """
    import torch

    core = core_space(pairs, device)
    assert core.right is not None  # noqa: S101  the core space has one
    stack = torch.stack(core.coordinates)
    norms = stack.flatten(1).norm(dim=1)
    stack = stack / torch.where(norms > 0, norms, 1.0)[:, None, None]
    size = min(rank or max(stack.shape), *stack.shape[1:])
    left, right = _leading(_side_by_side(stack), size), _leading(_side_by_side(stack.mT), size)
    for _ in range(_STEPS):
        before = left, right
        left = _leading(_side_by_side(stack @ right), size)
        right = _leading(_side_by_side(stack.mT @ left), size)
        if all(_turned(*each) < _STILL for each in zip(before, (left, right), strict=True)):
            break
    outer, inner = core.left @ left, right.mT @ core.right
    signs = signs_of(outer), signs_of(inner.mT)
    shares = tuple((signs[0][:, None] * (left.mT @ each @ right)) * signs[1] for each in core.coordinates)
    return Space(outer * signs[0], shares, inner * signs[1][:, None])


def _side_by_side(stack: Tensor) -> Tensor:
    """Matrices side by side."""
    return stack.permute(1, 0, 2).flatten(1)


def _leading(wide: Tensor, count: int) -> Tensor:
    """The first left singular vectors, falling."""
    import torch

    vectors: Tensor = torch.linalg.svd(wide, full_matrices=False)[0]
    return vectors[:, :count]


def _turned(one: Tensor, other: Tensor) -> float:
    """By how much one subspace leaves the other: the sine of the largest angle between them, or less."""
    return float((other - one @ (one.mT @ other)).norm())


SPACES: Mapping[SpaceName, Callable[..., Space]] = MappingProxyType(
    {"core": core_space, "knots": knots_space, "ctm": ctm_space}
)


def _factors(pair: LowRank, device: str | torch.device | None) -> tuple[Tensor, Tensor]:
    """(up, down) in float64, out×r and r×in, each with its share of the scale."""
    root, signed = balanced(pair.scale)
    up, down = pair.up.flatten(1).to(device).double(), pair.down.flatten(1).to(device).double()
    return up * root, down * signed


def _singular_vectors(tall: Tensor) -> Tensor:
    """The left ones of a tall matrix: orthonormal, however nearly its columns depend on each other.

    Their signs are fixed: where as many values are positive as negative, an election of signs depends on them.
    """
    import torch

    columns, core = torch.linalg.qr(tall)
    vectors: Tensor = columns @ torch.linalg.svd(core, full_matrices=False)[0]
    return vectors * signs_of(vectors)
