"""Means of tensors on the sphere: of their directions along its great circles, and of their norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 1000
_CLOSE = 1e-13  # radians: a step of this length changes no digit that float32 has
_ALIKE = 1e-8  # sine of the angle below which two directions are one, or opposite


def karcher_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The Riemannian centre of mass of the directions (Karcher, 1977), with the mean of the norms.

    It starts at the weighted arithmetic mean of the directions and goes along the mean of the great circles to all of
    them until it stays. A tensor of zeros has no direction, and lowers the norm.

    Args:
        tensors: Of one shape.
        weights: Shares, of which ratios alone count; the sign of one turns its tensor round.

    Returns:
        Float64, of that shape.
    """
    import torch

    flat = torch.stack([tensor.double().flatten() for tensor in tensors])
    signed = torch.tensor(weights, dtype=torch.float64, device=flat.device)
    shares = signed.abs() / signed.abs().sum()
    norms = flat.norm(dim=1)
    there = norms > 0
    if not bool(there.any()):
        return torch.zeros_like(tensors[0], dtype=torch.float64)
    units = (flat * signed.sign()[:, None])[there] / norms[there, None]
    parts = shares[there] / shares[there].sum()
    centre = parts @ units
    length = float(centre.norm())
    centre = centre / length if length > _ALIKE else units[0].clone()
    for _ in range(_STEPS):
        cosines = (units @ centre).clamp(-1.0, 1.0)
        away = units - cosines[:, None] * centre
        sines = away.norm(dim=1)
        angles = torch.atan2(sines, cosines)
        step = (parts * torch.where(sines > 0, angles / sines.clamp(min=1e-300), 0.0)) @ away
        length = float(step.norm())
        if length < _CLOSE:
            break
        centre = math.cos(length) * centre + math.sin(length) / length * step
        centre = centre / centre.norm()
    mean: Tensor = float(shares @ norms) * centre
    return mean.reshape(tensors[0].shape)


def slerp(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Between two tensors along the great circle of their directions (Shoemake, SIGGRAPH 1985).

    Args:
        tensors: Two, of one shape.
        weights: Shares of the one and the other, of which the ratio alone counts; the sign of one turns its tensor
            round. Where directions are equal or opposite, the mean is that of values.

    Returns:
        Float64, of that shape.
    """
    first, second = (
        tensor.double() * math.copysign(1, weight) for tensor, weight in zip(tensors, weights, strict=True)
    )
    share = abs(weights[1]) / (abs(weights[0]) + abs(weights[1]))
    norms = float(first.norm()) * float(second.norm())
    cosine = float((first * second).sum()) / norms if norms > 0 else 0.0
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < _ALIKE:
        return (1 - share) * first + share * second
    return (math.sin((1 - share) * angle) * first + math.sin(share * angle) * second) / math.sin(angle)
