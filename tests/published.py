"""LoRAs of the real sizes of Stable Diffusion 1.5, 2 and XL, on a few layers of each kind."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pairs import Pairs, random_lora

from loramerge.bases.published import architecture

if TYPE_CHECKING:
    import torch

_LAYERS = r"attentions\.0\..*attn2\.to_(q|k)$|downsamplers\.0\.conv|layers\.0\.self_attn\.q_proj"


def lora(family: str, *, seed: int, rank: int = 4, alpha: float = 2.0, dtype: torch.dtype | None = None) -> Pairs:
    """A random LoRA for the published architecture; `few` layers of each shape."""
    kind = {} if dtype is None else {"dtype": dtype}
    return random_lora(_models(family), rank=rank, alpha=alpha, seed=seed, modules=_LAYERS, few=True, **kind)


def unet_config(family: str) -> Any:
    """What `foreign.write_kohya` names SDXL's layers by; None for the others, which kohya names as diffusers does."""
    config = {"layers_per_block": 2, **architecture(family).components["unet"].config}
    return SimpleNamespace(**config) if family == "sdxl" else None


@functools.cache
def _models(family: str) -> Any:
    """The models on the meta device."""
    return SimpleNamespace(
        **{name: component.skeleton() for name, component in architecture(family).components.items()}
    )
