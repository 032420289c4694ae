"""An artifact whose report has everything to show: LoRAs that are in each other's way, a decomposition, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign
import tiny
from artifacts import workspace
from command_line import write_recipe

from loramerge import Result, read_recipe, run

SCRIPT = "<script>document.title = 'taken'</script>"
LORAS = {
    "a": {"source": "a.safetensors", "weight": 0.7},
    "against": {"source": "against.safetensors", "weight": 0.7},
    "b": {"source": "b.safetensors", "weight": {"unet": {"down": 0.5, "mid": 0.2}}},
}
SETTINGS = {
    "report": "full",
    "description": f"Three that do not get along. {SCRIPT}",
    "merge": {"combination_type": "svd", "svd_rank": 3, "engine": "factored"},
    "outputs": [{"kind": "adapter", "format": "kohya"}],
    "preview": {"prompts": [f"a bowl {SCRIPT[:20]}"], "seeds": [0], "steps": 1, "width": 32, "height": 32},
}


def three(folder: Path) -> Path:
    """A base and three LoRAs, the second of which mostly undoes the first; their metadata would like to run."""
    workspace(folder)
    first, other = (
        foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2.0, seed=seed, conv_rank=2) for seed in (0, 5)
    )
    against = {
        component: {
            name: (down, (noise if "down_blocks.0" in name else -2 * up + noise), alpha)
            for (name, (down, up, alpha)), (_, noise, _) in zip(modules.items(), other[component].values(), strict=True)
        }
        for component, modules in first.items()
    }
    for name, pairs in (("a", first), ("against", against)):
        metadata = {"modelspec.trigger_phrase": f"in {name} {SCRIPT}"}
        foreign.write_kohya(pairs, folder / f"{name}.safetensors", text_prefixes=("lora_te_",), metadata=metadata)
    return folder


def made(folder: Path, **more: Any) -> Result:
    """Run a recipe of the three."""
    recipe = write_recipe(three(folder), base="base", **({"loras": LORAS} | SETTINGS | more))
    return run(read_recipe(recipe), out=folder / "out", device="cpu")
