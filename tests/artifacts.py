"""Artifacts for tests: made of a miniature of Stable Diffusion 1.5 and two LoRAs, all below one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import foreign
import tiny
from command_line import write_recipe
from safetensors.torch import load_file

from loramerge import read_recipe, run
from loramerge.files.digest import sha256_of
from loramerge.tensor_files.planned import Planned
from loramerge.tensor_files.safetensors import opened, write

LORAS = {"a": {"source": "a.safetensors", "weight": 0.7}, "b": {"source": "b.safetensors", "weight": -0.4}}


def workspace(folder: Path) -> Path:
    """A base and two LoRAs."""
    shutil.copytree(tiny.folder("sd15"), folder / "base")
    for seed, name in enumerate(LORAS):
        write_lora(folder / f"{name}.safetensors", seed)
    return folder


def write_lora(path: Path, seed: int) -> Path:
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2.0, seed=seed, modules=r"attn1|self_attn")
    return foreign.write_diffusers(pairs, path)


def artifact(folder: Path, *, name: str = "small", out: Path | None = None, **more: Any) -> Path:
    """Run a recipe of the workspace; its artifact lies in `out`, by default beside the recipe."""
    recipe = write_recipe(folder, name=name, **({"base": "base", "loras": LORAS} | more))
    return run(read_recipe(recipe), out=out or folder / "out" / name, device="cpu").artifact


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def told(artifact: Path, names: Sequence[str]) -> None:
    """Write the sha256 that the files have now into the provenance, as a forger would."""

    def change(data):
        for subject in data["subject"]:
            if subject["name"] in names:
                subject["digest"]["sha256"] = sha256_of(artifact / subject["name"])

    edit(artifact / "provenance.json", change)


def scaled(path: Path, factor: float) -> None:
    """Multiply what a LoRA does, and keep all that its file says."""
    metadata = opened(path).metadata
    # Copies: what load_file returns lies in the very file.
    factors = {"lora_up": factor, "lora_B": factor}
    tensors = [
        Planned.of(key, tensor * next((value for name, value in factors.items() if name in key), 1.0))
        for key, tensor in load_file(path).items()
    ]
    write(path, tensors, metadata)
