"""What is measured: LoRAs of seeded random numbers on the transformers of UNets in their published shapes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge import LowRank
    from loramerge.bases.base import Base

Shape = tuple[int, ...]

WEIGHTS = (0.7, 0.8, -0.3, 0.5, 1.1)
DENSITY = {"density": 0.5}
PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "cat": {},
    "linear": {},
    "ties": DENSITY,
    "dare_linear": DENSITY,
    "dare_ties": DENSITY,
    "magnitude_prune": DENSITY,
    "svd": {},
    "ties_svd": DENSITY,
    "dare_linear_svd": DENSITY,
    "dare_ties_svd": DENSITY,
    "magnitude_prune_svd": DENSITY,
}
# Stable Diffusion 1.5 with fewer channels: for a quick look, and for tests.
CHANNELS = {"tiny": (32, 64, 64, 64), "small": (160, 320, 640, 640)}
MODELS = (*CHANNELS, "sd15", "sdxl")
TRANSFORMERS = ("flux",)
"""For the merge itself and for fusing: files are measured on UNets."""


def denoiser_of(model: str) -> str:
    """The component that is measured."""
    return "transformer" if model in TRANSFORMERS else "unet"


def weights_in(folder: Path, model: str) -> Path:
    """Where the denoiser's weights lie in a base's folder."""
    return folder / denoiser_of(model) / "diffusion_pytorch_model.safetensors"


def decomposes(combination_type: str) -> bool:
    """Whether the type cuts a delta to a rank."""
    return combination_type.endswith("svd")


def base_of(model: str) -> Base:
    """The denoiser without its weights, as a base."""
    from loramerge.bases.base import from_configs
    from loramerge.bases.published import architecture

    if model in TRANSFORMERS:
        return architecture(model)
    config = dict(architecture("sdxl" if model == "sdxl" else "sd15").components["unet"].config)
    if model in CHANNELS:
        config["block_out_channels"] = CHANNELS[model]
    return from_configs(model, {"unet": config})


def layers_of(model: str) -> dict[str, Shape]:
    """Shape of every layer in the UNet's transformers, or of all layers of another denoiser, by name."""
    base = base_of(model)
    modules = base.components[base.main].modules
    return {name: shape for name, shape in modules.items() if model in TRANSFORMERS or ".attentions." in name}


@dataclass(frozen=True)
class Sample:
    """Some of a model's layers, from which the time for all of them is found.

    Attributes:
        layers: All of them, with their shapes.
        chosen: Those that are merged: every nth of each shape, the first included.
    """

    layers: Mapping[str, Shape]
    chosen: tuple[str, ...]

    @classmethod
    def of(cls, layers: Mapping[str, Shape], most: int) -> Sample:
        """All layers if a LoRA of rank 1 has no more than `most` values on them, else as many as have."""
        step = max(1, math.ceil(_values(layers.values()) / most))
        return cls(layers, tuple(name for names in _by_shape(layers).values() for name in names[::step]))

    @property
    def factor(self) -> float:
        """How many times as many values a LoRA has on all layers."""
        return _values(self.layers.values()) / _values(self.layers[name] for name in self.chosen)

    def of_each_shape(self, most: int) -> list[tuple[list[str], float]]:
        """For each shape a few layers, and for how many each of these stands."""
        return [(names[:most], len(names) / len(names[:most])) for names in _by_shape(self.layers).values()]


def _values(shapes: Iterable[Shape]) -> int:
    return sum(shape[0] + math.prod(shape[1:]) for shape in shapes)


def _by_shape(layers: Mapping[str, Shape]) -> dict[Shape, list[str]]:
    found: dict[Shape, list[str]] = {}
    for name, shape in layers.items():
        found.setdefault(shape, []).append(name)
    return found


def random_pairs(layers: Mapping[str, Shape], rank: int, seed: int) -> dict[str, LowRank]:
    """A LoRA of float32."""
    import torch

    from loramerge import LowRank

    generator = torch.Generator().manual_seed(seed)
    return {
        name: LowRank(
            torch.randn(rank, *shape[1:], generator=generator),
            torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator),
            1.0,
        )
        for name, shape in layers.items()
    }


def write_configs(folder: Path, model: str) -> Base:
    """A diffusers pipeline without weights: all that a merge into adapters reads of a base."""
    base = base_of(model)
    kinds = {"sdxl": "StableDiffusionXLPipeline", "flux": "FluxPipeline"}
    denoiser = denoiser_of(model)
    config = dict(base.components[denoiser].config)
    (folder / denoiser).mkdir(parents=True)
    kind = "FluxTransformer2DModel" if model in TRANSFORMERS else "UNet2DConditionModel"
    index = {"_class_name": kinds.get(model, "StableDiffusionPipeline"), denoiser: ["diffusers", kind]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / denoiser / "config.json").write_text(json.dumps(config))
    return base


def write_weights(path: Path, shapes: Mapping[str, Shape]) -> None:
    """One float16 file of random numbers, written in pieces."""
    import torch

    from loramerge.tensor_files.header import header

    tensors = sorted((name, shape, math.prod(shape)) for name, shape in shapes.items())
    largest = max(count for _, _, count in tensors)
    noise = torch.randn(largest, generator=torch.Generator().manual_seed(0)).mul_(0.02).half()
    with path.open("wb") as file:
        file.write(header(((name, "F16", shape, 2 * count) for name, shape, count in tensors), {"format": "pt"}))
        for _, _, count in tensors:
            file.write(noise[:count].numpy().data)
        file.flush()
        os.fsync(file.fileno())
