"""Random LoRAs in every file form met in the wild, written without a line of loramerge.

Whatever the form, the file means the same deltas: where it has no room for alpha, alpha is multiplied into `up`.

| form | a key of the UNet | a key of a text encoder |
| --- | --- | --- |
| peft | `unet.….to_k.lora_A.weight` | `text_encoder.….k_proj.lora_A.weight` |
| lora | `unet.….to_k.lora.down.weight` | `text_encoder.….k_proj.lora_linear_layer.down.weight` |
| to_k_lora | `unet.….attn1.to_k_lora.down.weight` | `text_encoder.….self_attn.to_k_lora.down.weight` |
| processor | `unet.….attn1.processor.to_k_lora.down.weight` | as before |
| bare_peft, bare_lora, bare_processor | the same without `unet.` | none |
| kohya | `lora_unet_…_to_k.lora_down.weight` | `lora_te1_…_k_proj.lora_down.weight` |
| PEFT folder | `base_model.model.….to_k.lora_A.weight` | `base_model.model.….k_proj.lora_A.weight` |

The spellings of one project within the file of another are in `SPELLINGS`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pairs import Modules, Pair, Pairs, checkpoint_name, deltas, random_lora
from safetensors.torch import save_file
from sgm import sgm_name
from torch import Tensor

__all__ = [
    "ATTENTION",
    "FORMS",
    "NAMELESS",
    "SPELLINGS",
    "Form",
    "Modules",
    "Pair",
    "Pairs",
    "checkpoint_name",
    "deltas",
    "random_lora",
    "sgm_name",
    "write_diffusers",
    "write_kohya",
    "write_peft",
    "write_spelling",
]

Form = Literal["peft", "lora", "to_k_lora", "processor", "bare_peft", "bare_lora", "bare_processor"]

FORMS: tuple[Form, ...] = ("peft", "lora", "to_k_lora", "processor", "bare_peft", "bare_lora", "bare_processor")
ATTENTION = r"\.(to_q|to_k|to_v|to_out\.0|q_proj|k_proj|v_proj|out_proj)$"  # all that the attention forms can say

Spelling = tuple[Callable[[str, str, str], str], tuple[str, str]]

_TEXT = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
_KOHYAS = {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"}
_PEFT, _KOHYA, _DOTTED = ("lora_A", "lora_B"), ("lora_down", "lora_up"), ("lora.down", "lora.up")

# Component, module, sgm's name of the module → what stands before the ending; and the endings of down and up.
SPELLINGS: dict[str, Spelling] = {
    "unet.….lora_A.default": (lambda part, name, _: f"{part}.{name}", ("lora_A.default", "lora_B.default")),
    "unet.….lora_A.style-2": (lambda part, name, _: f"{part}.{name}", ("lora_A.style-2", "lora_B.style-2")),
    "unet.….lora_down": (lambda part, name, _: f"{part}.{name}", _KOHYA),
    "unet.base_model.model.….lora_A": (lambda part, name, _: f"{part}.base_model.model.{name}", _PEFT),
    "unet.base_model.model.….lora.down": (lambda part, name, _: f"{part}.base_model.model.{name}", _DOTTED),
    "lora_unet_….lora.down": (
        lambda part, name, _: f"lora_{_KOHYAS[part]}_{_flat(name)}",
        _DOTTED,
    ),
    "diffusion_model.…, text_encoders.clip_l.transformer.…": (
        lambda part, name, sgm: f"diffusion_model.{sgm}" if part == "unet" else _comfy(part, f"transformer.{name}"),
        _PEFT,
    ),
    "diffusion_model.… as diffusers has it, text_encoders.clip_l.…": (
        lambda part, name, _: f"diffusion_model.{name}" if part == "unet" else _comfy(part, name),
        _KOHYA,
    ),
    "model.diffusion_model.…": (
        lambda part, name, sgm: f"model.diffusion_model.{sgm}" if part == "unet" else _comfy(part, name),
        _DOTTED,
    ),
    "unet.input_blocks.…": (lambda part, name, sgm: f"{part}.{sgm if part == 'unet' else name}", _PEFT),
}
# The same, where nothing says the component of a text encoder: there is but one in a file.
NAMELESS: dict[str, Spelling] = {
    "lycoris_…": (lambda _, name, __: f"lycoris_{_flat(name)}", _KOHYA),
    "input_blocks.…, transformer.text_model.…": (
        lambda part, name, sgm: sgm if part == "unet" else f"transformer.{name}",
        _PEFT,
    ),
    "down_blocks.…, text_model.…": (lambda _, name, __: name, _DOTTED),
    "diffusion_model.…, text_encoders.…": (
        lambda part, name, sgm: f"diffusion_model.{sgm}" if part == "unet" else f"text_encoders.{name}",
        _KOHYA,
    ),
}


def write_spelling(
    pairs: Pairs,
    path: Path,
    spelling: Spelling,
    unet_config: Any,
    *,
    alpha: bool = True,
) -> Path:
    """A file of one of `SPELLINGS`.

    Args:
        pairs: The LoRA.
        path: The file to write.
        spelling: How its keys are spelled.
        unet_config: The UNet's config, for sgm's names.
        alpha: Write `.alpha`; without it, it is multiplied into `up`.
    """
    stem_of, (a, b) = spelling
    tensors: dict[str, Tensor] = {}
    for component, modules in pairs.items():
        for name, pair in modules.items():
            stem = stem_of(component, name, sgm_name(name, unet_config) if component == "unet" else "")
            down, up, value = pair if alpha else _folded(pair)
            tensors |= {f"{stem}.{a}.weight": down, f"{stem}.{b}.weight": up}
            if alpha:
                tensors[f"{stem}.alpha"] = torch.tensor(value)
    return _save(tensors, path, {"format": "pt"})


def write_kohya(
    pairs: Pairs,
    path: Path,
    *,
    unet_config: Any = None,
    alpha: bool | Literal["some"] = True,
    text_prefixes: tuple[str, ...] = ("lora_te1_", "lora_te2_"),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A file as kohya's sd-scripts writes it.

    Args:
        pairs: The LoRA.
        path: The file to write.
        unet_config: The UNet's config: name its modules as SDXL's own code (SGM) does. None: as diffusers does,
            which is what sd-scripts does for Stable Diffusion 1 and 2.
        alpha: Write `.alpha` for all modules, for none, or for every other one. Without, alpha is the rank.
        text_prefixes: `("lora_te_",)` for Stable Diffusion 1 and 2.
        metadata: For the file's header: `ss_…`, `modelspec.…`.
    """
    prefixes = {"unet": "lora_unet_", **dict(zip(("text_encoder", "text_encoder_2"), text_prefixes, strict=False))}
    tensors: dict[str, Tensor] = {}
    for component, modules in pairs.items():
        for number, (name, pair) in enumerate(modules.items()):
            sgm = component == "unet" and unet_config is not None
            key = prefixes[component] + (sgm_name(name, unet_config) if sgm else name).replace(".", "_")
            has_alpha = alpha is True or (alpha == "some" and number % 2 == 0)
            down, up, value = pair if has_alpha else _folded(pair)
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
            if has_alpha:
                tensors[f"{key}.alpha"] = torch.tensor(value, dtype=down.dtype)
    return _save(tensors, path, dict(metadata or {}))


