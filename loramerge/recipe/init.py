"""A first recipe, for LoRAs that lie somewhere and a base."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loramerge.documents import yaml_document
from loramerge.fields import name_like
from loramerge.formats import FORMATS
from loramerge.methods import METHODS

_METHODS = {method.name(): method for method in METHODS}
_FORMATS = {found.default_folder: found for found in FORMATS}
COMBINATION_TYPES = tuple(_METHODS)
"""In the order in which they are offered."""

_NAME_LENGTH = 40
_ANY_NAME = "lora"
_GENERIC = ("pytorch_lora_weights", "adapter_model", "model", "lora", "unet", "text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class InitialLora:
    """A LoRA of the recipe.

    Attributes:
        name: What the recipe calls it.
        source: As the recipe is to give it.
        rank: What all of its modules have; None where they differ.
        is_dora: What it adds depends on the base's weights.
        is_plain: PEFT's own merge takes it.
    """

    name: str
    source: str
    rank: int | None
    is_dora: bool = False
    is_plain: bool = True


def names_for(references: Sequence[str]) -> tuple[str, ...]:
    """A name for each LoRA, after its file, its folder or its repository; no two are the same.

    Args:
        references: `hf://owner/name[/file]`, `https://…` or paths.
    """
    names: list[str] = []
    for reference in references:
        name = _name_from(reference)
        taken = {each.casefold() for each in names}
        numbered = (f"{name}-{number}" for number in range(2, len(references) + 2))
        names.append(name if name.casefold() not in taken else next(n for n in numbered if n.casefold() not in taken))
    return tuple(names)


def source_from(reference: str, folder: Path) -> str:
    """The reference as a recipe in `folder` has to give it: relative paths start there, not at the current folder."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", reference) or reference.startswith("~") or Path(reference).is_absolute():
        return reference
    try:
        # Of a link to a folder, `..` leads out of what it points to.
        return Path(os.path.relpath(reference, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(Path(reference).absolute())


def recipe_text(
    name: str,
    base: Mapping[str, str],
    loras: Sequence[InitialLora],
    combination_type: str,
    output_format: str,
    *,
    run_line: str,
    fusible: bool = True,
) -> str:
    """The recipe as YAML with comments.

    Args:
        name: What the artifact is to be called.
        base: Its `source`, as the recipe is to give it, or its `family`.
        loras: In the order in which they are merged.
        combination_type: One of `COMBINATION_TYPES`.
        output_format: `kohya`, `diffusers` or `peft`.
        run_line: The command that runs the recipe.
        fusible: The base is one into which a merge can be fused.
    """
    lines = [f"# {run_line}", "version: 1", f"name: {_scalar(name)}"]
    lines += ["", "base:", *(f"  {key}: {_scalar(value)}" for key, value in base.items())]
    lines += ["", "loras:", *_lora_lines(loras)]
    lines += ["", "merge:", *_merge_lines(combination_type, factored=not all(lora.is_plain for lora in loras))]
    lines += ["", *_output_lines(output_format, fusible=fusible, has_weights="source" in base)]
    return "\n".join(lines) + "\n"


def _lora_lines(loras: Sequence[InitialLora]) -> Iterator[str]:
    for lora in loras:
        yield f"  - name: {_scalar(lora.name)}"
        yield f"    source: {_scalar(lora.source)}"
        if lora.rank is not None:
            yield f"    rank: {lora.rank}"
        if lora.is_dora:
            yield "    dora: true  # what it adds depends on the base's weights"
        yield "    weight: 1.0"


def _merge_lines(combination_type: str, *, factored: bool) -> Iterator[str]:
    method = _METHODS[combination_type]
    yield f"  combination_type: {combination_type}" + (f"  # {method.summary}" if method.summary else "")
    yield from (f"  {key}: {value}" for key, value in method.suggested.items())
    if factored:
        yield "  engine: factored  # PEFT's own merge takes LoRAs alone"


def _output_lines(output_format: str, *, fusible: bool, has_weights: bool) -> Iterator[str]:
    output = _FORMATS[output_format]
    yield from ("outputs:", "  - kind: adapter", f"    format: {output_format}  # for {output.readers}")
    yield "    dtype: float16  # float32 rounds nothing"
    needs = "" if has_weights else "; needs the base's `source:`"
    if fusible:
        yield from (f"  # - kind: model  # the base with the merge fused in{needs}", "  #   dtype: float16")
    path = "~/ComfyUI/models/loras" if output.is_one_file else "~/loras"
    yield from ("", "# publish:", "#   - kind: folder", f"#     path: {path}", f"#     outputs: [{output_format}]")


def _name_from(reference: str) -> str:
    parts = [part for part in re.split(r"[/\\]", re.sub(r"[?#].*|^[a-z]+:", "", reference)) if part.strip(".")]
    parts[-1:] = [re.sub(r"\.safetensors$", "", part) for part in parts[-1:]]
    telling = [part for part in parts if part.casefold() not in _GENERIC] or parts or [_ANY_NAME]
    return name_like(telling[-1], _NAME_LENGTH) or _ANY_NAME


def _scalar(text: str) -> str:
    """The text as YAML: plain where that means the same to every reader, else in double quotes."""
    return text if yaml_document.dump({"key": text}) == f"key: {text}\n" else _quoted(text)


def _quoted(text: str) -> str:
    special = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(special.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text) + '"'
