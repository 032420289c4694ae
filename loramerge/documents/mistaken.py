"""What is easily given in place of a recipe: said what it is, and which command takes it."""

from __future__ import annotations

import shlex
from pathlib import Path

from loramerge.messages import some

RECIPES = (".yaml", ".yml")
"""How a recipe's file ends."""
_LARGEST_HEADER = 100 << 20


def is_lora(content: bytes) -> bool:
    """Whether a file's beginning is that of safetensors: the length of a header, and the header's brace."""
    return content[8:9] == b"{" and 0 < int.from_bytes(content[:8], "little") <= _LARGEST_HEADER


def lora_commands(*loras: str) -> str:
    """The commands that take LoRAs."""
    first, *others = map(shlex.quote, loras)
    second = others[0] if others else "OTHER.safetensors"
    return (
        f"`loramerge merge {first}:0.7 {second}:0.8 -o merged.safetensors` merges LoRAs without a recipe; "
        f"`loramerge inspect {first}` shows what one is"
    )


def said_of_folder(folder: Path) -> str:
    """What to do with a folder where one recipe was wanted, or where it holds none.

    Returns:
        Empty where the folder says nothing.
    """
    if recipes := _ending(folder, RECIPES):
        return f"name one file in it: {some(recipes)}"
    loras = loras_in(folder)
    return lora_commands(*loras[:2]) if loras else "`loramerge init` writes a recipe"


def loras_in(folder: Path) -> list[str]:
    """The LoRAs that lie directly in a folder, as a command line names them; itself, if it is one of PEFT's."""
    try:
        if (folder / "adapter_config.json").exists():
            return [str(folder)]
    except OSError:
        return []
    return _ending(folder, (".safetensors",))


def _ending(folder: Path, endings: tuple[str, ...]) -> list[str]:
    try:
        return sorted(str(each) for each in folder.iterdir() if each.name.endswith(endings) and each.name[0] != ".")
    except OSError:
        return []
