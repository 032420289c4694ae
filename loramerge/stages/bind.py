"""Stage: what LoRAs add that depends on the base's weights is bound to these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.extraction.weights import Weights, weights_of
from loramerge.messages import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base
    from loramerge.deltas.kind import Numbers


@dataclass(frozen=True)
class BaseWeights:
    """The base with its files.

    Attributes:
        base: Without its weights.
        folder: Where its files lie.
        names: Of them.
    """

    base: Base
    folder: Path
    names: Sequence[str]

    @cached_property
    def found(self) -> Weights:
        """Where they lie; headers are read."""
        return weights_of(self.base, self.folder, self.names)

    def of(self, component: str, module: str) -> Numbers:
        """The weight of a layer.

        Raises:
            SourceError: The base's files are damaged, or lack a layer.
            MismatchError: The layer has no weight of its own, or keeps it the other way round.
        """
        placed = self.found.layers.get(component, {}).get(module)
        if placed is None or placed.is_turned:
            why = "no weight of its own" if placed is None else "its weight as in×out"
            raise MismatchError(
                f"{self.base.reference}: {component}.{module} has {why}, and what a DoRA adds depends on it",
                hint="have PEFT merge it into the loaded model (merge_and_unload), and extract a LoRA of that",
            )
        return placed.rows


def bind(name: str, adapter: Adapter, base: BaseWeights, *, said: bool) -> Adapter:
    """A LoRA whose DoRAs are what they add to this base.

    Args:
        name: The LoRA's, for messages.
        adapter: Fitted to the base.
        base: With its weights, where the recipe says that they are needed.
        said: Whether the recipe says so.

    Raises:
        SourceError: The base's files are damaged, or lack a layer.
        MismatchError: The recipe does not say that the LoRA is a DoRA, or says it of one that is none.
    """
    needing = [(component, module) for component, module, pair in adapter if pair.needs_weight]
    if needing and not said:
        raise MismatchError(
            f"LoRA {name} is a DoRA ({counted(len(needing), 'module')}, first {'.'.join(needing[0])}): what it adds "
            "depends on the base's weights, which are read only where the recipe says that they are needed",
            hint="add `dora: true` to the LoRA in the recipe; `loramerge merge` with --base does",
        )
    if said and not needing:
        raise MismatchError(
            f"LoRA {name} is no DoRA: none of its {counted(len(adapter), 'module')} has a magnitude",
            hint="leave out `dora: true`, or name the file that is meant",
        )
    if not needing:
        return adapter
    bound = {
        component: {
            module: pair.bound(base.of(component, module)) if pair.needs_weight else pair
            for module, pair in modules.items()
        }
        for component, modules in adapter.components.items()
    }
    return replace(adapter, components=bound)
