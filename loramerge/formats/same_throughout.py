"""Whether a LoRA file agrees with itself: one adapter, and alphas for all parts of a layer or for none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError, SourceError
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.assemble import TensorPlace
    from loramerge.formats.spelling import Spelling

_WITH_ADAPTER = frozenset({"down", "up"})
"""Roles of tensors in whose keys PEFT writes the adapter's name; in that of a magnitude it may."""
Places = Sequence[tuple[str, tuple["TensorPlace", ...]]]
"""For every key of a file where its tensor belongs."""


def check_one_adapter(reference: str, spellings: Iterable[Spelling]) -> None:
    """Raise where a file holds several adapters.

    Args:
        reference: For messages.
        spellings: Of its keys.

    Raises:
        SourceError: Names them.
    """
    found = [(each.role in _WITH_ADAPTER, each.adapter) for each in spellings]
    names = {name for has_one, name in found if has_one}
    if names != {None}:
        names |= {name for _, name in found if name is not None}
    if len(names) > 1:
        shown = some(sorted(name or "one without a name" for name in names))
        raise SourceError(
            f"{reference} holds {len(names)} adapters: {shown}", hint="save each adapter into a file of its own"
        )


def check_alphas(reference: str, base: Base, found: Places) -> None:
    """Raise where one part of a fused layer has an alpha and another has none: one of them is not what it was.

    Args:
        reference: For messages.
        base: Knows the fused layers.
        found: For every key of the file where its tensor belongs.

    Raises:
        MismatchError: Names both parts.
    """
    roles: dict[tuple[str, str], set[str]] = defaultdict(set)
    for _, held in found:
        for place in held:
            roles[place.component, place.module].add(place.role)
    for (component, module), own in roles.items():
        if component not in base.components:
            continue
        original = base.components[component].layout.by_canonical.get(module)
        if original is None or "alpha" not in own:
            continue
        for part in original.parts:
            others = roles.get((component, part.canonical))
            if others and "alpha" not in others:
                raise MismatchError(
                    f"{reference}: {component}.{module} has an alpha and {component}.{part.canonical} has none; both "
                    f"are parts of {original.name}",
                    hint="use the file as its trainer wrote it",
                )
