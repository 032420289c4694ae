"""What old releases of diffusers call the layers of attention in LoRAs: by the processor that held them."""

from __future__ import annotations

import re

_ATTENTION = re.compile(r"(?P<layer>.+?)(?:\.processor)?\.to_(?P<which>[qkv]|out)(?:_lora)?", re.DOTALL)
_TEXT_ATTENTION = ".self_attn"


def layer_name(module: str) -> str:
    """The layer's own name, where a name is that of the attention processor's LoRA layer; else the name itself."""
    found = _ATTENTION.fullmatch(module)
    if found is None:
        return module
    layer, which = found["layer"], found["which"]
    if layer.endswith(_TEXT_ATTENTION):
        return f"{layer}.{which}_proj"
    return f"{layer}.to_{which}.0" if which == "out" else f"{layer}.to_{which}"
