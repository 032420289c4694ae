"""How strong a merge is beside its LoRAs, in words, where that is to be thought over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from loramerge.families import TRANSFORMERS_COMPONENT
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.analysis.fidelity import Fidelity, ModuleFidelity
    from loramerge.merging.block_weights import Weighing

STRONG = 2.0
"""Times the norm of the strongest LoRA at weight 1: beyond it a merge is more than any of them worn at strength 2,
where pictures begin to break."""
LITTLE = 0.5
"""Share of a LoRA in a merge below which its concept is not to be seen: docs/methods-compared.md has the figures."""
_NOTHING = 1e-7
"""Share of what went in below which what came out is rounding."""


def strength(fidelity: Fidelity, weighings: Mapping[str, Weighing]) -> list[str]:
    """A sentence where the merge is nothing at all, holds little of a LoRA, or is far more than each of them.

    Args:
        fidelity: Of the merge.
        weighings: The weights of every LoRA, by its name.
    """
    return [*(list(_nothing(fidelity)) or _too_little(fidelity)), *_too_much(fidelity, weighings)]


def shares(fidelity: Fidelity) -> dict[str, float]:
    """⟨merged, Δ⟩ / ‖Δ‖² of each LoRA's weighted delta Δ, over all modules that it touches; see analysis.kept.

    Args:
        fidelity: Of the merge.

    Returns:
        By name; LoRAs that do nothing are not there.
    """
    held: dict[str, float] = {}
    own: dict[str, float] = {}
    for modules in fidelity.values():
        for entry in modules.values():
            for name, product in entry.held.items():
                held[name] = held.get(name, 0.0) + product
                own[name] = own.get(name, 0.0) + entry.norms[name] ** 2
    return {name: held[name] / size for name, size in own.items() if size > 0}


def _too_little(fidelity: Fidelity) -> Iterator[str]:
    found = shares(fidelity)
    little = {name: share for name, share in found.items() if share < LITTLE}
    if little and len(found) > 1:  # of a single LoRA the fidelity says it
        said = some([f"{max(share, 0):.0%} of {name}" for name, share in little.items()])
        whose = "its weight" if len(little) == 1 else "their weights"
        advice = f"raise {whose}, or take another combination type"
        yield f"the merge holds {said}: expect to see little of that, or nothing; {advice}"


def _nothing(fidelity: Fidelity) -> Iterator[str]:
    inputs = {component: _inputs(modules) for component, modules in fidelity.items()}
    every = [name for norms in inputs.values() for name in norms]
    zero = [name for name in dict.fromkeys(every) if not any(norms.get(name) for norms in inputs.values())]
    for name in zero:
        yield f"LoRA {name}: every weight in it is zero, so it changes nothing; was it trained?"
    empty = [
        component
        for component, modules in fidelity.items()
        if math.hypot(*(entry.norm for entry in modules.values())) <= _NOTHING * math.hypot(*inputs[component].values())
    ]
    if not empty:
        return
    what = "the merge" if len(empty) == len(fidelity) else f"the merge of {', '.join(empty)}"
    if all(not any(inputs[component].values()) for component in empty):
        why = "what went in is zero"
    else:
        why = "what went in cancels out; change the weights, or leave the LoRAs out"
    yield f"{what} is zero and changes nothing: {why}"


def _inputs(modules: Mapping[str, ModuleFidelity]) -> dict[str, float]:
    """Name of a LoRA → norm of all it does there, at its weight."""
    names = dict.fromkeys(name for entry in modules.values() for name in entry.norms)
    return {name: math.hypot(*(entry.norms.get(name, 0.0) for entry in modules.values())) for name in names}


def _too_much(fidelity: Fidelity, weighings: Mapping[str, Weighing]) -> Iterator[str]:
    found = {}
    for component, modules in fidelity.items():
        own: dict[str, list[float]] = {}
        for module, entry in modules.items():
            for name, norm in entry.norms.items():
                own.setdefault(name, []).append(norm / abs(weighings[name](component, module)))
        sizes = {name: math.hypot(*norms) for name, norms in own.items()}
        strongest = max(sizes, key=lambda name: sizes[name])
        if sizes[strongest] > 0:
            ratio = math.hypot(*(entry.norm for entry in modules.values())) / sizes[strongest]
            if round(ratio, 2) > STRONG:
                found[component] = f"{component} {ratio:.1f} times as strong as {strongest}"
    if found:
        spoilt = (
            "a model that says nothing sensible"
            if TRANSFORMERS_COMPONENT in found
            else "colours that are too strong, or broken pictures"
        )
        yield (
            f"the merge is much stronger than each of its LoRAs at weight 1 ({', '.join(found.values())}): expect "
            f"{spoilt}; lower the weights, or load it at a lower strength"
        )
