"""Differences of parameters that are no layer's weight: biases, norms, modulation tables and the like.

A file has them as `.diff_b` (a bias), `.diff` (ComfyUI's comfy/lora.py), `w_norm` and `b_norm` (LyCORIS'
lycoris/modules/norms.py), or `.diff_m` (Wan's modulation, in lightx2v's files).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from loramerge.deltas.dense import Dense
from loramerge.deltas.kind import Kind, Scale, ShapeError, Shapes, Spans, Tensors

if TYPE_CHECKING:
    from loramerge.adapter import LowRank


class ParameterDelta(Dense):
    """What is added to a parameter that is no layer's weight. It has no rank, and nothing ever decomposes it."""

    is_layer: ClassVar[bool] = False

    @property
    def rank(self) -> int:
        """None: 0."""
        return 0


class ParameterDifference(Kind):
    """The delta as it is. No alpha counts."""

    title = "parameter difference"
    roles = ((("parameter",),),)

    @classmethod
    def shape(cls, shapes: Shapes) -> tuple[int, ...]:
        """That of the tensor."""
        if not math.prod(shapes["parameter"]):
            raise ShapeError("{parameter} has no numbers")
        if not shapes["parameter"]:
            raise ShapeError("{parameter} is a single number without an axis, which no layout has rows for")
        return shapes["parameter"]

    @classmethod
    def made(cls, tensors: Tensors, spans: Spans, scale: Scale) -> LowRank:
        """The delta."""
        del scale
        stored = tensors["parameter"]
        cls.shape({"parameter": stored.shape})
        rows = stored.rows(spans) if spans else stored
        return ParameterDelta(rows.load, rows.shape, kind=cls.title, number_formats=stored.number_formats)
