"""What is easily given in place of a recipe: said what it is, and which command takes it or what to name instead."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from loramerge.messages import some

RECIPES = (".yaml", ".yml")
"""How a recipe's file ends."""
LOCKS = (".lock.yaml", ".lock.yml")
"""How the file of a lock ends."""
_OTHERS = (
    ({"recipe", "sources"}, "a lock", "name the recipe that it is the lock of"),
    ({"_type", "predicate"}, "the provenance of an artifact", "the artifact's recipe is recipe.yaml beside it"),
    ({"fidelity", "environment"}, "the report of an artifact", "the artifact's recipe is recipe.yaml beside it"),
    ({"peft_type"}, "the config of a LoRA", "`loramerge init FOLDER` writes a recipe for the folder that it lies in"),
    ({"_diffusers_version"}, "the config of a model", "a recipe names the model's folder as its `base: source:`"),
)
"""Keys that files of others have, what such a file is, and what to do."""
_LARGEST_HEADER = 100 << 20


def is_lora(content: bytes) -> bool:
    """Whether a file's beginning is that of safetensors: the length of a header, and the header's brace."""
    return content[8:9] == b"{" and 0 < int.from_bytes(content[:8], "little") <= _LARGEST_HEADER


def other_file(keys: Collection[str]) -> tuple[str, str] | None:
    """What a file with these keys is, if it is something else than a recipe, and what to do."""
    return next(((what, hint) for marks, what, hint in _OTHERS if marks <= set(keys)), None)


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
    if recipes := [each for each in _ending(folder, RECIPES) if not each.endswith(LOCKS)]:
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
