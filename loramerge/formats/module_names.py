"""Which module of a base the name in a file stands for. Names are looked up, never parsed: flat ones can't be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from loramerge.bases.base import canonical
from loramerge.errors import SourceError
from loramerge.families.sgm import sgm_name
from loramerge.formats.assemble import TensorPlace
from loramerge.formats.spelling import Spelling, spelled
from loramerge.messages import some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loramerge.bases.base import Base
    from loramerge.formats.lora_file import LoraFile

UNKNOWN = "unknown"
"""The component of modules that are of none that is known."""
_UNET_BLOCK = re.compile(r"(?:(?:down|up|input|output)_blocks[._]\d|mid_block[._]|middle_block[._])")
_TEXT_MODEL = re.compile(r"text_model[._]")
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


def places(file: LoraFile, base: Base) -> Iterator[tuple[str, TensorPlace | None]]:
    """For every key of a file where its tensor belongs; None where the key does not end as one of a LoRA.

    What a prefix says of the component is believed if most of the names behind it are such names: `lora_unet_` and PEFT
    stand before modules of any model. What belongs to nothing known keeps its name, in the component `UNKNOWN`.

    Raises:
        SourceError: Several adapters, or names that fit two components alike.
    """
    keys = {key: spelled(key) for key in file.tensors.keys}
    _one_adapter(file.reference, [each for each in keys.values() if each])
    modules = _Modules(file, base)
    groups: dict[str | None, dict[str, Spelling]] = {}
    for key, spelling in keys.items():
        if spelling is None:
            yield key, None
        else:
            groups.setdefault(spelling.component or file.component, {})[key] = spelling
    for component, group in groups.items():
        yield from modules.placed(component, group)


class _Modules:
    """A base's modules by every name that files have for them.

    Args:
        file: Whose shapes tell text encoders apart.
        base: Has the modules.
    """

    def __init__(self, file: LoraFile, base: Base) -> None:
        self._file = file
        self._base = base
        self._by_name: dict[tuple[str, str], str] = {}
        for component in base.components.values():
            for module in component.modules:
                names = [module, component.live[module], module.removeprefix("text_model.")]
                if component.name == "unet" and (sgm := sgm_name(module, component.config)) is not None:
                    names.append(sgm)
                self._by_name |= {(component.name, _flat(name)): module for name in names}

    def placed(self, said: str | None, group: Mapping[str, Spelling]) -> Iterator[tuple[str, TensorPlace]]:
        """The places of keys whose prefixes say the same component, or none."""
        text_encoder = said if said in _TEXT_ENCODERS else self._text_encoder(group)
        homes = {key: self._home(said, spelling.module, text_encoder) for key, spelling in group.items()}
        votes = Counter(filter(None, homes.values()))
        believed = 2 * votes.total() > len(group)
        for key, spelling in group.items():
            if believed:
                component = homes[key] or votes.most_common(1)[0][0]
                place = TensorPlace(component, self._module(component, spelling.module), spelling.role)
            else:
                place = TensorPlace(UNKNOWN, spelling.written, spelling.role)
            yield key, place

    def _module(self, component: str, name: str) -> str:
        """The module of that name; a flat name that no module has can't be told apart into its parts."""
        known = self._by_name.get((component, _flat(name)))
        return known or (canonical(component, name) if "." in name else name)

    def _home(self, said: str | None, module: str, text_encoder: str) -> str | None:
        """The component that a name is one of: of the one that is said, of any where none is."""
        if (said or "unet") == "unet" and (("unet", _flat(module)) in self._by_name or _UNET_BLOCK.match(module)):
            return "unet"
        if said != "unet" and ((text_encoder, _flat(module)) in self._by_name or _TEXT_MODEL.match(module)):
            return text_encoder
        return None

    def _text_encoder(self, group: Mapping[str, Spelling]) -> str:
        """The text encoder that names fit best, by name and by width: SDXL's two differ in width alone."""
        fits = {name: self._fit(name, group) for name in _TEXT_ENCODERS if name in self._base.components}
        best = max(fits.values(), default=(0, 0))
        found = [name for name, fit in fits.items() if fit == best]
        if len(found) > 1 and best[0]:
            raise SourceError(
                f"{self._file.reference} has modules that fit {' and '.join(found)} alike: {some(group)}",
                hint="put it into a folder that is named after the component",
            )
        return found[0] if found else _TEXT_ENCODERS[0]

    def _fit(self, component: str, group: Mapping[str, Spelling]) -> tuple[int, int]:
        """How many halves have the width of their module, and how many have a module."""
        modules, tensors = self._base.components[component].modules, self._file.tensors
        widths = hits = 0
        for key, spelling in group.items():
            module = self._by_name.get((component, _flat(spelling.module)))
            if module is not None and spelling.role != "alpha":
                side = 1 if spelling.role == "down" else 0
                hits += 1
                widths += tensors.shape(key)[side : side + 1] == modules[module][side : side + 1]
        return widths, hits


def _one_adapter(reference: str, spellings: Sequence[Spelling]) -> None:
    names = {each.adapter for each in spellings if each.role != "alpha"}
    if len(names) > 1:
        shown = some(sorted(name or "one without a name" for name in names))
        raise SourceError(
            f"{reference} holds {len(names)} adapters: {shown}", hint="save each adapter into a file of its own"
        )


def _flat(name: str) -> str:
    return name.replace(".", "_")
