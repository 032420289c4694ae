"""A component of four layers, large enough to be decomposed and small enough to be merged by PEFT in no time."""

from __future__ import annotations

import torch
from pydantic import TypeAdapter
from torch import nn

from loramerge.adapter import LowRank
from loramerge.bases.base import Component
from loramerge.merging.module import Part
from loramerge.methods import Merge

SHAPES = {"wide": (48, 160), "tall": (160, 64), "conv": (24, 16, 3, 3), "pointwise": (32, 40, 1, 1)}
PARAMETERS = {
    "cat": {},
    "svd": {"svd_rank": 5},
    "linear": {},
    "ties": {"density": 0.6, "majority_sign_method": "frequency"},
    "ties_svd": {"density": 0.6},
    "dare_linear": {"density": 0.7, "seed": 3},
    "dare_ties": {"density": 0.7, "seed": 3},
    "dare_linear_svd": {"density": 0.7, "seed": 3, "svd_rank": 4},
    "dare_ties_svd": {"density": 0.7, "seed": 3},
    "magnitude_prune": {"density": 0.4},
    "magnitude_prune_svd": {"density": 0.4},
}
OWN = {
    "tsv": {},
    "iso_c": {},
    "iso_cts": {"common_share": 0.5},
    "karcher": {},
    "nuslerp": {},
    "della": {"density": 0.5, "epsilon": 0.2, "seed": 3},
    "breadcrumbs": {"density": 0.6, "gamma": 0.05},
    "sce": {"density": 0.4},
}
"""Those that PEFT does not have."""
FACTOR_WISE = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")


class Small(Component):
    def build(self) -> nn.Module:
        with torch.device("meta"):
            layers = {
                name: nn.Linear(shape[1], shape[0], bias=False)
                if len(shape) == 2
                else nn.Conv2d(shape[1], shape[0], shape[2:], bias=False)
                for name, shape in SHAPES.items()
            }
            return nn.ModuleDict(layers)


WEIGHTS = {f"{name}.weight": shape for name, shape in SHAPES.items()}
COMPONENT = Small("unet", {}, SHAPES, {name: name for name in SHAPES}, WEIGHTS)


def method(combination_type, **parameters):
    chosen = (PARAMETERS | OWN)[combination_type] | parameters
    return TypeAdapter(Merge).validate_python({"combination_type": combination_type, **chosen})


def part(name, *, rank=4, seed=0, weight=0.7, scale=0.5, std=0.05, modules=tuple(SHAPES)):
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for module in modules:
        out, *inner = SHAPES[module]
        down = torch.randn(rank, *inner, generator=generator) * std
        up = torch.randn(out, rank, *(1 for _ in inner[1:]), generator=generator) * std
        pairs[module] = LowRank(down, up, scale)
    return Part(name, pairs, dict.fromkeys(modules, weight))


def changed(part_, name, weight, change):
    """The same LoRA after `change` to each pair."""
    return Part(
        name, {module: change(pair) for module, pair in part_.modules.items()}, dict.fromkeys(part_.modules, weight)
    )


def dense(parts, module, chosen, masks=None):
    """The combined delta in float64 before it is cut, by PEFT's own functions."""
    there = [each for each in parts if module in each.modules]
    deltas = [each.modules[module].delta().flatten(1) for each in there]
    return rule(deltas, [each.weights[module] for each in there], chosen, masks)


def rule(tensors, weights, chosen, masks=None):
    """What PEFT's own function for a type makes of tensors in float64; masks stand in for its random draws."""
    from peft.utils import merge_utils

    weights = torch.tensor(weights, dtype=torch.float64)
    name = chosen.combination_type.removesuffix("_svd")
    if name in ("cat", "svd", "linear"):
        return merge_utils.task_arithmetic(tensors, weights)
    extra = {key: getattr(chosen, key) for key in ("density", "majority_sign_method") if hasattr(chosen, key)}
    with drawing(masks or []):
        return getattr(merge_utils, name)(tensors, weights, **extra)


class drawing:  # noqa: N801  # a context manager
    """PEFT draws these masks, in this order, instead of random ones."""

    def __init__(self, masks):
        self._masks = iter(masks)

    def __enter__(self):
        self._bernoulli = torch.bernoulli
        torch.bernoulli = lambda like: next(self._masks).to(like.dtype).reshape(like.shape)

    def __exit__(self, *_):
        torch.bernoulli = self._bernoulli


def truncated(matrix, rank):
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank]


def off(got, want):
    """‖got - want‖ / ‖want‖, or without the denominator where it is zero."""
    norm = float(want.norm())
    return float((got.double().reshape(want.shape) - want).norm()) / (norm or 1.0)
