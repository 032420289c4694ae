"""Stage: one LoRA in another format, to the bit wherever that format can hold it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.adapter import BASE, LowRank
from loramerge.analysis.rounding import loss
from loramerge.errors import UsageError
from loramerge.files.atomic import replacing, replacing_by_one
from loramerge.files.run_lock import in_turn
from loramerge.formats.embeddings import write_beside
from loramerge.formats.model_spec import LICENCE, OURS, TRIGGER_PHRASE
from loramerge.formats.split_layers import own_ranks
from loramerge.numerics.norms import norm_of
from loramerge.numerics.threads import one_thread
from loramerge.progress import Progress, Silent
from loramerge.recipe.given_base import GivenBase
from loramerge.recipe.one_shot import Ingredient, recipe_of
from loramerge.stages.check_outputs import check_count, check_form, check_outputs
from loramerge.stages.convert_notes import kinds, left_out
from loramerge.stages.load import known, load
from loramerge.stages.lock import lock as lock_sources
from loramerge.stages.lora_place import check_lora_place
from loramerge.stages.resolve import local_sources, resolve
from loramerge.stages.with_base import with_base
from loramerge.stages.write import labels_of
from loramerge.tensor_files.header import STORED_AS, narrowest

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base
    from loramerge.formats import AdapterOutput, Labels
    from loramerge.lock.model import LockedSource
    from loramerge.stages.load import LoadedLora

BASE_MODEL = "loramerge.base_model"
"""Metadata: what PEFT's settings or a model card say that a LoRA was trained on."""
_AS_GOOD_AS_FLOAT32 = 1e-7
"""Relative error of deltas that nobody tells from rounding to float32: a bit of what is nearly zero."""
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Converted:
    """A LoRA that was written in another format.

    Attributes:
        place: Its file or folder.
        adapter: What was written.
        source_format: The format that it had.
        family: Of what it was trained on.
        dtype: Number format of what was written.
        modules: How many the file has; a fused layer is one.
        ranks: Of those of these that are no full differences, each once, sorted.
        folded: How many of these have their scale inside their factors.
        rounding: ‖written - read‖ / ‖read‖ over all modules, where numbers had to be rounded; else 0.
        notes: What the user should know, in words.
    """

    place: Path
    adapter: Adapter = field(repr=False)
    source_format: str
    family: str
    dtype: str
    modules: int
    ranks: tuple[int, ...]
    folded: int
    rounding: float
    notes: tuple[str, ...]


