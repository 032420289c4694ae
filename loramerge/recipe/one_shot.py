"""A recipe from what one command line names: in memory, and as text that can be kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.documents import yaml_document
from loramerge.documents.problems import RecipeProblemsError
from loramerge.errors import InvalidRecipeError, UsageError
from loramerge.fields import name_like
from loramerge.methods import METHODS
from loramerge.recipe.init import names_for
from loramerge.recipe.reading import parse

if TYPE_CHECKING:
    from loramerge.recipe.model import Recipe

_METHODS = {method.name(): method for method in METHODS}
_DIGITS = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(_DIGITS)
_WEIGHED = re.compile(rf"(?P<source>.+):(?P<weight>{_DIGITS}|\{{.*\}})")
_ASSIGNED = re.compile(rf".+\.safetensors={_DIGITS}")
_COMMA = re.compile(r".+:(?P<whole>[-+]?\d*),(?P<part>\d+)")
_ONE_FILE = {"diffusers", "kohya", "comfyui"}
_ENDING = re.compile(r"\.[A-Za-z]\w*$")


@dataclass(frozen=True)
class Ingredient:
    """A LoRA of the command line.

    Attributes:
        source: As a recipe has it.
        weight: A number, or diffusers' mapping by component and block.
        is_dora: What it adds depends on the base's weights.
    """

    source: str
    weight: float | dict[str, Any] = 1.0
    is_dora: bool = False

    @classmethod
    def parse(cls, text: str) -> Ingredient:
        """Read `SOURCE` or `SOURCE:WEIGHT`, where a weight is a number or a YAML mapping in braces.

        Raises:
            UsageError: What follows the source is no weight.
        """
        if os.path.exists(text):  # noqa: PTH110  which takes any text
            return cls(text)
        if found := _WEIGHED.fullmatch(text):
            _refuse_another_weight(text, found["source"])
            return cls(found["source"], _weight(text, found["weight"]))
        if _NUMBER.fullmatch(text) or _ASSIGNED.fullmatch(text):
            raise UsageError(f"{text}: a weight follows its LoRA, after a colon", hint="such as ink.safetensors:0.7")
        if found := _COMMA.fullmatch(text):
            raise UsageError(
                f"{text}: a weight has a decimal point, not a comma",
                hint=f"write {text.rpartition(':')[0]}:{found['whole'] or 0}.{found['part']}",
            )
        if (head := text.partition(":{")[0]) != text:
            raise UsageError(
                f"{text}: the mapping after {head} has no end", hint="close it with }, and quote the whole"
            )
        source, _, rest = text.rpartition(":")
        if source and os.path.exists(source):  # noqa: PTH110  Path raises on what is too long
            raise UsageError(f"{text}: {rest!r} is no weight", hint=f"give a number, such as {source}:0.7")
        return cls(text)


def unweighted(text: str) -> str:
    """A LoRA for a command that takes no weights.

    Raises:
        UsageError: It has one.
    """
    found = Ingredient.parse(text)
    if found.source != text:
        raise UsageError(
            f"{text}: no weights are taken here; name {found.source}",
            hint="`loramerge merge` takes them; with --recipe it prints the recipe instead of merging",
        )
    return text


def format_of_all(formats: Sequence[str]) -> str:
    """The output format that the inputs ask for: theirs, or `kohya`, which most programs load, where they differ.

    Args:
        formats: Of the inputs, as `read_lora` names them.
    """
    first, *others = dict.fromkeys(formats)
    return "kohya" if others or "+" in first else first


def format_for(place: str, formats: Sequence[str]) -> str:
    """The output format that a name and the inputs ask for.

    Args:
        place: Where the result goes: a file that ends in `.safetensors`, or a folder.
        formats: Of the inputs.

    Returns:
        `kohya`, `comfyui` or `diffusers`, which are one file, or `peft`, which is a folder.

    Raises:
        UsageError: The name is that of something else.
    """
    refuse_no_file(place)
    if Path(place).suffix == ".safetensors":
        found = format_of_all(formats)
        return found if found in _ONE_FILE else "kohya"
    return "peft"


def refuse_no_file(place: str) -> None:
    """Raise where a name is that of nothing that a LoRA is written to.

    Raises:
        UsageError: It is.
    """
    if place == "-":
        raise UsageError("a LoRA is no text that could be printed", hint="name a file: -o NAME.safetensors")
    ending = _ENDING.search(place)
    if ending and ending[0] != ".safetensors" and not Path(place).is_dir():
        raise UsageError(
            f"{place}: nothing is written that ends in {ending[0]}",
            hint="a file ends in .safetensors; a PEFT folder has no such ending",
        )


def settings_for(
    combination_type: str | None, rank: int | None, energy: float | None, others: Mapping[str, float | None]
) -> dict[str, Any]:
    """`merge:` of a recipe, with the parameters that the type needs and that are not given.

    Args:
        combination_type: PEFT's name; `svd` where a rank or an energy is wanted, else `cat`, if None.
        rank: Of the result, or the most where there is an energy.
        energy: Share of the squared norm that is kept.
        others: Other parameters by name; None for those that are not given.

    Raises:
        UsageError: The type cuts nothing to a rank.
    """
    cut = rank is not None or energy is not None
    name = combination_type or ("svd" if cut else "cat")
    method = _METHODS[name]
    if cut and not method.decomposes:
        other = f"{name}_svd" if f"{name}_svd" in _METHODS else "svd"
        raise UsageError(f"`{name}` has no rank to choose", hint=f"use --method {other}, or leave out --rank")
    given = {key: value for key, value in others.items() if value is not None}
    by_energy = {"energy": energy} if rank is None else {"energy": energy, "max": rank}
    svd_rank = {} if not cut else {"svd_rank": rank if energy is None else by_energy}
    return {"combination_type": name, "engine": "factored", **method.suggested, **given, **svd_rank}


def recipe_of(
    name: str,
    base: Mapping[str, str],
    loras: Sequence[Ingredient],
    merge: Mapping[str, Any],
    output: Mapping[str, str],
    overrides: Sequence[str] = (),
) -> Recipe:
    """The recipe, whose paths start at the current folder.

    Args:
        name: Any text; the characters that a recipe's name can have are kept.
        base: `source` or `family`; nothing where the LoRAs have to tell it.
        loras: In the order in which they are merged.
        merge: From `settings_for`.
        output: `format` and `dtype`.
        overrides: `KEY=VALUE` as `--set` takes them.

    Raises:
        UsageError: What was given makes no recipe; the message has every reason.
    """
    names = names_for([lora.source for lora in loras])
    entries = [
        {"name": each, "source": lora.source, "weight": lora.weight, **({"dora": True} if lora.is_dora else {})}
        for each, lora in zip(names, loras, strict=True)
    ]
    return recipe_with(name, base, entries, merge, output, overrides)


def recipe_with(
    name: str,
    base: Mapping[str, str],
    loras: Sequence[Mapping[str, Any]],
    merge: Mapping[str, Any],
    output: Mapping[str, str],
    overrides: Sequence[str],
) -> Recipe:
    """The same with `loras` as a recipe has them."""
    called = name_like(name) or "merged"
    data = {
        "version": 1,
        "name": called,
        **({"base": dict(base)} if base else {}),
        "loras": list(loras),
        "merge": dict(merge),
        "outputs": [{"kind": "adapter", **output}],
    }
    text = f"# loramerge run {called}.yaml\n{yaml_document.dump(data)}"
    try:
        return parse(text, origin="", folder=Path.cwd(), overrides=overrides)
    except RecipeProblemsError as error:
        raise UsageError(error.by_key, hint=error.hint) from error


def _refuse_another_weight(text: str, source: str) -> None:
    first = source.rstrip(":")
    if first != source or _WEIGHED.fullmatch(source):
        raise UsageError(f"{text}: one weight follows a LoRA, after one colon", hint="such as ink.safetensors:0.7")


def _weight(text: str, weight: str) -> float | dict[str, Any]:
    if not weight.startswith("{"):
        return float(weight)
    try:
        document = yaml_document.load(weight, origin=text)
        if document.problems:
            raise RecipeProblemsError(document.problems)
    except InvalidRecipeError as error:
        raise UsageError(error.message, hint="such as 'a.safetensors:{unet: {down: 0.2, up: 1.0}}'") from error
    found: dict[str, Any] = document.data
    return found
