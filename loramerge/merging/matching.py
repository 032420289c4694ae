"""What of a base a `match` means: a component, blocks or kinds of layers, named as weights by block name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from loramerge.bases.blocks import OTHER
from loramerge.documents.problems import did_you_mean
from loramerge.errors import MismatchError
from loramerge.merging import ranges
from loramerge.merging.layer_weights import NAMES, layer_weights, lists_of, names_of
from loramerge.merging.unet_weights import WeighedUNet
from loramerge.messages import any_of

if TYPE_CHECKING:
    from loramerge.bases.base import Base

Matching = Callable[[str, str], bool]
"""(component, module) → whether it is meant."""

_UNET = "unet"
_SIDES = ("down", "up")


def matching(where: str, match: str, base: Base) -> Matching:
    """Which modules a `match` means.

    Args:
        where: What it stands at, for messages.
        match: A component, or with or without its name and a dot before it `mid`, `down`, `up.block_1`, `other`,
            `blocks`, `blocks.0-9`, `attention`, `mlp`, `modulation`. Without, it is the base's main component.
        base: Has the blocks.

    Raises:
        MismatchError: The base has nothing of this name.
    """
    if match in base.components:
        return lambda component, _: component == match
    for component, rest in _readings(match, base):
        given = _as_weights(component, rest, base)
        if given is not None:
            return _within(f"{where}: {component}", component, given, base)
    known = [*base.components, *_known(base)]
    raise MismatchError(
        f"{where}: the base has nothing that is called {match!r}{did_you_mean(match, known)}",
        hint=f"it has {any_of(known)}, and in {base.main} {_blocks_of(base)}",
    )


def _readings(match: str, base: Base) -> Iterator[tuple[str, str]]:
    """Component and the rest: that which comes first may be a component's name, or a part of the block's."""
    first, dot, rest = match.partition(".")
    if dot and first in base.components:
        yield first, rest
    yield base.main, match


def _as_weights(component: str, rest: str, base: Base) -> Mapping[str, Any] | None:
    """A mapping of weights that names this and nothing else; None where the component has nothing of the name."""
    name, _, last = rest.rpartition(".")
    if component == _UNET:
        if rest in {*_SIDES, "mid", OTHER}:
            return {rest: 1.0}
        return {name: {last: 1.0}} if name in _SIDES and ranges.is_range(last.removeprefix("block_")) else None
    lists = names_of(base.components[component])
    if rest in {*NAMES, OTHER, *lists}:
        return {rest: 1.0}
    return {name: {last: 1.0}} if name in lists and ranges.is_range(last) else None


def _within(where: str, component: str, given: Mapping[str, Any], base: Base) -> Matching:
    of = base.components[component]
    weighed = (
        WeighedUNet.of(where, given, of.modules)
        if component == _UNET
        else layer_weights(where, given, of, base.family.kinds)
    )
    return lambda other, module: other == component and weighed.weight(module) is not None


def _known(base: Base) -> tuple[str, ...]:
    """What a match of the main component can begin with."""
    if base.main == _UNET:
        return (*_SIDES, "mid", OTHER)
    return (*names_of(base.components[base.main]), *sorted(NAMES), OTHER)


def _blocks_of(base: Base) -> str:
    return "down.block_0, up.block_1, …" if base.main == _UNET else lists_of(base.components[base.main])