def convert(
    lora: str | Path,
    out: str | Path,
    format: str,  # noqa: A002  what the command calls it
    *,
    base: str | None = None,
    dtype: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Write one LoRA in another format, complete or not at all.

    Factors stay what they are to the bit, and each module keeps its rank and its scale, which goes into an alpha of its
    own. A format with no place for alphas has it in the factors; these stay in their number format where that changes
    exponents alone, but for a bit of numbers that are nearly zero, and are float32 elsewhere.

    Args:
        lora: `hf://owner/name[/file]`, a file or a folder.
        out: A file that ends in `.safetensors` for the formats that are one file, else a folder.
        format: `comfyui`, `kohya`, `diffusers` or `peft`.
        base: What it was trained on: a folder, `hf://owner/name` or a family; what the LoRA tells by default.
        dtype: `float32`, `float16` or `bfloat16`; that of the LoRA by default.
        force: Replace a file, or a folder that holds a LoRA alone.
        progress: Told of every step.

    Raises:
        LoramergeError: With the exit code of what went wrong. Nothing is written then.
    """
    progress = progress or Silent()
    place = Path(os.path.abspath(out))  # noqa: PTH100  without `..`, and links as they are
    if dtype not in (None, *STORED_AS):
        raise UsageError(f"dtype: {dtype!r} is none of {', '.join(STORED_AS)}")
    given = GivenBase.parse(base)
    named = {"source": given.source} if given.source else {"family": given.family} if given.family else {}
    recipe = recipe_of(
        place.stem if place.suffix == ".safetensors" else place.name,
        named,
        [Ingredient(str(lora))],
        {"combination_type": "cat"},
        {"format": format},
    )
    output: Any = recipe.outputs[0]
    check_form(output, place)
    check = partial(check_lora_place, place, force=force, inputs=local_sources(recipe))
    check()
    filling = replacing_by_one if output.is_one_file else replacing
    with in_turn(place, progress), filling(place, lambda old: check(old=old)) as folder:
        check()  # another command may have been there meanwhile
        recipe = with_base(recipe, progress=progress)
        resolved = resolve(recipe, progress=progress)
        loaded = load(resolved, progress=progress)
        check_outputs(recipe, loaded)
        check_count(recipe, loaded)
        (read,) = loaded.loras
        adapter = own_ranks(read.adapter)
        written = dict(output.pairs(adapter, loaded.base))
        progress.start("write", 1)
        chosen = output.model_copy(update={"dtype": dtype or _number_format(output, written)})
        lock = lock_sources(recipe, known(resolved, loaded))
        source = lock.sources.loras[read.name]
        labels = _labels(labels_of(recipe, loaded, lock.sources.cards), read, source)
        chosen.write_adapter(adapter, _named(loaded.base, labels), labels, folder, exact=True)
        if not chosen.holds_embeddings:
            write_beside(adapter.embeddings, folder)
        progress.advance()
        rounding = _rounding(chosen, written)
    notes = (
        *loaded.notes,
        *_said_of(chosen, written, rounding, is_default=dtype is None),
        *chosen.told(adapter, loaded.base),
        *left_out(read.adapter, adapter),
        *kinds(adapter),
    )
    return Converted(
        place=place,
        adapter=adapter,
        source_format=read.format,
        family=loaded.base.family.name,
        dtype=chosen.dtype,
        modules=len(written),
        ranks=tuple(sorted({pair.rank for pair in written.values() if not pair.is_dense})),
        folded=sum(_is_folded(chosen, pair) for pair in written.values()),
        rounding=rounding,
        notes=notes,
    )


def _number_format(output: AdapterOutput, written: Mapping[str, LowRank]) -> str:
    """The narrowest that holds what is written, of all pairs: PEFT multiplies no two number formats."""
    found = narrowest(name for pair in written.values() for name in pair.number_formats)
    lost = _rounding(output.model_copy(update={"dtype": found}), written)
    return found if lost <= _AS_GOOD_AS_FLOAT32 else "float32"


def _is_folded(output: AdapterOutput, pair: LowRank) -> bool:
    return any(abs(share) != 1 for share in output.folded(pair))


def _rounding(output: AdapterOutput, written: Mapping[str, LowRank]) -> float:
    """What fewer bits than the LoRA has lose of it."""
    if output.dtype == "float32":
        return 0.0
    with one_thread():
        losses = [loss(_as_folded(output, pair), output.dtype) for pair in written.values()]
        norms = [norm_of(pair) for pair in written.values()] if any(losses) else [1.0]
    whole = math.hypot(*norms)
    return math.hypot(*losses) / whole if whole > 0 else 0.0


def _as_folded(output: AdapterOutput, pair: LowRank) -> LowRank:
    (down, up), pair = output.folded(pair), pair.loaded()
    if (down, up) == (1.0, 1.0):
        return pair
    return replace(pair, down=pair.down * down, up=pair.up * up, scale=pair.scale / (down * up))


def _said_of(
    output: AdapterOutput, written: Mapping[str, LowRank], rounding: float, *, is_default: bool
) -> Iterator[str]:
    """What is to be said of the numbers.

    Args:
        output: As it was written.
        written: Its pairs.
        rounding: What they lose of the LoRA.
        is_default: Nobody asked for the number format.
    """
    yield from output.cautions([*written.values()])
    formats = {name for pair in written.values() for name in pair.number_formats}
    if is_default and output.dtype == "float32" and formats - {"float32", "float64"}:
        yield f"numbers of {' and '.join(sorted(formats))} are float32 now: no less holds what they became to the bit"
    if "float64" in formats:
        yield "numbers of float64 were rounded to float32, by 6e-8 of each at most"
    if rounding > _AS_GOOD_AS_FLOAT32:
        yield f"{output.dtype} loses {rounding:.1e} of the LoRA"


def _labels(labels: Labels, lora: LoadedLora, source: LockedSource) -> Labels:
    """What the file said of itself, and what its model card says beside."""
    kept = {key: value for key, value in lora.adapter.metadata.items() if _lasts(key)}
    card = source.card
    trained_on = lora.adapter.settings.get(BASE) or (card.base_model if card else None)
    facts = {
        TRIGGER_PHRASE: ", ".join(labels.trigger_phrases),
        LICENCE: source.licence or "",
        BASE_MODEL: trained_on if trained_on and _REPOSITORY.fullmatch(trained_on) else "",
    }
    said = {key: value for key, value in facts.items() if value}
    kept |= {key: value for key, value in said.items() if key == TRIGGER_PHRASE}
    return replace(labels, is_converted=True, tag_frequency={}, kept={**said, **kept})


def _lasts(key: str) -> bool:
    """Whether what a file says under a key is as true of the LoRA in another format."""
    return key not in OURS | {"format", "lora_adapter_metadata"} and not key.startswith(("sshs_", "modelspec.hash_"))


def _named(base: Base, labels: Labels) -> Base:
    """The base by the name that the LoRA has for it, where nothing but its family is known."""
    told = labels.kept.get(BASE_MODEL)
    return replace(base, reference=f"hf://{told}") if told and base.size is not None else base
