"""Tiny bases as one file each: a checkpoint in its original names, and what diffusers' own converters make of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from families.models import in_original_names
from safetensors.torch import load_file
from torch import Tensor

from loramerge.families import FAMILIES
from loramerge.families.clip import OPENCLIP
from loramerge.families.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path


UNET = "model.diffusion_model."
ENCODERS = {
    "sd15": {"text_encoder": "cond_stage_model.transformer."},
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}
METADATA = {"format": "pt", "author": "somebody", "modelspec.hash_sha256": "0x12"}


def checkpoint(family: str, folder: Path) -> dict[str, Tensor]:
    """The tensors of a saved tiny pipeline of Stable Diffusion, as its original checkpoint has them, and more."""
    import json

    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    config = json.loads((folder / "unet" / "config.json").read_text())
    layout = Layout(FAMILIES[family].rules(config), {name: tuple(each.shape) for name, each in unet.items()})
    found = {f"{UNET}{name}": each for name, each in in_original_names(layout, unet).items()}
    for component, prefix in ENCODERS[family].items():
        tensors = load_file(folder / component / "model.safetensors")
        found |= {
            f"{prefix}{name}": each
            for name, each in (_opened(tensors) if "model" in prefix.split(".") else tensors).items()
        }
    found["first_stage_model.encoder.conv_in.weight"] = torch.rand(4, 3, 3, 3, dtype=torch.float64)
    found["model_ema.decay"] = torch.tensor(0.5)
    found["model_ema.num_updates"] = torch.tensor([7], dtype=torch.int32)
    return found


def _opened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP as OpenCLIP keeps it, with the last block that transformers' config leaves out."""
    projection = tensors.get("text_projection.weight")
    text = {name: each for name, each in tensors.items() if not name.startswith("text_projection")}
    layout = Layout(OPENCLIP, {name: tuple(each.shape) for name, each in text.items()})
    found = in_original_names(layout, text)
    return found if projection is None else {**found, "text_projection": projection.T.contiguous()}


def write(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] = METADATA) -> Path:
    """A file with tensors in an order of its own: not by name, nor by the size of their numbers."""
    from loramerge.tensor_files.header import header
    from loramerge.tensor_files.planned import torch_dtype

    known = {
        torch_dtype(name): name for name in ("F64", "F32", "F16", "BF16", "I32", "I64", "F8_E4M3", "F8_E5M2", "U8")
    }
    ordered = sorted(tensors, key=lambda name: name[::-1])
    entries = [(name, known[tensors[name].dtype], tuple(tensors[name].shape), tensors[name].nbytes) for name in ordered]
    content = b"".join(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for name in ordered)
    path.write_bytes(header(entries, metadata) + content)
    return path
