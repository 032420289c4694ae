"""What becomes of parameters that LoRAs trained in full, and of what their settings say beside ranks and scales.

Such a parameter takes the place of the base's own. Two of them have no sum that is exact, so there can be one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.adapter import BASE, TASK, TASKS_WITH_HEADS
from loramerge.errors import MismatchError
from loramerge.messages import counted, some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.tensor_files.saved import SavedTensor


@dataclass(frozen=True)
class WholeParameters:
    """What comes along with a merge beside its pairs.

    Attributes:
        saved: Parameters that were trained in full, by component and name.
        embeddings: Textual inversions, as the LoRAs have them.
        settings: `BASE` and `TASK`, where the LoRAs agree.
        notes: What is to be said of it.
    """

    saved: Mapping[str, Mapping[str, SavedTensor]]
    embeddings: Mapping[str, SavedTensor]
    settings: Mapping[str, str]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, loras: Mapping[str, Adapter]) -> WholeParameters:
        """What LoRAs have of it.

        Args:
            loras: By name, those that take part.

        Raises:
            MismatchError: Two of them differ, one trained in full what another has a pair for, or two bring other
                textual inversions for one token.
        """
        saved = _saved(loras)
        settings, notes = _settings(list(loras.values()), with_head=bool(saved))
        embeddings = _embeddings(loras)
        told = [f"LoRA {name} brings {_shown(adapter)}" for name, adapter in loras.items() if adapter.embeddings]
        return cls(saved, embeddings, settings, (*_notes(loras, saved), *told, *notes))


def _embeddings(loras: Mapping[str, Adapter]) -> dict[str, SavedTensor]:
    found: dict[str, SavedTensor] = {}
    owners: dict[str, str] = {}
    for lora, adapter in loras.items():
        for name, tensor in adapter.embeddings.items():
            token = name.partition(".")[0]
            owner = owners.setdefault(token, lora)
            if owner != lora and not (name in found and found[name].equals(tensor)):
                raise MismatchError(
                    f"LoRAs {owner} and {lora} both bring a textual inversion called {token}, and theirs differ: a "
                    "prompt can mean one of both",
                    hint="leave one of them out, or rename the token in one file (bundle_emb.…)",
                )
            found[name] = tensor
    return found


def _shown(adapter: Adapter) -> str:
    tokens = dict.fromkeys(name.partition(".")[0] for name in adapter.embeddings)
    size = sum(tensor.size for tensor in adapter.embeddings.values())
    return (
        f"{counted(len(tokens), 'textual inversion')}, {some(tokens)} ({size:,} bytes), as they are: no weight scales "
        "them, and a prompt calls them by name"
    )


def _saved(loras: Mapping[str, Adapter]) -> dict[str, dict[str, SavedTensor]]:
    found: dict[str, dict[str, SavedTensor]] = {}
    owners: dict[tuple[str, str], str] = {}
    for lora, adapter in loras.items():
        for component, name, tensor in adapter.each_saved():
            known = found.setdefault(component, {})
            owner = owners.setdefault((component, name), lora)
            if name in known and not known[name].equals(tensor):
                raise MismatchError(
                    f"LoRAs {owner} and {lora} both trained {component}.{name.rpartition('.')[0]} in full, and theirs "
                    f"differ ({name}): such parameters have no exact weighted sum",
                    hint="leave one of them out, or train them again without it in modules_to_save",
                )
            if name not in known or known[name].module is None:
                known[name] = tensor
    _check_pairs(loras, found, owners)
    return found


def _check_pairs(
    loras: Mapping[str, Adapter],
    saved: Mapping[str, Mapping[str, SavedTensor]],
    owners: Mapping[tuple[str, str], str],
) -> None:
    for component, tensors in saved.items():
        wrapped = {tensor.module: name for name, tensor in tensors.items() if tensor.module is not None}
        for lora, adapter in loras.items():
            for module in adapter.components.get(component, {}):
                name = next((name for each, name in wrapped.items() if f"{module}.".startswith(f"{each}.")), None)
                if name is not None:
                    raise MismatchError(
                        f"LoRA {owners[component, name]} trained {component}.{module} in full, and LoRA {lora} has a "
                        "pair for it; PEFT can load one of both",
                        hint="leave one of them out",
                    )


def _settings(adapters: Sequence[Adapter], *, with_head: bool) -> tuple[dict[str, str], list[str]]:
    """What the settings say where all agree that say anything, and a word on a task that can't be said."""
    said = {key: {each.settings[key] for each in adapters if key in each.settings} for key in (BASE, TASK)}
    agreed = {key: values.pop() for key, values in said.items() if len(values) == 1}
    task = agreed.get(TASK)
    if with_head or task not in TASKS_WITH_HEADS:
        return agreed, []
    return agreed, [f"no LoRA has the head that PEFT looks for by task_type {task}: the setting is left out"]


def _notes(loras: Mapping[str, Adapter], saved: Mapping[str, Mapping[str, SavedTensor]]) -> Iterator[str]:
    for component, tensors in saved.items():
        by_owner: dict[tuple[str, ...], list[str]] = {}
        for name in tensors:
            owners = tuple(lora for lora, adapter in loras.items() if name in adapter.saved.get(component, {}))
            by_owner.setdefault(owners, []).append(name)
        for owners, names in by_owner.items():
            size = sum(tensors[name].size for name in names)
            who = f"LoRA {owners[0]}" if len(owners) == 1 else f"LoRAs {' and '.join(owners)}, which agree"
            yield (
                f"{component}: {some(names)} ({counted(len(names), 'tensor')}, {size:,} bytes), trained in full, come "
                f"from {who}, as they are: no weight scales them"
            )
