"""Write the layers and the other parameters of published models, as diffusers builds them.

`python tests/families/write_sizes.py [FAMILY…]`
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from loramerge.bases.architecture import Architecture
from loramerge.families import FAMILIES
from loramerge.families.sizes import FOLDER, OTHERS, folded

if TYPE_CHECKING:
    from collections.abc import Callable

    from loramerge.bases.component import Component
    from loramerge.families.family import Family
    from loramerge.families.layout import Shapes


def layers(component: Component) -> Shapes:
    """Shape of the weight of each layer, by the layer's name."""
    return component.modules


def others(component: Component) -> Shapes:
    """Shape of every other parameter, by its own name."""
    weights = {f"{module}.weight" for module in component.modules}
    return {name: shape for name, shape in component.parameters.items() if name not in weights}


def text_of(family: Family, chosen: Callable[[Component], Shapes]) -> str:
    """What a file of a family holds."""
    lines = []
    for size, published in family.published.items():
        components = {
            name: folded(chosen(Architecture.of(config).component(name, size)))
            for name, config in published.configs.items()
            if not name.startswith("text_encoder")
        }
        parts = [f"    {json.dumps(name)}: {json.dumps(entries)}" for name, entries in components.items()]
        lines.append(f"  {json.dumps(size)}: {{\n" + ",\n".join(parts) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    for folder, chosen in ((FOLDER, layers), (OTHERS, others)):
        folder.mkdir(exist_ok=True)
        for name in sys.argv[1:] or (name for name, family in FAMILIES.items() if family.published):
            (folder / f"{name}.json").write_text(text_of(FAMILIES[name], chosen), encoding="utf-8")
