"""How the keys of LoRA files are spelled: where a module lies, its name, and which half of its pair a tensor is.

Trainers choose the three apart from each other: PEFT's wrapper stands before sgm's names, kohya's endings after dotted
ones. So each is read by itself, by one table for all formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Role = Literal["down", "up", "alpha"]

# What stands before a module's name: the format that writes it first, and the component that it says, if it does.
# A name may have several of them, one behind the other: `unet.base_model.model.`, `text_encoders.clip_l.transformer.`.
_PREFIXES: dict[str, tuple[str, str | None]] = {
    "base_model.model.": ("peft", None),  # PeftModel, around a component or around what holds it
    "unet.": ("diffusers", "unet"),
    "text_encoder.": ("diffusers", "text_encoder"),
    "text_encoder_2.": ("diffusers", "text_encoder_2"),
    "transformer.": ("diffusers", None),  # a CLIP text model within the original model's wrapper, or a DiT
    "lora_unet_": ("kohya", "unet"),
    "lora_te_": ("kohya", "text_encoder"),
    "lora_te1_": ("kohya", "text_encoder"),
    "lora_te2_": ("kohya", "text_encoder_2"),
    "lora_": ("kohya", None),
    "lycoris_": ("kohya", None),  # LyCORIS, around any component
    "diffusion_model.": ("kohya", "unet"),  # ComfyUI, and the original models
    "model.diffusion_model.": ("kohya", "unet"),
    "text_encoders.": ("kohya", None),
    "clip_l.": ("kohya", "text_encoder"),
    "clip_h.": ("kohya", "text_encoder"),
    "clip_g.": ("kohya", "text_encoder_2"),
    "cond_stage_model.": ("kohya", "text_encoder"),
    "conditioner.embedders.0.": ("kohya", "text_encoder"),
}
_WRAPPER = "base_model.model."
_PREFIX = re.compile("|".join(map(re.escape, sorted(_PREFIXES, key=len, reverse=True))))
_ENDING = re.compile(
    r"(?P<stem>.+?)(?:"
    r"(?:\.lora_|\.lora\.|\.lora_linear_layer\.|(?<=_lora)\.)(?P<half>A|B|down|up)(?:\.(?P<adapter>[^.]+))?\.weight"
    r"|\.alpha)",
    re.DOTALL,
)
_ROLES: dict[str | None, Role] = {"A": "down", "down": "down", "B": "up", "up": "up", None: "alpha"}
_ATTENTION = re.compile(r"(?P<layer>.+?)(?:\.processor)?\.to_(?P<which>[qkv]|out)(?:_lora)?", re.DOTALL)
_TEXT_ATTENTION = ".self_attn"


@dataclass(frozen=True)
class Spelling:
    """A key, taken apart.

    Attributes:
        format: The `default_folder` of the one in `FORMATS` whose files have such keys.
        component: What the prefix says; None where it says none.
        written: All of the key but its ending and PEFT's wrapper in front.
        module: The same without prefixes; dotted or flat, under any project's names.
        role: Of the tensor in its pair.
        adapter: PEFT's name for the adapter, where the key has one: `default` of `lora_A.default.weight`.
    """

    format: str
    component: str | None
    written: str
    module: str
    role: Role
    adapter: str | None


@lru_cache(maxsize=1 << 14)
def spelled(key: str) -> Spelling | None:
    """Take a key apart; None where it does not end as the key of a LoRA."""
    found = _ENDING.fullmatch(key)
    if found is None:
        return None
    stem = found["stem"].removesuffix(".lora")
    known, component, rest = "", None, stem
    while prefix := _PREFIX.match(rest):
        writer, said = _PREFIXES[prefix[0]]
        known, component, rest = known or writer, component or said, rest[prefix.end() :]
    if not rest:
        return None
    written, role = stem.removeprefix(_WRAPPER), _ROLES[found["half"]]
    return Spelling(known or "diffusers", component, written, _layer(rest), role, found["adapter"])


def _layer(module: str) -> str:
    """The layer's own name, where old releases of diffusers have that of the attention processor's LoRA layer."""
    found = _ATTENTION.fullmatch(module)
    if found is None:
        return module
    layer, which = found["layer"], found["which"]
    if layer.endswith(_TEXT_ATTENTION):
        return f"{layer}.{which}_proj"
    return f"{layer}.to_{which}.0" if which == "out" else f"{layer}.to_{which}"
