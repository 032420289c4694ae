"""Write the layers of published models, as diffusers builds them: `python tests/families/write_sizes.py [FAMILY…]`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from loramerge.bases.architecture import Architecture
from loramerge.families import FAMILIES
from loramerge.families.sizes import FOLDER, folded

if TYPE_CHECKING:
    from loramerge.families.family import Family


def sizes_of(family: Family) -> dict[str, dict[str, list]]:
    """Size → component → folded layers."""
    return {size: size_of(family, size) for size in family.published}


def size_of(family: Family, size: str) -> dict[str, list]:
    """Component → folded layers."""
    return {
        name: folded(Architecture.of(config).component(name, size).modules)
        for name, config in family.published[size].configs.items()
        if not name.startswith("text_encoder")
    }


def text_of(family: Family) -> str:
    """What the file of a family holds."""
    lines = []
    for size, components in sizes_of(family).items():
        parts = [f"    {json.dumps(name)}: {json.dumps(entries)}" for name, entries in components.items()]
        lines.append(f"  {json.dumps(size)}: {{\n" + ",\n".join(parts) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or (name for name, family in FAMILIES.items() if family.published):
        (FOLDER / f"{name}.json").write_text(text_of(FAMILIES[name]), encoding="utf-8")
