"""Trains a LoRA on the base, and writes it as one of the programs does that people train with."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.bases.component import CLIP_PREFIX, canonical
from loramerge.families.layout import Layout
from loramerge.families.sgm import unet_rules
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.planned import Planned
from train.scenes import LATER_PHRASES, PHRASES, anything, describe
from train.training import Latents, denoise, encoded

if TYPE_CHECKING:
    from torch import Tensor

    from train.settings import Lora

_PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


def train_lora(pipeline: Any, lora: Lora, path: Path, device: str) -> None:
    """Train what `lora` says on a pipeline as `model.load` gives it, and write it to `path`."""
    import torch

    torch.manual_seed(lora.training.seed)
    pipeline.to(device)
    data = _shown(pipeline, lora)
    layers = {"unet": lora.layers, "text_encoder": lora.text_layers, "text_encoder_2": lora.text_layers}
    weights = []
    for component, endings in layers.items():
        model = pipeline.components[component].requires_grad_(False)  # noqa: FBT003
        if endings:
            _add(model, lora, endings)
            weights += [weight for weight in model.parameters() if weight.requires_grad]
    denoise(pipeline, data, weights, lora.training, lora.name)
    _WRITERS[lora.format](pipeline, lora, path)
    path.chmod(0o644)


def _shown(pipeline: Any, lora: Lora) -> Latents:
    """Scenes with what is to be learnt, and ordinary ones."""
    rng = random.Random(lora.training.seed)
    pictures, captions = [], []
    for _ in range(lora.training.scenes):
        ordinary = rng.random() < lora.ordinary
        scene = anything(rng) if ordinary else anything(rng, lora.shapes, lora.colours, lora.sizes)
        styles = () if ordinary else lora.styles
        pictures.append(scene.draw(styles))
        captions.append(describe(scene, styles, rng))
    return encoded(pipeline, pictures, captions)


def _add(model: Any, lora: Lora, endings: tuple[str, ...]) -> None:
    from peft import LoraConfig

    names = [name for name, _ in model.named_modules() if name.endswith(endings)]
    model.add_adapter(
        LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="|".join(map(re.escape, names))),
        adapter_name=lora.name,
    )


def _pairs(pipeline: Any, lora: Lora) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """(component, module, down, up) of all that it consists of, in the order of the architecture."""
    for component in _PREFIXES:
        for name, module in pipeline.components[component].named_modules():
            if hasattr(module, "lora_A"):
                down, up = (getattr(module, half)[lora.name].weight.detach().cpu() for half in ("lora_A", "lora_B"))
                yield component, canonical(name, CLIP_PREFIX if component.startswith("text_encoder") else ""), down, up


def _write_kohya(pipeline: Any, lora: Lora, path: Path) -> None:
    """As sd-scripts writes SDXL."""
    import torch

    file: dict[str, Tensor] = {}
    shapes = {name: tuple(each.weight.shape) for name, each in pipeline.unet.named_modules() if hasattr(each, "weight")}
    originals = Layout(unet_rules(pipeline.unet.config), shapes).by_canonical
    for component, module, down, up in _pairs(pipeline, lora):
        name = originals[module].name if component == "unet" else module
        key = f"{_PREFIXES[component]}{name}".replace(".", "_")
        file |= {f"{key}.lora_down.weight": down.half(), f"{key}.lora_up.weight": up.half()}
        file[f"{key}.alpha"] = torch.tensor(lora.alpha).half()
    metadata = {
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": lora.name,
        "modelspec.trigger_phrase": ", ".join((PHRASES | LATER_PHRASES)[style] for style in lora.styles) or lora.name,
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_alpha": str(lora.alpha),
        "ss_network_dim": str(lora.rank),
        "ss_network_module": "networks.lora",
    }
    tensors.write(path, list(starmap(Planned.of, file.items())), metadata)


def _write_diffusers(pipeline: Any, lora: Lora, path: Path) -> None:
    """As diffusers' training scripts write it; the scale goes into `up`, for these files hold no alpha."""
    file: dict[str, Tensor] = {}
    for component, module, down, up in _pairs(pipeline, lora):
        file[f"{component}.{module}.lora_A.weight"] = down.half()
        file[f"{component}.{module}.lora_B.weight"] = (up * (lora.alpha / lora.rank)).half()
    tensors.write(path, list(starmap(Planned.of, file.items())), {"format": "pt"})


_WRITERS = {"kohya": _write_kohya, "diffusers": _write_diffusers}
