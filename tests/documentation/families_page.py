"""docs/families.md: every model family, from its data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from documentation.commands_page import NOTE

from loramerge.bases.blocks import KINDS, block_of, kind_of, listed
from loramerge.bases.published import architecture
from loramerge.families import FAMILIES, Family

if TYPE_CHECKING:
    from loramerge.bases.component import Component
    from loramerge.families.layout import Original

ABOUT = """\
Each family is a file of data in `loramerge/families/`: what its checkpoints and LoRAs call things, and the sizes that
it was published in. A base of any other pipeline of diffusers, or of any model of transformers, merges as well, with
the formats `peft` and `diffusers`: those have the base's own names.

Where only adapters are written, the base itself is not needed: `base: {family: flux}` in a recipe, `--base
flux/schnell` on the command line. A family alone means the first of its sizes. `loramerge merge` and recipes need not
even that where the LoRAs tell it themselves: by what their trainers wrote into them, by names, and by shapes. Names
and shapes alone often fit several families (a LoRA of FLUX.1 that leaves out a few layers is one of HunyuanVideo by
all that can be seen); then the error lists them.

A layer of the original checkpoint may be several of diffusers' (`qkv` is three). Such a LoRA is read as rows of the
whole, exactly. Written in original names, parts become one pair again: where all read with the same `down` the rank
stays what it is, elsewhere the ranks add up, also exactly. After `svd` the rank of a fused layer is the sum of its
parts': who wants it smaller writes `format: diffusers`.

Sizes are those of the models' own configs. They are compared, layer by layer, with tables made of trainers' classes or
with what other projects say that run the models (`tests/families/test_other_configs.py`). SkyReels' small
image-to-video model is known from diffusers alone.

What is refused: the formats `kohya` and `comfyui` where a family's original names are not known, or a text encoder
has no name there; LoRAs of another family or size, with both shapes; a file for one of two denoisers that does not
say which. What is no plain LoRA is refused for all families alike: [Formats](formats.md#what-is-refused)."""
_ROWS = 8


def families_page() -> str:
    """The page."""
    parts = ["# Families", NOTE, ABOUT, "\n".join(_table())]
    for family in sorted(FAMILIES.values(), key=lambda family: family.title.lower()):
        parts += [f"## {family.title}", *_section(family)]
    return "\n\n".join(parts) + "\n"


def _table() -> Iterator[str]:
    yield "| family | `base: {family: …}` | formats | blocks |"
    yield "| --- | --- | --- | --- |"
    for family in sorted(FAMILIES.values(), key=lambda family: family.title.lower()):
        named = f"`{family.name}`" if family.published else "needs its base"
        formats = "all" if family.has_original_names else "`peft`, `diffusers`"
        blocks = ", ".join(_blocks(family)) or "those of the base"
        yield f"| [{family.title}](#{_anchor(family.title)}) | {named} | {formats} | {blocks} |"


def _section(family: Family) -> Iterator[str]:
    yield f"Classes: {', '.join(f'`{name}`' for name in family.classes)}."
    if family.published:
        sizes = (f"`{size}` (`{model.repository}`)" for size, model in family.published.items())
        yield f"Sizes: {', '.join(sizes)}."
        yield f"Kinds of layers: {', '.join(_kinds(family))}."
    if not family.has_original_names:
        yield "Its LoRAs are read and written in diffusers' names alone; `kohya` and `comfyui` are refused."
    if family.named:
        yield (
            "Files that keep PEFT's name of the adapter (`.lora_A.default.weight`, as DiffSynth's) have the rows of a "
            "head's queries, keys and values together; they are read so."
        )
    if family.flat_is_canonical:
        yield "Files for kohya's programs have diffusers' names, as those that its trainers write."
    if family.has_original_names and not family.flat_in_comfyui:
        yield "ComfyUI does not know kohya's flat names of it: `format: comfyui` is what it reads."
    if len(family.denoisers) > 1 and family.files:
        ends = (f"`{name}` (`…_{end}.safetensors`)" for name, end in family.files.items())
        yield f"Some of its models have two denoisers, with a file for each: {' and '.join(ends)}."
    if family.text_encoders:
        yield "Text encoders: " + ", ".join(_text_encoders(family)) + "."
    if family.components:
        beside = (f"`{original}` is `{place}`" for original, place in family.components.items())
        yield f"Beside the denoiser: {', '.join(beside)}."
    if family.original and family.published and (rows := [*_mapping(family)]):
        yield "\n".join(["| original | diffusers |", "| --- | --- |", *rows])


def _text_encoders(family: Family) -> Iterator[str]:
    for name, encoder in family.text_encoders.items():
        called = [f"`{encoder.kohya[0]}` for kohya"] if encoder.kohya else []
        called += [f"`text_encoders.{encoder.comfyui}.` for ComfyUI"] if encoder.comfyui else []
        yield f"`{name}` ({', '.join(called)})"


def _mapping(family: Family) -> Iterator[str]:
    """Fused layers and swapped halves first, then others whose names differ; each kind of name once."""
    seen = set()
    originals = sorted(_denoiser(family).layout.originals.values(), key=lambda each: each.is_whole)
    rows = []
    for original in originals:
        form = re.sub(r"\d+", "*", original.name)
        if form not in seen and original.name != original.parts[0].canonical:
            seen.add(form)
            rows.append(f"| `{original.name}` | {_parts(original)} |")
    yield from islice(rows, _ROWS)
    if len(rows) > _ROWS:
        yield f"| and {len(rows) - _ROWS} more | |"


def _parts(original: Original) -> str:
    swapped = " (halves swapped)" if any(len(part.spans) > 1 for part in original.parts) else ""
    return ", ".join(f"`{part.canonical}`" for part in original.parts) + swapped


def _blocks(family: Family) -> Iterator[str]:
    if not family.published:
        return
    numbers: dict[str, int] = {}
    for module in _denoiser(family).modules:
        name, number = listed(block_of(family.denoisers[0], module))
        if number is not None:
            numbers[name] = max(numbers.get(name, 0), number)
    for name, last in numbers.items():
        yield f"`{name.partition('.')[2]}` 0–{last}"


def _kinds(family: Family) -> Iterator[str]:
    """As weights by kinds of layers call them, in the order of the common ones."""
    found = {kind_of(module, family.kinds) for module in _denoiser(family).modules}
    yield from (f"`{kind}`" for kind in KINDS if kind in found)


def _denoiser(family: Family) -> Component:
    return architecture(family.name).components[family.denoisers[0]]


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
