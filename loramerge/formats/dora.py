"""DoRAs as PEFT has them: `lora_magnitude_vector` beside the pair (peft/tuners/lora/dora.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from loramerge.deltas.computed import ComputedLowRank
from loramerge.deltas.rescaled import Rescaled
from loramerge.errors import MismatchError
from loramerge.tensor_files.header import STORED_AS
from loramerge.tensor_files.planned import Planned, factors, rounded

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Adapter, LowRank
    from loramerge.deltas.kind import Numbers


def throughout(adapter: Adapter, weights: Callable[[str, str], Numbers]) -> Adapter:
    """The same adapter; in a component where one module is a DoRA all are, which leaves plain ones what they are.

    Args:
        adapter: Of pairs and DoRAs.
        weights: (component, module) → the base's weight.
    """
    components = dict(adapter.components)
    for component, modules in adapter.components.items():
        if any(pair.is_rescaled for pair in modules.values()):
            components[component] = {
                module: pair if pair.is_rescaled else Rescaled.unscaled(pair, weights(component, module))
                for module, pair in modules.items()
            }
    return replace(adapter, components=components)


def rank_of(pair: LowRank) -> int:
    """The rank of what PEFT has of it: of a DoRA its pair's."""
    return pair.pair_rank if isinstance(pair, Rescaled) else pair.rank


def planned(pair: LowRank, key: str, dtype: str, module: str) -> Iterator[Planned]:
    """The three tensors of a DoRA.

    Args:
        pair: One that `is_rescaled`.
        key: Of the module.
        dtype: `float32`, `float16` or `bfloat16`.
        module: For messages.
    """
    assert isinstance(pair, Rescaled)  # noqa: S101  whoever calls it has asked

    def halves() -> tuple[Tensor, Tensor]:
        found = _as_dora(pair, module)[1]
        return found.down, found.up

    formats = pair.number_formats
    made = ComputedLowRank(
        halves, pair.shape, pair.pair_rank, 1.0, kind=pair.kind, trained_rank=None, number_formats=formats
    )
    yield from factors(made, (f"{key}.lora_A.weight", f"{key}.lora_B.weight"), dtype, module)
    kernel = pair.shape[2:]
    axes = (1, pair.shape[0], *(1 for _ in kernel)) if kernel else (pair.shape[0],)

    def magnitude() -> Tensor:
        return rounded(_as_dora(pair, module)[0].reshape(axes), 1.0, dtype, module)

    yield Planned(f"{key}.lora_magnitude_vector", STORED_AS[dtype], axes, magnitude)


def _as_dora(pair: Rescaled, module: str) -> tuple[Tensor, LowRank]:
    try:
        return pair.as_dora()
    except ZeroDivisionError:
        raise MismatchError(
            f"a row of {module} becomes zero, and no DoRA does that",
            hint="change a weight a little, or write `kind: model`",
        ) from None
