"""What must fit together in a recipe's rules for parts of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from loramerge.documents.problems import did_you_mean
from loramerge.messages import any_of
from loramerge.recipe.weightless import mappings

if TYPE_CHECKING:
    from loramerge.documents.problems import KeyPath


def part_mistakes(data: Mapping[str, Any], loras: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[KeyPath, str]]:
    """LoRAs that there are not, and parts that are named twice.

    Args:
        data: The recipe as plain data; whatever has the wrong shape is passed over.
        loras: Its LoRAs by their places.
    """
    merge = data.get("merge")
    if not isinstance(merge, Mapping):
        return
    known = [name for lora in loras.values() for name in _called(lora)]
    first: dict[str, int] = {}
    for index, rule in mappings(merge, "parts"):
        taken = rule.get("loras")
        for place, name in enumerate(taken if isinstance(taken, (list, tuple)) else ()):
            if isinstance(name, str) and name not in known:
                message = f"there is no LoRA {name!r}; expected {any_of(map(repr, known))}"
                yield ("merge", "parts", index, "loras", place), message + did_you_mean(name, known)
        match = rule.get("match")
        for name in [match] if isinstance(match, str) else match if isinstance(match, (list, tuple)) else []:
            if isinstance(name, str) and (earlier := first.setdefault(name, index)) != index:
                what = f"part {earlier} is for {name!r} already; a module has one rule"
                yield ("merge", "parts", index, "match"), what


def _called(lora: Mapping[str, Any]) -> Iterator[str]:
    """The LoRA's, and that of what it has for each denoiser."""
    if isinstance(name := lora.get("name"), str):
        yield name
        if isinstance(source := lora.get("source"), Mapping):
            yield from (f"{name}-{component}" for component in source)
