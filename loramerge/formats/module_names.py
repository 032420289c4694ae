"""Which module of a base the name in a file stands for. Names are looked up, never parsed: flat ones can't be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.bases.blocks import COMPONENTS
from loramerge.bases.component import flat, form
from loramerge.deltas import shape_of
from loramerge.errors import MismatchError, SourceError
from loramerge.formats.assemble import TensorPlace
from loramerge.formats.same_throughout import check_alphas, check_one_adapter
from loramerge.formats.spelling import DEFAULT_ADAPTER, DENOISER, Spelling, spelled
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.families.layout import Original
    from loramerge.formats.lora_file import LoraFile
    from loramerge.formats.spelling import Role

UNKNOWN = "unknown"
"""The component of modules that are of none that is known."""
_TEXT_ENCODER = "text_encoder"
_OF_PARAMETERS = frozenset({"diff", "alpha"})
"""Roles of tensors that may stand for parameters that are no layer's weight."""
# What kohya and ComfyUI call the text encoders of a family that gives them no names of its own.
_TEXT_ENCODERS = {
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "clip_l": "text_encoder",
    "clip_h": "text_encoder",
    "clip_g": "text_encoder_2",
}


def places(file: LoraFile, base: Base) -> list[tuple[str, tuple[TensorPlace, ...]]]:
    """For every key of a file where its tensor belongs; nowhere where the key does not end as one of a LoRA.

    What a prefix says of the component is believed if most of the names behind it are such names: `lora_unet_` and PEFT
    stand before modules of any model; of a lone model any name is enough. What belongs to nothing known keeps its name,
    in the component `UNKNOWN`.

    Raises:
        SourceError: Several adapters, or names that fit two text encoders alike.
        MismatchError: Nothing says which of two denoisers is meant, or a part of a fused layer has an alpha and another
            has none.
    """
    keys = {key: spelled(key) for key in file.tensors.keys}
    check_one_adapter(file.reference, [each for each in keys.values() if each])
    names = _Names(file, base, {each.said for each in keys.values() if each})
    found = [(key, tuple[TensorPlace, ...]()) for key, spelling in keys.items() if spelling is None]
    groups: dict[str | None, dict[str, Spelling]] = {}
    for key, spelling in keys.items():
        if spelling is not None:
            groups.setdefault(names.component(spelling.said), {})[key] = spelling
    for component, group in groups.items():
        found += names.placed(component, group)
    check_alphas(file.reference, base, found)
    return found


@dataclass(frozen=True)
class _Home:
    """The component that a name is one of, and the tensor of it; None for one that a larger model would have."""

    component: str
    original: Original | None

    def role(self, base: Base, role: Role) -> Role:
        """What a tensor is there."""
        if role != "diff" or self.original is None:
            return role
        is_layer = self.original.parts[0].canonical in base.components[self.component].modules
        return role if is_layer else "parameter"


