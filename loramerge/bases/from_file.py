"""A base that is one file: what its header says it is, by names and shapes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.checkpoint import Checkpoint, CheckpointPart
from loramerge.bases.component import form
from loramerge.bases.on_demand import Components
from loramerge.bases.published import architecture
from loramerge.bases.quantised import refuse_quantised
from loramerge.errors import MismatchError, SourceError
from loramerge.families import FAMILIES, title_of, told_by
from loramerge.families.layout import Rule
from loramerge.families.sizes import layers_of
from loramerge.files.file_view import FileBytes
from loramerge.files.tensor_header import read_header
from loramerge.messages import any_of, by, some

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.bases.component import Component
    from loramerge.families import Family
    from loramerge.families.layout import Shapes

_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "unet.", "net.", "module.")
"""What names of a denoiser begin with: as it was trained, in a checkpoint of its own code, as programs save it."""
_MATRIX = 2
_CONFIG = "`base.config:` names what has its config.json: hf://owner/name, a folder, or one of the families such as"

_LEAVE_OUT = "leave base.config out, or name the config of the model that the file was made from"


@dataclass(frozen=True)
class _Fit:
    """A model that a file holds.

    Attributes:
        name: Of the family and size.
        base: The same.
        part: How the file names its denoiser.
        count: Number of the denoiser's layers.
    """

    name: str
    base: Base
    part: CheckpointPart
    count: int


def base_of_file(
    reference: str, path: Path, told: Base | None = None, said: str = "base.config says", hint: str = _LEAVE_OUT
) -> Base:
    """The base that a safetensors file holds; of it nothing but the header is read.

    Args:
        reference: As the recipe gives it, for messages.
        path: The file.
        told: What `base.config` says it is; without that, the published models are compared with it.
        said: Who tells it, where the file is something else.
        hint: What to do then.

    Raises:
        SourceError: It is no sound safetensors file, its numbers are packed, or no model is known that it holds.
        MismatchError: It is not what `told` is, or several families fit it.
    """
    header = read_header(FileBytes.at(path, reference))
    shapes = {entry.key: entry.shape for entry in header.entries}
    refuse_quantised(shapes, reference)
    if told is not None:
        fit = _fit("", told, shapes)
        if fit is None:
            at = "" if told.reference == told.family.title else f", {told.reference}"
            wrong = _misfit(told, shapes)
            raise MismatchError(f"{reference} is not the {told.family.title} that {said}{at}: {wrong}", hint=hint)
    else:
        fit = _only(reference, [*_published_fits(shapes)], header.metadata)
    found = {fit.base.main: fit.part, **_beside(fit.base, fit.part.prefix, shapes)}
    parts = {name: found[name] for name in fit.base.components if name in found}
    made = {name: partial(fit.base.components.__getitem__, name) for name in parts}
    return replace(
        fit.base,
        reference=reference,
        components=Components(made),
        checkpoint=Checkpoint(path.name, parts),
        prediction="v" if "v_pred" in shapes else None,
    )


def _published_fits(shapes: Shapes) -> Iterator[_Fit]:
    """Every size of every family whose denoiser has these names and shapes."""
    widths = {shape[1:] for shape in shapes.values()}
    for family in FAMILIES.values():
        for size in family.published:
            layers = layers_of(family.name, size).get(family.denoisers[0], {})
            # Fused layers have other rows and the same columns.
            if layers and all(shape[1:] in widths for shape in layers.values()):
                name = f"{family.name}/{size}"
                if found := _fit(name, architecture(name), shapes):
                    yield found


def _fit(name: str, base: Base, shapes: Shapes) -> _Fit | None:
    denoiser = base.components[base.main]
    for rules in _namings(denoiser):
        for prefix in _prefixes(base.family):
            part = CheckpointPart(prefix, rules)
            first = dict([next(iter(denoiser.modules.items()))])
            if not any(place.key in shapes for place in part.places(first).values()):
                continue
            places = part.places(denoiser.modules)
            there = {place.key: place.shape for place in places.values()}
            if all(shapes.get(key) == shape for key, shape in there.items()) and not _larger(prefix, there, shapes):
                return _Fit(name, base, part, len(places))
    return None


def _namings(component: Component) -> Iterator[tuple[Rule, ...]]:
    """The sets of names that checkpoints have: the original ones, ComfyUI's and diffusers'."""
    tables = component.tables
    yield from dict.fromkeys((tables.original, *([tables.comfyui] if tables.comfyui is not None else []), ()))


def _prefixes(family: Family) -> Iterator[str]:
    for prefix in _PREFIXES:
        yield from dict.fromkeys((prefix, f"{prefix}{family.wrapper}"))


def _larger(prefix: str, there: Shapes, shapes: Shapes) -> bool:
    """Whether a file has more blocks of the same kind: it is of another size then."""
    forms = set(map(form, there))
    return any(
        key.startswith(prefix) and key not in there and len(shape) >= _MATRIX and form(key) in forms
        for key, shape in shapes.items()
    )


def _only(reference: str, fits: list[_Fit], metadata: Mapping[str, str]) -> _Fit:
    """The fit with the most layers; of as many those of the family that the file says it is of."""
    best = max((fit.count for fit in fits), default=0)
    found = [fit for fit in fits if fit.count == best]
    said = told_by(metadata)
    found = [fit for fit in found if fit.base.family.name in said] or found
    if not found:
        raise SourceError(
            f"{reference} holds no model that is known by its names and shapes",
            hint=f"{_CONFIG} flux/dev; a LoRA, a text encoder or a VAE alone is no base",
        )
    # Sizes of one family with the same layers are the same merge, unless original checkpoints call these otherwise.
    if len({(fit.base.family.name, fit.base.components[fit.base.main].tables) for fit in found}) > 1:
        raise MismatchError(
            f"{reference} may be {any_of(title_of(fit.name) for fit in found)}: their names and shapes are the same",
            hint=f"{_CONFIG} {found[0].name}",
        )
    return found[0]


def _misfit(told: Base, shapes: Shapes) -> str:
    """In which layers a file is not the model that it is said to be."""
    denoiser = told.components[told.main]
    wrong: list[str] = []
    for rules in _namings(denoiser):
        for prefix in _prefixes(told.family):
            there = {
                place.key: place.shape for place in CheckpointPart(prefix, rules).places(denoiser.modules).values()
            }
            differing = [
                f"{key} is {by(shapes[key])} and should be {by(shape)}" if key in shapes else f"there is no {key}"
                for key, shape in there.items()
                if shapes.get(key) != shape
            ]
            if len(differing) < len(there) and (not wrong or len(differing) < len(wrong)):
                wrong = differing
            if not differing:
                wrong = ["it has more blocks than that"]
    return some(wrong) if wrong else "it has none of its layers"


def _beside(base: Base, prefix: str, shapes: Shapes) -> Mapping[str, CheckpointPart]:
    """How the file names what it holds beside the denoiser, of what LoRAs can touch."""
    found: dict[str, CheckpointPart] = {}
    for name, encoder in base.family.text_encoders.items():
        saved = f"text_encoders.{encoder.comfyui}.transformer." if encoder.comfyui else ""
        for start, rules, transposed in ((encoder.checkpoint, encoder.original, encoder.transposed), (saved, (), ())):
            if start and any(key.startswith(start) for key in shapes):
                # Programs that save a checkpoint leave some parameters in the names, and the form, of transformers.
                kept = {each for rule in rules for each in rule.canonical if f"{start}{each}" in shapes}
                named = tuple(rule for rule in rules if not kept.intersection(rule.canonical))
                found.setdefault(name, CheckpointPart(start, named, frozenset(transposed) - kept))
    for original, place in base.family.components.items():
        component, _, inner = place.partition(".")
        begins = next(
            (each for each in (prefix, "") if any(key.startswith(f"{each}{original}.") for key in shapes)), None
        )
        if begins is None:
            continue
        if not inner:
            found[component] = CheckpointPart(f"{begins}{original}.")
        else:
            known = found.get(component, CheckpointPart(""))
            found[component] = CheckpointPart("", (*known.rules, Rule(f"{begins}{original}", (inner,))))
    return found
