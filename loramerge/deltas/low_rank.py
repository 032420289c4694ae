"""LoRA, and Tucker's three factors of a convolution.

Hu et al., LoRA, arXiv:2106.09685; LyCORIS (lycoris/functional/general.py, `rebuild_tucker`) for `lora_mid`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loramerge.deltas.computed import ComputedLowRank
from loramerge.deltas.kind import Kind, Scale, ShapeError, Shapes, Spans, Tensors
from loramerge.deltas.stored import StoredLowRank

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank

_DIMENSIONS = {2, 3, 4, 5}


class LowRankKind(Kind):
    """`up @ down`; with a `mid` between them, the kernel's part of a convolution, up·mid·down."""

    title = "LoRA"
    roles = ((("down",),), (("up",),))
    optional = frozenset({"mid"})

    @classmethod
    def shape(cls, shapes: Shapes) -> tuple[int, ...]:
        """Rows of `up`, and what `down` reads; the kernel is that of `mid` where there is one."""
        down, up, mid = shapes["down"], shapes["up"], shapes.get("mid")
        if not {len(down), len(up)} <= _DIMENSIONS or not down[0]:
            raise ShapeError("{down} and {up} are no pair: down should be rank×in, up out×rank")
        if math.prod(up[2:]) != 1:
            raise ShapeError("{up} should have a kernel of one element")
        if mid is None:
            if up[1] != down[0]:
                raise ShapeError("{down} and {up} are no pair: down should be rank×in, up out×rank")
            return (up[0], *down[1:])
        if len(mid) <= 2 or mid[:2] != (up[1], down[0]) or math.prod(down[2:]) != 1:  # noqa: PLR2004  # a kernel
            raise ShapeError("{up}, {mid} and {down} do not go together: mid should be rank×rank and a kernel")
        return (up[0], down[1], *mid[2:])

    @classmethod
    def made(cls, tensors: Tensors, spans: Spans, scale: Scale) -> LowRank:
        """The pair; of a Tucker decomposition mid·down takes the place of `down`."""
        down, whole, mid = tensors["down"], tensors["up"], tensors.get("mid")
        shape = cls.shape({role: tensor.shape for role, tensor in tensors.items()})
        up = whole.rows(spans) if spans else whole
        if mid is None:
            return StoredLowRank(down, up, scale(down.shape[0]))

        def factors() -> tuple[Tensor, Tensor]:
            import torch

            core = torch.einsum("ij...,jn->in...", mid.load().double(), down.load().flatten(1).double())
            return core.float(), up.load()

        return ComputedLowRank(
            factors,
            (up.shape[0], *shape[1:]),
            mid.shape[0],
            scale(down.shape[0]),
            kind="Tucker LoRA",
            trained_rank=down.shape[0],
            number_formats=frozenset().union(*(each.number_formats for each in tensors.values())),
        )
