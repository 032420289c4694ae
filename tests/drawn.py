"""Recipes with pictures, for tests: two LoRAs on a small base, and what was drawn of them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import tiny
from command_line import write_recipe
from PIL import Image

PREVIEW = {"prompts": ["a bowl"], "seeds": [0, 1], "steps": 2, "guidance_scale": 2.0}


@cache
def loras(family: str, *, few: bool = True) -> dict[str, Path]:
    """Two strong LoRAs for every component, convolutions included; of few layers, or of all."""
    folder = Path(tempfile.mkdtemp(prefix="loras-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {
        name: foreign.write_diffusers(
            foreign.random_lora(tiny.shared(family), rank=4, alpha=100.0, seed=seed, conv_rank=3, few=few),
            folder / f"{name}.safetensors",
        )
        for seed, name in enumerate(("ink", "glow"))
    }


def recipe_of(
    folder: Path,
    family: str = "sd15",
    *,
    weights: Any = (0.7, 0.8),
    preview: Any = None,
    few: bool = True,
    **more: Any,
) -> Path:
    """A recipe of both LoRAs.

    Args:
        folder: Where to.
        family: Of the base.
        weights: Of the LoRAs, of which there may be one.
        preview: Keys of `preview:` that differ from `PREVIEW`.
        few: Have the LoRAs touch few layers.
        more: Other keys of the recipe.
    """
    entries = {
        name: {"source": str(path), "weight": weight}
        for (name, path), weight in zip(loras(family, few=few).items(), weights, strict=False)
    }
    settings = PREVIEW | (preview or {})
    return write_recipe(folder, base=more.pop("base", tiny.folder(family)), loras=entries, preview=settings, **more)


def pixels(path: Path) -> np.ndarray:
    """Height × width × 3, signed, so that differences can be taken."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.int16)


def text(path: Path) -> dict[str, str]:
    """What a PNG says of itself."""
    with Image.open(path) as picture:
        picture.load()
        return dict(picture.text)


def far(one: Path, other: Path) -> int:
    """The largest difference of a value between two pictures."""
    return int(np.abs(pixels(one) - pixels(other)).max())
