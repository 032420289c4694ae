"""The miniature with a merge added to its weights: what it draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from loramerge.bases.component import CLIP_PREFIX, canonical

if TYPE_CHECKING:
    from loramerge import Adapter


class Painter:
    """The miniature, loaded once."""

    def __init__(self, base: Path, steps: int, guidance: float) -> None:
        self._steps, self._guidance = steps, guidance
        self.pipeline = DiffusionPipeline.from_pretrained(base, local_files_only=True)
        self.pipeline.set_progress_bar_config(disable=True)
        self._weights = {
            (component, canonical(name, prefix)): module.weight
            for component, prefix in (("unet", ""), ("text_encoder", CLIP_PREFIX), ("text_encoder_2", CLIP_PREFIX))
            for name, module in self.pipeline.components[component].named_modules()
            if hasattr(module, "weight")
        }
        self._own = {place: weight.detach().clone() for place, weight in self._weights.items()}

    @torch.no_grad()
    def __call__(self, scenes, adapter: Adapter | None = None, weight: float = 1.0):
        """Pictures × height × width × 3, from 0 to 1.

        Args:
            scenes: (prompt, seed of the noise) of each picture.
            adapter: What is added to the base; None for nothing.
            weight: How much of it.
        """
        touched = []
        for component, module, lazy in adapter or ():
            pair = lazy.loaded()
            target = self._weights[component, module]
            target += (pair.matrix() * (pair.scale * weight)).reshape(target.shape)
            touched.append((component, module))
        prompts, seeds = zip(*scenes, strict=True)
        try:
            return self.pipeline(
                list(prompts),
                num_inference_steps=self._steps,
                guidance_scale=self._guidance,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                output_type="np",
            ).images
        finally:
            for place in touched:
                self._weights[place].copy_(self._own[place])
