"""LoRAs on the experts of a layer that lie in one parameter, as PEFT's `target_parameters` makes them.

PEFT wraps a module once for each of its parameters: the last of them has its pair at `….experts.lora_A`, the one before
at `….experts.base_layer.lora_A`, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loramerge.adapter import BASE
from loramerge.bases.experts import slice_of
from loramerge.errors import MismatchError, SourceError
from loramerge.families import TRANSFORMERS_COMPONENT
from loramerge.formats.peft_config import told
from loramerge.messages import by, excerpt, some
from loramerge.tensor_files.stacked import ExpertFactor, Recent, Stacked

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.bases.component import Component
    from loramerge.bases.experts import Stack
    from loramerge.formats.lora_file import LoraFile

SETTING = "target_parameters"
_INNER = ".base_layer"
_KEY = re.compile(
    r"(?P<begin>base_model\.model\.)?(?P<module>.+?)(?P<inner>(?:\.base_layer)*)\.lora_(?P<half>[AB])(?P<end>(?:\.[^.]+)?\.weight)"
)
_OF_EXPERTS = re.compile(r"\.experts$")
_OTHER = {"A": "B", "B": "A"}
_REVERSED, _SINCE = (0, 19, 0), (0, 19, 1)
_CHOOSE = "choose the base that the LoRA was trained on, with --base or as `base: source:` of a recipe"


@dataclass(frozen=True)
class _Half:
    """A key of a pair for a parameter.

    Attributes:
        key: In the file.
        begin: What stands before all names there.
        module: That has the parameter, as the file calls it.
        depth: How many wrappers it lies within.
        name: `A` or `B`.
        end: What stands behind that.
    """

    key: str
    begin: str
    module: str
    depth: int
    name: str
    end: str


@dataclass(frozen=True)
class _ParameterPair:
    """Both halves for one parameter.

    Attributes:
        written: Name of the parameter, as the file has it.
        keys: By half.
        begin: Of the keys.
        end: Of the keys.
        stack: What the parameter holds.
    """

    written: str
    keys: Mapping[str, str]
    begin: str
    end: str
    stack: Stack

    def ways(self, file: LoraFile) -> frozenset[bool]:
        """Whether both halves are those of each expert's matrix, of its transpose, of either or of neither."""
        down, up = (file.tensors.shape(self.keys[half]) for half in _OTHER)
        out, width = self.stack.whole_shape
        if len(down) != len(_OTHER) or len(up) != len(_OTHER) or down[0] != up[1] or down[0] % self.stack.shape[0]:
            return frozenset()
        found = (down[1], up[0])
        return frozenset(turned for turned, wanted in ((False, (width, out)), (True, (out, width))) if found == wanted)


def apart(file: LoraFile, base: Base) -> LoraFile:
    """The file with a pair for each expert, under the name of its share of the parameter: `….gate_up_proj.3`.

    Args:
        file: Open.
        base: Knows which parameters have the weights of experts.

    Raises:
        SourceError: The settings don't say which parameters are meant, or name others; or nothing says which axis is
            which.
        MismatchError: The base has no such experts, or others.
    """
    component = base.components[TRANSFORMERS_COMPONENT] if base.is_model else None
    owners = _owners(component) if component else {}
    found: dict[str, list[_Half]] = {}
    for half in _halves(file, owners):
        found.setdefault(half.module, []).append(half)
    if not found:
        return file
    pairs = [pair for module, halves in found.items() for pair in _pairs_of(file, module, halves, component, owners)]
    shares: dict[str, ExpertFactor] = {}
    of_parameter: dict[str, str] = {}
    recent = Recent()
    notes: list[str] = []
    for pair in pairs:
        is_turned = _is_turned(file, pair, pairs, notes)
        for name, key in pair.keys.items():
            stacked = Stacked(file.tensors.tensor(key), pair.stack.shape[0], name == "B", is_turned)
            for expert in range(stacked.experts):
                share = slice_of(pair.written, expert)
                of_parameter[share] = pair.written
                # The transpose of B·A is Aᵀ·Bᵀ: what was `down` is `up` then.
                role = _OTHER[name] if is_turned else name
                own_key = f"{pair.begin}{share}.lora_{role}{pair.end}"
                if own_key in file.tensors.stored:
                    raise SourceError(f"{file.reference}: {key} and {own_key} are the same tensor under two names")
                shares[own_key] = ExpertFactor(stacked, expert, stacked.shape, key, recent)
    taken = {key for pair in pairs for key in pair.keys.values()}
    left = {key: stored for key, stored in file.tensors.stored.items() if key not in taken}
    tensors = replace(file.tensors, stored=left, shares=shares)
    return replace(file, tensors=tensors, shares=of_parameter, notes=tuple(notes))


def _halves(file: LoraFile, owners: Mapping[str, Sequence[str]]) -> Iterator[_Half]:
    for key in file.tensors.keys:
        found = _KEY.fullmatch(key)
        if found is None:
            continue
        module = found["module"]
        if _OF_EXPERTS.search(module) or _in_base(file, module) in owners:
            depth = found["inner"].count(_INNER)
            yield _Half(key, found["begin"] or "", module, depth, found["half"], found["end"])


