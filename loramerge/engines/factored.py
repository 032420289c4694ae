"""PEFT's combination types from the factors alone: no model, and a dense delta only where a type prunes deltas.

Module by module, so that neither the order of modules nor the number of workers can show. What PEFT computes without
a decomposition comes out the same to the bit, but for `cat`, which rounds once where PEFT rounds twice. DARE draws its
masks from the seed, the LoRA's name, the module and the factor instead of one generator for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

from loramerge.merging import batches, kernels
from loramerge.merging.kernels import Module
from loramerge.merging.module import Finish, Finished, Merged, Part, shares
from loramerge.methods import Cat, Linear, Method
from loramerge.numerics.threads import cores, in_order, one_thread, workers

if TYPE_CHECKING:
    from loramerge.bases.base import Component

_AHEAD = 4  # modules per worker that are merged or waiting at a time


def merge_component(  # noqa: PLR0913  # what both engines take
    component: Component,
    parts: Sequence[Part],
    method: Method,
    *,
    seed: int,
    device: str,
    finish: Finish[Finished],
    advance: Callable[[], None] = lambda: None,
    threads: int | None = None,
    alone: bool = False,
) -> dict[str, Finished]:
    """Merge the LoRAs of one component, a few modules in memory at a time.

    Args:
        component: The base's component.
        parts: The LoRAs, at least one module each. A single one is merged as `linear`, whatever the method, unless
            it is alone.
        method: The combination type with its parameters.
        seed: Of DARE's masks.
        device: `cpu` or `cuda`.
        finish: Gets the merged pair of every module that any LoRA touches, float32 on the CPU.
        advance: Called once for each LoRA and once more.
        threads: How many modules are merged at a time; as many as there are cores by default. It changes no bit.
        alone: There is no other LoRA in any component either: it is cut to the method's rank, and its ranks never grow.

    Returns:
        What `finish` made of each module, sorted by name.
    """
    chosen = method if len(parts) > 1 or alone else _of_one(parts[0], method)
    largest = max(pair.rank for part in parts for pair in part.modules.values())

    names = sorted({module for part in parts for module in part.modules})
    one = partial(kernels.merged, method=chosen, largest=largest, seed=seed, device=device, alone=alone)
    many = partial(batches.merged, method=chosen, largest=largest, seed=seed, device=device, alone=alone)
    count = threads or cores()
    finished: dict[str, Finished] = {}
    steps, told = len(parts) + 1, 0

    def merge(name: str) -> tuple[str, Finished]:
        inputs = shares(parts, name)
        return name, finish(name, inputs, one(Module(f"{component.name}.{name}", inputs)))

    with one_thread(), workers(count) as pool:
        if device == "cpu":
            found = in_order(pool, merge, names, ahead=_AHEAD * count)
        else:
            found = _in_batches(component, parts, names, many, pool, finish)
        for name, made in found:
            finished[name] = made
            while told < steps * len(finished) // len(names):
                advance()
                told += 1
    return dict(sorted(finished.items()))


def _of_one(part: Part, method: Method) -> Method:
    """What merges a single LoRA of a component: its factors are what they were, times its weight.

    A full difference has none; it is cut where the method cuts.
    """
    if not any(pair.is_dense for pair in part.modules.values()):
        return Linear(combination_type="linear")
    return method if method.decomposes else Cat(combination_type="cat")


def _in_batches(
    component: Component,
    parts: Sequence[Part],
    names: Sequence[str],
    merge: Callable[[Sequence[Module]], list[Merged]],
    pool: Executor,
    finish: Finish[Finished],
) -> Iterator[tuple[str, Finished]]:
    """Modules of one shape go to the device together, one batch after the other; the processors finish them."""
    for batch in batches.of(parts, names):
        inputs = {name: shares(parts, name) for name in batch}
        merged = merge([Module(f"{component.name}.{name}", given) for name, given in inputs.items()])
        yield from zip(batch, pool.map(finish, batch, inputs.values(), merged), strict=True)
