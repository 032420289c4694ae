"""From the tensors of a LoRA file to its deltas: every tensor is used, and each delta is whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.deltas import kinds_of
from loramerge.deltas.dora import MAGNITUDE, SCALE, with_magnitude
from loramerge.deltas.kind import ShapeError
from loramerge.deltas.low_rank import LowRankKind
from loramerge.errors import MismatchError, SourceError
from loramerge.messages import counted, some
from loramerge.numerics.finite import LARGEST, is_finite
from loramerge.numerics.threads import in_order, workers
from loramerge.tensor_files.lazy import INTEGERS, READABLE

if TYPE_CHECKING:
    from loramerge.adapter import LowRank
    from loramerge.deltas.kind import Kind, Numbers
    from loramerge.families.layout import Span
    from loramerge.formats.spelling import Role
    from loramerge.tensor_files.lazy import StoredTensor
    from loramerge.tensor_files.safetensors import TensorFile
    from loramerge.tensor_files.stacked import ExpertFactor

Slot = dict["Role", tuple[str, tuple["Span", ...]]]
"""The tensors of a module by their roles: key, and the rows of the delta that count."""
ScaleRule = Callable[[str, str, "int | None", "float | None"], float]
"""(component, module, rank or None where nothing is factored, alpha from the file or None) → scale."""
_SUMMED = ("F32", "F16", "BF16")
"""Number formats that are looked at as they are: torch sums no float8, and a float64 may be too large for float32."""
_SOME, _AHEAD = 32, 16
"""Tensors that are looked at in one go, and how many of these goes wait."""
_TOO_LARGE = f"float32, in which LoRAs are read, ends at {LARGEST:g}"


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor of a file belongs.

    Attributes:
        component: Of the base.
        module: Its canonical name.
        role: Of the tensor in the module's delta.
        spans: The rows of the delta that are the module's own, where it has those of others as well.
    """

    component: str
    module: str
    role: Role
    spans: tuple[Span, ...] = ()


def alpha_over_rank(component: str, module: str, rank: int | None, alpha: float | None) -> float:
    """The rule of files that carry their own alpha: alpha / rank, and 1 where a module has no alpha.

    kohya's sd-scripts (networks/lora.py) take a missing alpha for the module's rank. Of what is not factored LyCORIS
    (lycoris/modules/lokr.py) and ComfyUI (comfy/weight_adapter/lokr.py) ignore it.
    """
    del component, module
    return 1.0 if alpha is None or rank is None else alpha / rank


def assemble(
    reference: str, file: TensorFile, places: Iterable[tuple[str, Sequence[TensorPlace]]], scale_of: ScaleRule
) -> dict[str, dict[str, LowRank]]:
    """Deltas by component and module; their numbers stay in the file.

    Args:
        reference: For messages.
        file: The open file.
        places: For every key where it belongs, to several modules where it holds the rows of all of them; nowhere
            where the format does not know the key.
        scale_of: How the scale follows from rank and alpha.

    Raises:
        SourceError: Unknown keys, unpaired or doubled tensors, NaN or infinity.
        MismatchError: Tensors of a module whose shapes do not go together.
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
        components.setdefault(component, {})[module] = _of_slot(reference, file, (component, module), slot, scale_of)
    _check_all(reference, file)
    return components


def _check_all(reference: str, file: TensorFile) -> None:
    """Look at all numbers; some tensors at a time, for handing one over takes as long as looking at a small one."""

    def check(keys: Sequence[str]) -> None:
        for key in keys:
            _check_numbers(reference, file, key)

    keys = file.keys
    with workers() as pool:
        for _ in in_order(pool, check, (keys[at : at + _SOME] for at in range(0, len(keys), _SOME)), ahead=_AHEAD):
            pass


def _of_slot(reference: str, file: TensorFile, where: tuple[str, str], slot: Slot, scale_of: ScaleRule) -> LowRank:
    keys = {role: key for role, (key, _) in slot.items()}
    kind = _kind(reference, keys)
    tensors: dict[str, Numbers] = {
        role: _numbers(reference, file, key) for role, key in keys.items() if role != "alpha"
    }
    magnitudes = {role: tensors.pop(role) for role in (MAGNITUDE, SCALE) if role in tensors}
    spans = next((spans for _, spans in slot.values() if spans), ())
    alpha = _alpha(reference, file, keys["alpha"]) if "alpha" in keys else None

    def scale(rank: int | None) -> float:
        found = scale_of(*where, rank, alpha)
        if LARGEST < abs(found) < math.inf:
            raise SourceError(
                f"{reference}: {'.'.join(where)} has an alpha that, over its rank, is {found:g}; {_TOO_LARGE}",
                hint="the file is damaged; fetch it again, or use another checkpoint",
            )
        return found

    try:
        made = kind.made(tensors, spans, scale)
        for role, magnitude in magnitudes.items():
            made = with_magnitude(made, role, magnitude, spans)
    except ShapeError as error:
        shown = {role: f"{key} {list(file.shape(key))}" for role, key in keys.items()}
        raise MismatchError(
            f"{reference}: {str(error).format(**shown)}", hint="use the file as its trainer wrote it"
        ) from None
    return made


def _kind(reference: str, keys: Mapping[Role, str]) -> type[Kind]:
    """The one kind that explains all tensors of a module, none of which is missing."""
    kinds = kinds_of(frozenset(keys))
    if len(kinds) > 1:
        first = {kind.title: next(key for role, key in keys.items() if role in kind.all_roles()) for kind in kinds}
        shown = " and ".join(f"{key} ({title})" for title, key in first.items())
        raise SourceError(
            f"{reference}: one module has tensors of several kinds of adapter: {shown}",
            hint="use the file as its trainer wrote it",
        )
    kind = kinds[0] if kinds else LowRankKind
    missing = kind.missing(frozenset(keys))
    if missing is not None:
        half = f"{missing} half: the pair" if kind is LowRankKind else f"{missing}: the {kind.title}"
        raise SourceError(
            f"{reference}: {next(iter(keys.values()))} has no {half} is incomplete", hint="fetch the file again"
        )
    return kind


def _alpha(reference: str, file: TensorFile, key: str) -> float:
    tensor = _numbers(reference, file, key, (*READABLE, *INTEGERS))
    if math.prod(tensor.shape) != 1 or not (value := float(tensor.read().double())):
        raise SourceError(
            f"{reference}: {key} should be one number other than 0: tools disagree about what 0 means",
            hint="merge a LoRA whose alpha says how strong it is",
        )
    return value


def _numbers(
    reference: str, file: TensorFile, key: str, formats: Sequence[str] = READABLE
) -> StoredTensor | ExpertFactor:
    if file.dtype(key) not in formats:
        raise SourceError(
            f"{reference}: {key} holds {file.dtype(key)}, expected floating-point numbers ({', '.join(READABLE)})",
            hint="convert the file with the tool that made it",
        )
    return file.numbers(key)


def _check_numbers(reference: str, file: TensorFile, key: str) -> None:
    stored = file.numbers(key)
    if is_finite(stored.read() if stored.dtype in _SUMMED else stored.load()):
        return
    if is_finite(found := stored.read().double()):
        raise SourceError(
            f"{reference}: {file.shown(key)} holds {float(found.abs().max()):g}; {_TOO_LARGE}",
            hint="use another checkpoint; no model computes with such numbers",
        )
    raise SourceError(
        f"{reference}: {file.shown(key)} holds NaN or infinite values",
        hint="the training diverged; use another checkpoint",
    )
