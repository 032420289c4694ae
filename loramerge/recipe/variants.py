"""Variants of a recipe along one or two axes: `--set merge.density=0.3,0.5 --set loras.0.weight=0.5,1.0`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.documents.problems import Problem, RecipeProblemsError
from loramerge.errors import UsageError
from loramerge.recipe.reading import one_in, text_at

if TYPE_CHECKING:
    from loramerge.recipe.model import Recipe

_TYPES = (
    "a type and its parameters change together: "
    "--set 'merge={combination_type: cat},{combination_type: ties, density: 0.5}'"
)
_HINT = "for example --set merge.density=0.3,0.5,0.7 --set loras.0.weight=0.5,1.0"
_OPENING, _CLOSING = "[{", "]}"


@dataclass(frozen=True)
class Axis:
    """One key and its values.

    Attributes:
        key: As `--set` takes it.
        values: YAML, at least two.
    """

    key: str
    values: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The key with each value: `merge.density = 0.3` and so on."""
        return tuple(f"{self.key} = {value}" for value in self.values)


@dataclass(frozen=True)
class Variants:
    """The recipes of a grid.

    Attributes:
        x: The axis of the columns.
        y: The axis of the rows, where there are two.
        recipes: By row and column.
    """

    x: Axis
    y: Axis | None
    recipes: tuple[tuple[Recipe, ...], ...]

    @property
    def first(self) -> Recipe:
        """The recipe whose sources and preview all the others share."""
        return self.recipes[0][0]


def read_variants(path: Path | str, settings: Sequence[str]) -> Variants:
    """Read a recipe's variants.

    Args:
        path: The recipe's file; `-` reads standard input.
        settings: `KEY=VALUE` as `--set` takes them. One or two have several values, parted by commas outside of
            brackets and quotes: the first is the axis of the columns, the second that of the rows.

    Raises:
        UsageError: There are not one or two axes, or one of them changes more than the merge and weights of LoRAs.
        RecipeProblemsError: Variants are no valid recipes; `problems` has the mistakes of all of them.
    """
    axes = [axis for axis in map(_axis, settings) if len(axis.values) > 1]
    _check_axes(axes)
    where, name = text_at(path)
    x, y = axes[0], axes[1] if len(axes) > 1 else None
    problems: dict[str, list[Problem]] = {}

    def read(chosen: dict[str, str]) -> Recipe | None:
        given = [f"{axis.key}={chosen[axis.key]}" if axis.key in chosen else each for each, axis in each_axis]
        try:
            return one_in(where, name, given)
        except RecipeProblemsError as error:
            problems[", ".join(f"{key}={value}" for key, value in chosen.items())] = list(error.problems)
            return None

    each_axis = [(each, _axis(each)) for each in settings]
    rows = [
        [read({x.key: value} | ({y.key: other} if y else {})) for value in x.values]
        for other in (y.values if y else ("",))
    ]
    if problems:
        found = tuple(_of_variants(problems, sum(map(len, rows))))
        of_merge = any(each.key[:1] == ("merge",) for each in found)
        by_type = any(axis.key == "merge.combination_type" for axis in axes)
        raise RecipeProblemsError(found, hint=_TYPES if of_merge and by_type else "")
    variants = Variants(x, y, tuple(tuple(recipe for recipe in row if recipe) for row in rows))
    _check_sameness(variants)
    return variants


def split_values(text: str) -> tuple[str, ...]:
    """YAML values parted by commas; commas within brackets, braces and quotes are the values' own."""
    parts, depth, quote, before, escaped = [""], 0, "", ",", False
    for character in text:
        if quote:
            if character == quote and not escaped:
                quote = ""
            escaped = character == "\\" and quote == '"' and not escaped
        elif character in "\"'" and (before in ",:[{" or before == character):  # elsewhere it is an apostrophe
            quote = character
        elif character == "," and depth <= 0:
            parts.append("")
            before = character
            continue
        else:
            depth += (character in _OPENING) - (character in _CLOSING)
        parts[-1] += character
        before = before if character.isspace() else character
    return tuple(part.strip() for part in parts)


def _of_variants(problems: Mapping[str, list[Problem]], count: int) -> Iterator[Problem]:
    """The mistakes; one that not all variants have, and that stands in the file, says which variant has it.

    Args:
        problems: The mistakes of each variant that has any.
        count: How many variants there are.
    """
    found = Counter(each for several in problems.values() for each in several)
    said: set[Problem] = set()
    for variant, several in problems.items():
        for each in several:
            if each not in said:
                said.add(each)
                mine = each.origin.line and found[each] < count
                yield replace(each, message=f"{each.message} (with {variant})") if mine else each


def _axis(setting: str) -> Axis:
    key, equals, values = setting.partition("=")
    return Axis(key.strip(), split_values(values) if equals else ())


def _check_axes(axes: Sequence[Axis]) -> None:
    if not axes:
        raise UsageError("no --set has several values, so there is nothing to compare", hint=_HINT)
    if len(axes) > 2:  # noqa: PLR2004  a picture has two dimensions
        raise UsageError(
            f"a grid has one or two axes, these are {len(axes)}: {', '.join(axis.key for axis in axes)}",
            hint="give one value to each of the others",
        )
    if len({axis.key for axis in axes}) < len(axes):
        raise UsageError(f"{axes[0].key} is given twice", hint="give all its values in one --set")
    for axis in axes:
        if "" in axis.values:
            raise UsageError(f"--set {axis.key}: there is nothing between two commas, or after the last", hint=_HINT)
        if twice := next((value for value in axis.values if axis.values.count(value) > 1), None):
            raise UsageError(f"--set {axis.key}: {twice} is given twice", hint="give each value once")


def _check_sameness(variants: Variants) -> None:
    """The base is loaded and the sources are resolved once, so nothing but the merge may differ."""
    along_y = [row[0] for row in variants.recipes]
    for axis, recipes in ((variants.x, variants.recipes[0]), (variants.y, along_y)):
        changed = sorted({key for recipe in recipes for key in _differing(recipes[0], recipe)})
        if axis and changed:
            raise UsageError(
                f"--set {axis.key} changes {', '.join(changed)}: a grid compares merges and weights of the same LoRAs",
                hint=f"{_HINT}; run `loramerge preview` for each of the others",
            )


def _differing(one: Recipe, other: Recipe) -> Iterator[str]:
    before, after = _fixed(one), _fixed(other)
    yield from (key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _fixed(recipe: Recipe) -> dict[str, Any]:
    data = recipe.model_dump(mode="json")
    del data["merge"]
    for lora in data["loras"]:
        del lora["weight"]
    return data