def write_diffusers(pairs: Pairs, path: Path, *, form: Form = "peft", adapter_metadata: bool = False) -> Path:
    """A file as one of diffusers' releases writes it.

    Args:
        pairs: The LoRA; `to_k_lora` and the processor forms have names for attention alone, the bare ones for the
            UNet alone.
        path: The file to write.
        form: Which keys; see the table above.
        adapter_metadata: Keep alpha and say it in the header, as `save_lora_weights` does since 0.34.

    Raises:
        ValueError: The form has no name for one of the modules.
    """
    tensors: dict[str, Tensor] = {}
    for component, modules in pairs.items():
        for name, pair in modules.items():
            down, up, _ = pair if adapter_metadata else _folded(pair)
            for side, tensor in (("down", down), ("up", up)):
                tensors[_diffusers_key(component, name, form, side)] = tensor
    metadata = {"format": "pt"}
    if adapter_metadata:
        said = {
            key if form.startswith("bare_") else f"{component}.{key}": value
            for component, modules in pairs.items()
            for key, value in _trainer_config(component, modules).items()
        }
        metadata["lora_adapter_metadata"] = json.dumps(said, indent=2, sort_keys=True)
    return _save(tensors, path, metadata)


def write_peft(
    modules: Modules,
    folder: Path,
    *,
    rslora: bool = False,
    prefix: str = "base_model.model.",
    text_model_prefix: bool = True,
    adapter: str = "",
    **config: Any,
) -> Path:
    """A folder as `PeftModel.save_pretrained` writes it, for one component.

    Args:
        modules: The component's part of the LoRA.
        folder: Where to; made if absent.
        rslora: Scale by lora_alpha / √r; lora_alpha is chosen so that the deltas stay.
        prefix: Before each module's name.
        text_model_prefix: False names text encoder modules as transformers 5 has them in memory.
        adapter: The adapter's name, kept in the keys, as `state_dict()` has them.
        config: More entries for `adapter_config.json`, or other values.
    """
    if not text_model_prefix:
        modules = {name.removeprefix("text_model."): pair for name, pair in modules.items()}
    folder.mkdir(parents=True, exist_ok=True)
    entries = _peft_config(modules, rslora=rslora) | config
    (folder / "adapter_config.json").write_text(json.dumps(entries, indent=2, sort_keys=True))
    tensors = {
        f"{prefix}{name}.lora_{side}.{adapter and f'{adapter}.'}weight": tensor
        for name, (down, up, _) in modules.items()
        for side, tensor in (("A", down), ("B", up))
    }
    _save(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _comfy(component: str, name: str) -> str:
    return f"text_encoders.{_TEXT[component]}.{name}"


def _folded(pair: Pair) -> Pair:
    down, up, alpha = pair
    return down, up * (alpha / down.shape[0]), float(down.shape[0])


def _diffusers_key(component: str, name: str, form: Form, side: str) -> str:
    bare, _, style = form.rpartition("_") if form.startswith("bare_") else ("", "", form)
    if bare and component != "unet":
        raise ValueError(f"{form} has no name for {component}")
    start = "" if bare else f"{component}."
    if style == "peft":
        return f"{start}{name}.lora_{'A' if side == 'down' else 'B'}.weight"
    if style == "lora":
        return f"{start}{name}.{'lora' if component == 'unet' else 'lora_linear_layer'}.{side}.weight"
    match = re.search(ATTENTION, name)
    if match is None:
        raise ValueError(f"{form} has no name for {name}")
    letters = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out", "to_out.0": "to_out"}
    processor = ".processor" if style == "processor" and component == "unet" else ""
    return f"{start}{name[: match.start()]}{processor}.{letters.get(match[1], match[1])}_lora.{side}.weight"


def _peft_config(modules: Modules, *, rslora: bool) -> dict[str, Any]:
    ranks = {name: down.shape[0] for name, (down, _, _) in modules.items()}
    alphas = {name: alpha / math.sqrt(ranks[name]) if rslora else alpha for name, (_, _, alpha) in modules.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {name: value for name, value in alphas.items() if value != alpha},
        "target_modules": sorted(modules),
        "use_rslora": rslora,
        "use_dora": False,
        "lora_bias": False,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def _trainer_config(component: str, modules: Modules) -> dict[str, Any]:
    # diffusers' training scripts name layers of text encoders by their last name. Full names would tie the file to a
    # transformers version, because diffusers renames the tensors that it reads but not the metadata.
    if component == "unet":
        return _peft_config(modules, rslora=False)
    config = _peft_config({name.removeprefix("text_model."): pair for name, pair in modules.items()}, rslora=False)
    return config | {"target_modules": sorted({name.rpartition(".")[2] for name in modules})}


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path, metadata=metadata or None)
    return path
