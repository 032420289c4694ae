"""How the keys of LoRA files are spelled: where a module lies, its name, and which half of its pair a tensor is.

Trainers choose the three apart from each other: PEFT's wrapper stands before sgm's names, kohya's endings after dotted
ones. So each is read by itself, by one table for all formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from loramerge.bases.attention_names import layer_name

Role = Literal[
    "down", "up", "alpha", "mid",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    "diff", "parameter", "dora_scale", "magnitude",
]  # fmt: skip
"""What a tensor is in its module, as `deltas` has it."""

DEFAULT_ADAPTER = "default"
"""What PEFT calls an adapter that nobody gave a name."""
DENOISER = "denoiser"
"""Said by prefixes that stand before the denoiser of any model, whatever the base calls it."""

# What stands before a module's name: the format that writes it first, and what it says of the component: its name, what
# kohya or ComfyUI call a text encoder, or nothing.
# A name may have several of them, one behind the other: `unet.base_model.model.`, `text_encoders.clip_l.transformer.`.
_PREFIXES: dict[str, tuple[str, str | None]] = {
    "base_model.model.": ("peft", None),  # PeftModel, around a component or around what holds it
    "unet.": ("diffusers", "unet"),
    "text_encoder.": ("diffusers", "text_encoder"),
    "text_encoder_2.": ("diffusers", "text_encoder_2"),
    "text_encoder_3.": ("diffusers", "text_encoder_3"),
    "transformer.": ("diffusers", "transformer"),  # a DiT, or a CLIP text model within the original model's wrapper
    "transformer_2.": ("diffusers", "transformer_2"),
    "transformer_ref.": ("diffusers", "transformer_ref"),
    "connectors.": ("diffusers", "connectors"),
    "text_conditioner.": ("diffusers", "text_conditioner"),
    "lora_unet__": ("kohya", DENOISER),
    "lora_unet_": ("kohya", DENOISER),
    "lora_transformer_": ("kohya", DENOISER),
    "lora_te_": ("kohya", "lora_te_"),
    "lora_te1_": ("kohya", "lora_te1_"),
    "lora_te2_": ("kohya", "lora_te2_"),
    "lora_te3_": ("kohya", "lora_te3_"),
    "lora_te4_": ("kohya", "lora_te4_"),
    "lora_": ("kohya", None),
    "lycoris_": ("kohya", None),  # LyCORIS, around any component
    "diffusion_model.": ("comfyui", DENOISER),
    "model.diffusion_model.": ("comfyui", DENOISER),
    "transformer_1.": ("comfyui", "transformer"),  # behind `diffusion_model.`, where there are two denoisers
    "net.": ("comfyui", DENOISER),
    "text_encoders.": ("comfyui", None),
    "clip_l.": ("comfyui", "clip_l"),
    "clip_h.": ("comfyui", "clip_h"),
    "clip_g.": ("comfyui", "clip_g"),
    "t5xxl.": ("comfyui", "t5xxl"),
    "llama.": ("comfyui", "llama"),
    "qwen3_06b.": ("comfyui", "qwen3_06b"),
    "qwen25_7b.": ("comfyui", "qwen25_7b"),
    "cond_stage_model.": ("comfyui", "clip_l"),
    "conditioner.embedders.0.": ("comfyui", "clip_l"),
}
_WRAPPER = "base_model.model."
_PREFIX = re.compile("|".join(map(re.escape, sorted(_PREFIXES, key=len, reverse=True))))
_ENDING = re.compile(
    r"(?P<stem>.+?)(?:"
    r"(?:\.lora_|\.lora\.|\.lora_linear_layer\.|(?<=_lora)\.|(?<=_lora[12])\.)(?P<half>A|B|down|up)"
    r"(?:\.(?P<adapter>[^.]+))?\.weight"
    r"|\.lora_(?P<bare>A|B)"
    r"|\.lora_(?P<mid>mid)\.weight"
    r"|\.(?P<own>hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)|dora_scale)"
    r"|\.(?P<whole>diff|w_norm|diff_b|b_norm|diff_m)"
    r"|\.(?:lora_)?(?P<magnitude>magnitude)(?:_vector)?(?:\.(?P<other>[^.]+))??(?:\.weight)?"
    r"|\.alpha)",
    re.DOTALL,
)
_NAMED = ("half", "bare", "mid", "own", "magnitude")
_ROLES: dict[str | None, Role] = {"A": "down", "down": "down", "B": "up", "up": "up", None: "alpha"}
_ROLES |= {role: role for role in get_args(Role)}
# The parameter of a module that a difference is of, where that is not its weight. `diff_m` is lightx2v's, of Wan.
_PARAMETERS = {"diff_b": ".bias", "b_norm": ".bias", "diff_m": ".modulation"}


@dataclass(frozen=True)
class Spelling:
    """A key, taken apart.

    Attributes:
        format: The `default_folder` of the one in `FORMATS` whose files have such keys.
        said: What the prefixes say of the component; None where they say nothing.
        written: All of the key but its ending and PEFT's wrapper in front.
        modules: What the module may be called, dotted or flat, under any project's names: the name with all that
            stands before it, which may be a part of it, and then with one prefix less each; last as it is most often.
            What is added to a parameter that is no weight has that behind it: `.bias`.
        role: Of the tensor in its pair.
        adapter: PEFT's name for the adapter, where the key has one: `default` of `lora_A.default.weight`.
    """

    format: str
    said: str | None
    written: str
    modules: tuple[str, ...]
    role: Role
    adapter: str | None

    @property
    def module(self) -> str:
        """The name without any prefix."""
        return self.modules[-1]


@lru_cache(maxsize=1 << 14)
def spelled(key: str) -> Spelling | None:
    """Take a key apart; None where it does not end as the key of a LoRA."""
    found = _ENDING.fullmatch(key)
    if found is None:
        return None
    stem = found["stem"].removesuffix(".lora")
    known, said, names = "", None, [stem]
    while prefix := _PREFIX.match(names[-1]):
        writer, says = _PREFIXES[prefix[0]]
        known, said = known or writer, says if said in (None, DENOISER) and says else said
        names.append(names[-1][prefix.end() :])
    if not names[-1]:
        return None
    part = _PARAMETERS.get(found["whole"] or "", "")
    written = f"{stem.removeprefix(_WRAPPER)}{part}"
    role = "diff" if found["whole"] else _ROLES[next(filter(None, found.group(*_NAMED)), None)]
    modules = tuple(dict.fromkeys(f"{each}{part}" for name in names for each in (name, layer_name(name))))
    return Spelling(known or "diffusers", said, written, modules, role, found["adapter"] or found["other"])
