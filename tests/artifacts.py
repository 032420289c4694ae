"""Artifacts for tests: made of a miniature of Stable Diffusion 1.5 and two LoRAs, all below one folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import foreign
import tiny
from command_line import write_recipe

from loramerge import read_recipe, run

LORAS = {"a": {"source": "a.safetensors", "weight": 0.7}, "b": {"source": "b.safetensors", "weight": -0.4}}


def workspace(folder: Path) -> Path:
    """A base and two LoRAs."""
    shutil.copytree(tiny.folder("sd15"), folder / "base")
    for seed, name in enumerate(LORAS):
        write_lora(folder / f"{name}.safetensors", seed)
    return folder


def write_lora(path: Path, seed: int) -> Path:
    pairs = foreign.random_lora(tiny.sd15(), rank=4, alpha=2.0, seed=seed, modules=r"attn1|self_attn")
    return foreign.write_diffusers(pairs, path)


def artifact(folder: Path, *, name: str = "small", out: Path | None = None, **more: Any) -> Path:
    """Run a recipe of the workspace; its artifact lies in `out`, by default beside the recipe."""
    recipe = write_recipe(folder, name=name, **({"base": "base", "loras": LORAS} | more))
    return run(read_recipe(recipe), out=out or folder / "out" / name, device="cpu").artifact