def _in_base(file: LoraFile, module: str) -> str:
    return file.shift(module) if file.shift else module


def _owners(component: Component) -> dict[str, list[str]]:
    """Module → its parameters that have the weights of experts, in the order in which its class defines them."""
    found: dict[str, list[str]] = {}
    for parameter in component.stacks:
        found.setdefault(parameter.rpartition(".")[0], []).append(parameter)
    return found


def _parameters(file: LoraFile, module: str, component: Component, count: int) -> list[str]:
    """The parameters of a module that have pairs, as PEFT chooses and orders them."""
    listed = (file.config or {}).get(SETTING) or ()
    if not isinstance(listed, list | tuple) or not all(isinstance(each, str) for each in listed):
        raise SourceError(f"{file.reference}: {SETTING} should be a list of names")
    own = [name for name in component.parameters if name.rpartition(".")[0] == module]
    chosen = [name for name in own if any(name == each or name.endswith(f".{each}") for each in listed)]
    if not listed:
        chosen = [name for name in own if name in component.stacks]
    if others := [name for name in chosen if name not in component.stacks]:
        raise SourceError(
            f"{file.reference} has a LoRA on {some(others)}, which is no matrix of each expert's",
            hint="train it without this parameter: target_parameters",
        )
    if len(chosen) != count:
        said = f"{SETTING} names {some(chosen) or 'none of them'}" if listed else f"its settings have no {SETTING}"
        raise SourceError(
            f"{file.reference} has pairs for {count} of the parameters of {module}, and {said}",
            hint="save the adapter again with PEFT's save_pretrained",
        )
    return chosen


def _pairs_of(
    file: LoraFile,
    module: str,
    found: Sequence[_Half],
    component: Component | None,
    owners: Mapping[str, Sequence[str]],
) -> Iterator[_ParameterPair]:
    """The pairs of a module's parameters."""
    there = _in_base(file, module)
    if component is None or there not in owners:
        is_known = component is None or component.modules
        what = "the base has no such parameter" if is_known else "no base is known that says how many there are"
        named = told(file.config or {}).get(BASE, "")
        raise MismatchError(
            f"{file.reference} has a LoRA on experts that lie in one parameter ({found[0].key}), and {what}",
            hint=_CHOOSE if is_known or not named else f"{_CHOOSE}: its settings name {excerpt(named)}",
        )
    parameters = _parameters(file, there, component, 1 + max(half.depth for half in found))
    for depth, parameter in enumerate(reversed(parameters)):
        halves = [half for half in found if half.depth == depth]
        keys = {half.name: half.key for half in halves}
        if len(keys) < len(_OTHER):
            what = f"{next(iter(keys.values()))} has no other half" if keys else f"{parameter} has no pair"
            raise SourceError(f"{file.reference}: {what}: the pair is incomplete", hint="fetch the file again")
        written = f"{module}.{parameter.rpartition('.')[2]}"
        pair = _ParameterPair(written, keys, halves[0].begin, halves[0].end, component.stacks[parameter])
        if not pair.ways(file):
            down, up = (by(file.tensors.shape(keys[half])) for half in _OTHER)
            raise MismatchError(
                f"{file.reference}: {keys['A']} is {down} and {keys['B']} {up}, {parameter} of the base is "
                f"{by(pair.stack.shape)}",
                hint=_CHOOSE,
            )
        yield pair


def _is_turned(file: LoraFile, pair: _ParameterPair, others: Sequence[_ParameterPair], notes: list[str]) -> bool:
    """Which of PEFT's two layouts it has: the shapes say it, or those of the file's other pairs, or the version.

    PEFT has taken the second axis for what goes in; since 0.19.1 the third, where the class does not say otherwise, and
    in 0.19.0 where it does. The classes of transformers 4 never do: where that matters, `notes` gets it.
    """
    told = _told_by_shapes(file, pair, others)
    if told is not None:
        return told
    said = re.match(r"(\d+)\.(\d+)\.(\d+)", str((file.config or {}).get("peft_version") or ""))
    version = tuple(map(int, said.groups())) if said else None
    if version is None or (pair.stack.is_transposed and version == _REVERSED):
        raise SourceError(
            f"{file.reference}: {pair.keys['A']} is for square matrices, and nothing says which of their axes is "
            f"which: PEFT has changed that, and the settings have "
            f"{'no peft_version' if said is None else f'peft_version {said[0]}'}",
            hint="load it with the PEFT that it was trained with, and save it with PEFT 0.19.1 or later",
        )
    if pair.stack.is_transposed and version >= _SINCE:
        notes.append(
            f"{pair.keys['A']} is for square matrices: it is read as PEFT does with transformers 5; one that was "
            "trained with transformers 4 would be the transpose"
        )
    return not pair.stack.is_transposed and version < _SINCE


def _told_by_shapes(file: LoraFile, pair: _ParameterPair, others: Sequence[_ParameterPair]) -> bool | None:
    """The same as far as shapes say it; None where all matrices are square."""
    alike = [other for other in others if other.stack.is_transposed is pair.stack.is_transposed]
    for ways in (pair.ways(file), *(other.ways(file) for other in alike)):
        if len(ways) == 1:
            return next(iter(ways))
    return None
