"""LoRAs that were trained on a model's inner part, or on a model around it: their names lack their beginning.

`encoder.layer.0…` of a BertModel is `bert.encoder.layer.0…` in every model with a head for a task.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.families import TRANSFORMERS_COMPONENT
from loramerge.formats.spelling import spelled
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.bases.base import Base

_WRAPPERS = re.compile(r"(\.base_layer)+$")


@dataclass(frozen=True)
class Shift:
    """What all names of a file have too much of, or lack, at their beginning.

    Attributes:
        removed: What stands before them in the file alone.
        added: What stands before them in the base alone.
        example: One of the names, as the file has it.
    """

    removed: str
    added: str
    example: str

    def __call__(self, name: str) -> str:
        """The name in the base."""
        return f"{self.added}{name.removeprefix(self.removed)}"

    def __str__(self) -> str:
        what = "an inner part of the base" if self.added else "a model around the base"
        return f"its names are those of {what}: {self.example} is read as {self(self.example)}"


def shift_of(reference: str, keys: Iterable[str], base: Base) -> Shift | None:
    """How the names of a file differ from the base's; None where any of them is the base's, or none comes near.

    Args:
        reference: For messages.
        keys: Of the file's tensors.
        base: Only the layers of a lone model are looked at.

    Raises:
        MismatchError: Several parts of the base have layers of such names.
    """
    if not base.is_model:
        return None
    # A pair for a parameter stands at the module that has it, within PEFT's wrappers around that.
    names = sorted({_WRAPPERS.sub("", spelling.written) for key in keys if (spelling := spelled(key)) is not None})
    component = base.components[TRANSFORMERS_COMPONENT]
    known = {name: module for module, live in component.live.items() for name in (live, module)}
    known |= {owner: owner for parameter in component.stacks if (owner := parameter.rpartition(".")[0])}
    if not names or any(name in known for name in names):
        return None
    return _longer(reference, names, known) or _shorter(names, known)


def _longer(reference: str, names: list[str], known: Mapping[str, str]) -> Shift | None:
    first = names[0]
    heads = sorted(name.removesuffix(first) for name in known if name.endswith(f".{first}"))
    # A layer may be known by two names: what counts is which layers are meant.
    meant = {
        tuple(known[f"{head}{name}"] for name in names): head
        for head in heads
        if all(f"{head}{name}" in known for name in names)
    }
    if len(meant) > 1:
        raise MismatchError(
            f"{reference} was trained on a part of the base, and several have layers of such names: {first} is "
            f"{some(f'{head}{first}' for head in meant.values())}",
            hint="save it from the whole model, so that its names are whole",
        )
    return next((Shift("", head, first) for head in meant.values()), None)


def _shorter(names: list[str], known: Mapping[str, str]) -> Shift | None:
    parts = names[0].split(".")
    for count in range(1, len(parts)):
        head = ".".join([*parts[:count], ""])
        if all(name.startswith(head) and name.removeprefix(head) in known for name in names):
            return Shift(head, "", names[0])
    return None
