"""What published models consist of, kept as data: names and shapes, so that no library has to build a model for them.

Layers lie in one file for each family, all other parameters in another, which few LoRAs need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loramerge.families.layout import Shapes

FOLDER = Path(str(files("loramerge") / "families" / "sizes"))
OTHERS = Path(str(files("loramerge") / "families" / "parameters"))


@cache
def layers_of(family: str, size: str) -> Mapping[str, Shapes]:
    """Component → shape of the weight of each of its layers, in the order in which the architecture defines them.

    Args:
        family: Its name.
        size: Of those that were published.

    Returns:
        The components that are kept; empty where none is.
    """
    return _of_file(FOLDER, family, size)


@cache
def others_of(family: str, size: str) -> Mapping[str, Shapes]:
    """Component → shape of every parameter that is no layer's weight: norms, biases and the like.

    Args:
        family: Its name.
        size: Of those that were published.

    Returns:
        By the names of the parameters, `….bias` and `….weight`; the components that are kept, empty where none is.
    """
    return _of_file(OTHERS, family, size)


def _of_file(folder: Path, family: str, size: str) -> Mapping[str, Shapes]:
    name = f"{family}.json"
    if not (folder / name).is_file():
        return {}
    text = files("loramerge").joinpath("families", folder.name, name).read_text(encoding="utf-8")
    kept = json.loads(text).get(size, {})
    return {component: dict(_unfolded("", entries)) for component, entries in kept.items()}


def folded(shapes: Shapes) -> list[Any]:
    """Shapes as nested lists: neighbours that differ in a number alone are written once.

    `[name, shape]` is a tensor, `[name, first, last, entries]` are numbered blocks of the same tensors.
    """
    return _folded([(name.split("."), list(shape)) for name, shape in shapes.items()])


Entry = tuple[list[str], list[int]]


def _folded(entries: Sequence[Entry]) -> list[Any]:
    found: list[Any] = []
    at = 0
    while at < len(entries):
        path, shape = entries[at]
        place = next((place for place, part in enumerate(path[:-1]) if place and part.isdigit()), None)
        if place is None:
            found.append([".".join(path), shape])
            at += 1
            continue
        stem, first = path[:place], int(path[place])
        block = _block(entries, at, stem, first)
        last, size = first, len(block)
        while _block(entries, at + size * (last - first + 1), stem, last + 1) == block:
            last += 1
        found.append([".".join(stem), first, last, _folded(block)])
        at += size * (last - first + 1)
    return found


def _block(entries: Sequence[Entry], at: int, stem: list[str], number: int) -> list[Entry]:
    """The tensors of a numbered block that stand one after the other, without its name."""
    start = [*stem, str(number)]
    found = []
    for path, shape in entries[at:]:
        if path[: len(start)] != start or len(path) == len(start):
            break
        found.append((path[len(start) :], shape))
    return found


def _unfolded(prefix: str, entries: Sequence[Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, *rest in entries:
        if len(rest) == 1:
            yield f"{prefix}{name}", tuple(rest[0])
            continue
        first, last, inner = rest
        for number in range(first, last + 1):
            yield from _unfolded(f"{prefix}{name}.{number}.", inner)
