"""From the tensors of a LoRA file to its pairs: every tensor is used, and each pair is whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.messages import counted, some
from loramerge.numerics.finite import LARGEST, is_finite
from loramerge.numerics.threads import one_thread
from loramerge.tensor_files.lazy import INTEGERS, READABLE, StoredLowRank, StoredTensor

if TYPE_CHECKING:
    from loramerge.adapter import LowRank
    from loramerge.families.layout import Span
    from loramerge.formats.spelling import Role
    from loramerge.tensor_files.safetensors import TensorFile

Slot = dict["Role", tuple[str, tuple["Span", ...]]]
"""The tensors of a module by their roles: key, and the rows that count."""
ScaleRule = Callable[[str, str, int, "float | None"], float]
"""(component, module, rank, alpha from the file or None) → scale."""
_DIMENSIONS = {2, 3, 4, 5}
_TOO_LARGE = f"float32, in which LoRAs are read, ends at {LARGEST:g}"


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor of a file belongs.

    Attributes:
        component: Of the base.
        module: Its canonical name.
        role: Of the tensor in the module's pair.
        spans: The rows of it that are the module's own, where it holds those of others as well.
    """

    component: str
    module: str
    role: Role
    spans: tuple[Span, ...] = ()


def alpha_over_rank(component: str, module: str, rank: int, alpha: float | None) -> float:
    """The rule of files that carry their own alpha: alpha / rank, and 1 where a module has no alpha.

    kohya's sd-scripts (networks/lora.py) take a missing alpha for the module's rank.
    """
    del component, module
    return 1.0 if alpha is None else alpha / rank


def assemble(
    reference: str, file: TensorFile, places: Iterable[tuple[str, Sequence[TensorPlace]]], scale_of: ScaleRule
) -> dict[str, dict[str, LowRank]]:
    """Pairs by component and module; their numbers stay in the file.

    Args:
        reference: For messages.
        file: The open file.
        places: For every key where it belongs, to several modules where it holds the rows of all of them; nowhere
            where the format does not know the key.
        scale_of: How the scale follows from rank and alpha.

    Raises:
        SourceError: Unknown keys, unpaired or doubled tensors, ranks that differ within a pair, NaN or infinity.
    """
    slots: dict[tuple[str, str], Slot] = {}
    unknown = []
    for key, held in places:
        if not held:
            unknown.append(key)
        for place in held:
            slot = slots.setdefault((place.component, place.module), {})
            if place.role in slot:
                raise SourceError(f"{reference}: {key} and {slot[place.role][0]} are the same tensor under two names")
            slot[place.role] = key, place.spans
    if unknown:
        raise SourceError(
            f"{reference} has {counted(len(unknown), 'key')} that no part of a LoRA explains: {some(unknown)}",
            hint="convert the file with the tool that made it; nothing is dropped silently",
        )
    components: dict[str, dict[str, LowRank]] = {}
    for (component, module), slot in slots.items():
        components.setdefault(component, {})[module] = _pair(reference, file, (component, module), slot, scale_of)
    with one_thread():  # handing them to threads takes several times as long as looking at them
        for key in file.keys:
            _check_numbers(reference, file, key)
    return components


def _pair(
    reference: str,
    file: TensorFile,
    where: tuple[str, str],
    slot: Slot,
    scale_of: ScaleRule,
) -> LowRank:
    missing = [role for role in ("down", "up") if role not in slot]
    if missing:
        key, _ = next(iter(slot.values()))
        raise SourceError(
            f"{reference}: {key} has no {missing[0]} half: the pair is incomplete", hint="fetch the file again"
        )
    keys = {role: key for role, (key, _) in slot.items()}
    down, whole = (_numbers(reference, file, keys[role]) for role in ("down", "up"))
    spans = slot["up"][1]
    up = whole.rows(spans) if spans else whole
    if not {len(down.shape), len(up.shape)} <= _DIMENSIONS or up.shape[1] != down.shape[0] or not down.shape[0]:
        raise SourceError(
            f"{reference}: {keys['down']} {list(down.shape)} and {keys['up']} {list(whole.shape)} are no pair: "
            "down should be rank×in, up out×rank"
        )
    if math.prod(up.shape[2:]) != 1:
        raise SourceError(f"{reference}: {keys['up']} {list(up.shape)} should have a kernel of one element")
    alpha = None
    if "alpha" in slot:
        tensor = _numbers(reference, file, keys["alpha"], (*READABLE, *INTEGERS))
        if math.prod(tensor.shape) != 1 or not (value := float(tensor.read().double())):
            raise SourceError(
                f"{reference}: {keys['alpha']} should be one number other than 0: tools disagree about what 0 means",
                hint="merge a LoRA whose alpha says how strong it is",
            )
        alpha = value
    scale = scale_of(*where, down.shape[0], alpha)
    if LARGEST < abs(scale) < math.inf:
        raise SourceError(
            f"{reference}: {'.'.join(where)} has an alpha that, over its rank, is {scale:g}; {_TOO_LARGE}",
            hint="the file is damaged; fetch it again, or use another checkpoint",
        )
    return StoredLowRank(down, up, scale)


def _numbers(reference: str, file: TensorFile, key: str, formats: Sequence[str] = READABLE) -> StoredTensor:
    if file.dtype(key) not in formats:
        raise SourceError(
            f"{reference}: {key} holds {file.dtype(key)}, expected floating-point numbers ({', '.join(READABLE)})",
            hint="convert the file with the tool that made it",
        )
    return file.tensor(key)


def _check_numbers(reference: str, file: TensorFile, key: str) -> None:
    stored = file.tensor(key)
    if is_finite(stored.load()):
        return
    if is_finite(found := stored.read().double()):
        raise SourceError(
            f"{reference}: {key} holds {float(found.abs().max()):g}; {_TOO_LARGE}",
            hint="use another checkpoint; no model computes with such numbers",
        )
    raise SourceError(
        f"{reference}: {key} holds NaN or infinite values", hint="the training diverged; use another checkpoint"
    )