class _Names:
    """A base's modules by every name that files have for them.

    Args:
        file: Whose shapes tell text encoders apart.
        base: Has the modules.
        said: The components that its prefixes say.
    """

    def __init__(self, file: LoraFile, base: Base, said: Collection[str | None]) -> None:
        self._file = file
        self._base = base
        # diffusers' loader takes the names of the first denoiser into the one that it is told.
        self._moves = file.denoiser is not None and not {*base.denoisers[1:]} & {*said}
        self._others = [name for name in base.components if name not in base.denoisers]

    def component(self, said: str | None) -> str | None:
        """What a prefix or the file's folder says, as the base calls it."""
        components = self._base.components
        if self._base.is_model:
            return None  # layers of such a model may be called as components of a pipeline are
        if said is None:
            return self._file.component
        if self._moves and said == self._base.main:
            return self._file.denoiser
        if said == DENOISER or said in components:
            return said
        encoders = self._base.family.text_encoders.items()
        own = next((name for name, each in encoders if said in {*each.kohya, each.comfyui}), None)
        if own is not None or said in _TEXT_ENCODERS:
            return own or _TEXT_ENCODERS[str(said)]
        # `transformer.` may be the wrapper around CLIP as well.
        return said if said in COMPONENTS and said != "transformer" else self._file.component

    def placed(self, said: str | None, group: Mapping[str, Spelling]) -> Iterator[tuple[str, tuple[TensorPlace, ...]]]:
        """The places of keys whose prefixes say the same component, or none."""
        homes = self._homes(said, group)
        votes = Counter(home.component for home in homes.values() if home)
        believed = votes.total() > (0 if self._base.is_model else len(group) / 2)
        self._check_denoiser(said, votes)
        heights = self._heights(group)
        for key, spelling in group.items():
            if said in COMPONENTS and said not in self._base.components:
                yield key, (TensorPlace(str(said), spelling.module, spelling.role),)
            elif not believed:
                yield key, (TensorPlace(UNKNOWN, spelling.written, spelling.role),)
            else:
                home = homes[key] or _Home(votes.most_common(1)[0][0], None)
                yield key, tuple(self._places(home, spelling, heights.get(spelling.written)))

    def _places(self, home: _Home, spelling: Spelling, height: int | None) -> Iterator[TensorPlace]:
        original, role = home.original, home.role(self._base, spelling.role)
        if original is None:
            # A flat name that no module has can't be told apart into its parts.
            component, name = self._base.components[home.component], spelling.module
            yield TensorPlace(home.component, component.canonical(name) if "." in name else name, role)
        elif original.is_whole:
            yield TensorPlace(home.component, original.parts[0].canonical, role)
        elif height != original.shape[0]:
            yield TensorPlace(home.component, original.name, role)  # whoever fits it to the base shows both shapes
        else:
            for part in original.parts:
                yield TensorPlace(home.component, part.canonical, role, part.spans)

    def _heights(self, group: Mapping[str, Spelling]) -> dict[str, int]:
        """Rows of the delta of each module, by what is written of it."""
        tensors: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
        for key, spelling in group.items():
            tensors[spelling.written][spelling.role] = self._file.tensors.shape(key)
        shapes = {written: shape_of(found) for written, found in tensors.items()}
        return {written: shape[0] for written, shape in shapes.items() if shape}

    def _homes(self, said: str | None, group: Mapping[str, Spelling]) -> dict[str, _Home | None]:
        """For every key the component that its name is one of: of the one that is said, of any where none is."""
        denoisers = self._base.denoisers[:1] if self._file.denoiser is None else (self._file.denoiser,)
        if said == DENOISER:
            return {key: self._home(spelling, denoisers) for key, spelling in group.items()}
        if said is not None:
            known = (said,) if said in self._base.components else ()
            return {key: self._home(spelling, known) for key, spelling in group.items()}
        homes = {key: self._home(spelling, denoisers) for key, spelling in group.items()}
        left = {key: spelling for key, spelling in group.items() if homes[key] is None}
        # Text encoders are large, and are looked at only where the denoiser does not explain the names.
        others = [*self._text_encoder(left), *(name for name in self._others if not name.startswith(_TEXT_ENCODER))]
        return homes | {key: self._home(spelling, others) for key, spelling in left.items() if others}

    def _home(self, spelling: Spelling, components: Sequence[str]) -> _Home | None:
        shift = self._file.shift
        names = [flat(name) for name in ((shift(spelling.written),) if shift else spelling.modules)]
        for name in components:
            component = self._base.components[name]
            wrapped = [f"{flat(self._base.family.wrapper)}{each}" for each in names]
            named, others = spelling.adapter == DEFAULT_ADAPTER, spelling.role in _OF_PARAMETERS
            known = component.find((*names, *wrapped), others=others, with_adapter=named)
            if known is not None:
                return _Home(name, known)
            if name in self._base.denoisers and (elsewhere := self._elsewhere(names, others=others)):
                return elsewhere
            if any(form(each) in component.forms or (others and form(each) in component.forms_of_others)
                   for each in names):  # fmt: skip
                return _Home(name, None)
        return None

    def _elsewhere(self, names: Sequence[str], *, others: bool) -> _Home | None:
        """A module that the original checkpoint has beside the denoiser's, and diffusers in a component of its own."""
        for original, place in self._base.family.components.items():
            name, _, within = place.partition(".")
            for each in names:
                if each == flat(original) or each.startswith(f"{flat(original)}_"):
                    rest = "_".join(filter(None, (flat(within), each[len(flat(original)) + 1 :])))
                    component = self._base.components.get(name)
                    found = component.find([rest], others=others) if component else None
                    return _Home(name, found) if component else None
        return None

    def _check_denoiser(self, said: str | None, votes: Mapping[str, int]) -> None:
        """Raise where a LoRA may be for one denoiser of the base or for the other."""
        several = self._base.denoisers
        meant = said in {None, DENOISER} and any(name in several for name in votes)
        if len(several) > 1 and meant and self._file.denoiser is None:
            files = self._base.family.files
            shown = " or ".join(f"`component: {name}`" + (f" ({files[name]})" if name in files else "")
                                for name in several)  # fmt: skip
            raise MismatchError(
                f"{self._file.reference} does not say which of the base's denoisers it is for: {', '.join(several)}",
                hint=f"say it at the LoRA in a recipe: {shown}; `merge` takes --set loras.0.component=…",
            )

    def _text_encoder(self, group: Mapping[str, Spelling]) -> Sequence[str]:
        """The text encoder that names fit best, by name and by width: SDXL's two differ in width alone."""
        encoders = [name for name in self._others if name.startswith(_TEXT_ENCODER)]
        fits = {name: self._fit(name, group) for name in encoders if group}
        best = max(fits.values(), default=(0, 0))
        found = [name for name, fit in fits.items() if fit == best]
        if len(found) > 1 and best[0]:
            raise SourceError(
                f"{self._file.reference} has modules that fit {' and '.join(found)} alike: {some(group)}",
                hint="put it into a folder that is named after the component",
            )
        return found[:1]

    def _fit(self, component: str, group: Mapping[str, Spelling]) -> tuple[int, int]:
        """How many halves have the width of their module, and how many have a module."""
        part, tensors = self._base.components[component], self._file.tensors
        widths = hits = 0
        for key, spelling in group.items():
            found = part.find(map(flat, spelling.modules), others=spelling.role in _OF_PARAMETERS)
            if found is not None and spelling.role != "alpha":
                side = 1 if spelling.role == "down" else 0
                hits += 1
                widths += tensors.shape(key)[side : side + 1] == found.shape[side : side + 1]
        return widths, hits
