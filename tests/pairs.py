"""Random LoRAs as plain data: tensors by component and by the module's name in published checkpoints."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor, float]  # down, up, alpha; the delta is alpha / rank · up @ down
Modules = dict[str, Pair]
Pairs = dict[str, Modules]

_TEXT = r"^text_model\.encoder\."
_TRANSFORMER = rf"attentions\.|{_TEXT}"  # what kohya's trainer adapts
_EVERYWHERE = rf"(attentions|resnets|samplers)\.|{_TEXT}"  # with conv_dim set
_STD = 0.05


def random_lora(
    pipeline: Any,
    *,
    rank: int,
    alpha: float,
    seed: int,
    conv_rank: int | None = None,
    conv_alpha: float | None = None,
    components: Collection[str] = ("unet", "text_encoder", "text_encoder_2"),
    modules: str | None = None,
    few: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Pairs:
    """A LoRA with random factors, as kohya's trainer would lay it out.

    Args:
        pipeline: A diffusers pipeline; components that it lacks are passed over.
        rank: Rank of linear layers and 1×1 convolutions.
        alpha: Their alpha.
        seed: Two seeds give two LoRAs, orthogonal for practical purposes.
        conv_rank: Rank of larger convolutions. None: residual blocks and samplers are left alone.
        conv_alpha: Their alpha; default: `alpha`.
        components: Which components to touch.
        modules: Touch the linear and convolution layers in which this regular expression is found, by checkpoint
            name, instead of those that trainers choose.
        few: Of layers that do the same at another place and have the same shape, touch one: PEFT and diffusers take
            a time that grows with the square of the number of layers.
        dtype: Of the factors.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=generator) * _STD).to(dtype)

    pairs: Pairs = {}
    for component in components:
        model = getattr(pipeline, component, None)
        kinds: set[tuple[str, torch.Size]] = set()
        for live, layer in [] if model is None else model.named_modules():
            name = checkpoint_name(component, live)
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            wide = isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
            if not re.search(modules or (_TRANSFORMER if conv_rank is None else _EVERYWHERE), name):
                continue
            kind = (_kind(name), layer.weight.shape)
            if few and kind in kinds:
                continue
            kinds.add(kind)
            r, a = (conv_rank or rank, conv_alpha or alpha) if wide else (rank, alpha)
            out, kernel = layer.weight.shape[0], layer.weight.shape[2:]
            down, up = noise(r, *layer.weight.shape[1:]), noise(out, r, *(1 for _ in kernel))
            pairs.setdefault(component, {})[name] = (down, up, float(a))
    return pairs


def _kind(name: str) -> str:
    """What a layer does: `to_q` of one block's `attn1` is to that of another what `resnets.0` is to `resnets.1`."""
    return re.sub(r"\b\d+\b", "", ".".join(name.split(".")[-3:]))


def checkpoint_name(component: str, live: str) -> str:
    """The module's name in published checkpoints; transformers 5 drops `text_model.` from that of a CLIPTextModel."""
    if component == "unet" or live.startswith(("text_model.", "text_projection")):
        return live
    return f"text_model.{live}"


def deltas(pairs: Pairs) -> dict[str, dict[str, Tensor]]:
    """What the LoRA adds to each weight, dense and in float64."""
    return {component: {name: _delta(*pair) for name, pair in modules.items()} for component, modules in pairs.items()}


def _delta(down: Tensor, up: Tensor, alpha: float) -> Tensor:
    product = up.double().flatten(1) @ down.double().flatten(1)
    return (alpha / down.shape[0]) * product.reshape(up.shape[0], *down.shape[1:])
