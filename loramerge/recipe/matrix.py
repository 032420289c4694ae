"""`matrix:`: one recipe that stands for several, one for each combination of its axes' values."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.documents.problems import KeyPath, Problem, RecipeProblemsError, did_you_mean
from loramerge.messages import any_of
from loramerge.recipe.overrides import put

if TYPE_CHECKING:
    from loramerge.documents.document import Document

MATRIX = "matrix"
MOST = 10_000
"""Recipes that one file may stand for."""
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_OUTSIDE = {"version", "name", "defaults", MATRIX}
"""Keys that no axis sets."""


@dataclass(frozen=True)
class _Choice:
    """One value of an axis.

    Attributes:
        label: What names say of it.
        sets: Key, split at its dots → where the matrix has the value.
        key: Where the matrix has the choice.
    """

    label: str
    sets: Mapping[tuple[str, ...], KeyPath]
    key: KeyPath


def expanded(document: Document) -> list[Document]:
    """The recipes that a document stands for, in the order of its axes, the last of them fastest.

    A list of values is that of the key that its axis is called: `loras.ink.weight: [0.5, 1]`. Labels give values names,
    and may set several keys at once: `size: {small: {base.source: …, loras.ink.weight: 0.5}, large: …}`. In the name,
    the description and the targets, `{axis}` stands for the label or the value; a name that has none of them gets all
    of them at its end.

    Args:
        document: A mapping; it is not changed.

    Returns:
        Itself, where it has no matrix. What is wrong with a matrix is among the problems of the only document then.
    """
    if MATRIX not in document.data:
        return [document]
    whole = document.copy()
    matrix = whole.data.pop(MATRIX)
    axes = dict(_axes(document, matrix, whole.problems))
    count = math.prod(map(len, axes.values()))
    if count > MOST:
        message = f"it stands for {count:,} recipes; at most {MOST:,}"
        whole.problems.append(Problem(document.origin((MATRIX,)), (MATRIX,), message))
    whole.forget((MATRIX,))
    if len(whole.problems) > len(document.problems):
        if isinstance(name := whole.data.get("name"), str):
            whole.data["name"] = _PLACEHOLDER.sub("x", name)  # what stands for what is not known, and is no mistake
        return [whole]
    combinations = itertools.product(*axes.values())
    made = [_combination(whole, document, dict(zip(axes, choices, strict=True))) for choices in combinations]
    _refuse_same_names(made)
    return made


def _axes(document: Document, matrix: object, problems: list[Problem]) -> Iterator[tuple[str, list[_Choice]]]:
    """The axes that are right; what is wrong with others joins the problems."""
    if not isinstance(matrix, dict) or not matrix:
        message = "expected axes with their values, such as `loras.ink.weight: [0.5, 1]`"
        problems.append(Problem(document.origin((MATRIX,)), (MATRIX,), message))
        return
    for axis, values in matrix.items():
        choices = [*_choices(document, axis, values)]
        if mistakes := [*_mistakes(axis, values, choices)]:
            problems += [Problem(document.origin(key), key, message) for key, message in mistakes]
        else:
            yield axis, choices


def _choices(document: Document, axis: str, values: object) -> Iterator[_Choice]:
    """The values of an axis, right or wrong."""
    at: KeyPath = (MATRIX, axis)
    own = tuple(axis.split("."))
    if isinstance(values, list):
        for place, value in enumerate(values):
            key = (*at, place)
            yield _Choice(document.texts.get(key, str(value)), {own: key}, key)
    for label, value in values.items() if isinstance(values, dict) else ():
        key = (*at, label)
        several = {tuple(name.split(".")): (*key, name) for name in value} if isinstance(value, dict) else {own: key}
        yield _Choice(label, several, key)


def _mistakes(axis: str, values: object, choices: Sequence[_Choice]) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with an axis."""
    if not choices:
        yield (MATRIX, axis), "expected a list of values, or labels with what each sets"
    labels: dict[str, None] = {}
    for choice in choices:
        given = _value({MATRIX: {axis: values}}, choice.key)
        if isinstance(values, list) and isinstance(given, dict | list):
            yield choice.key, f"such a value needs a label: `{axis}: {{label: {{{axis}: …}}}}`"
        elif not _LABEL.fullmatch(choice.label):
            named = f"give the values of this axis labels: `{axis}: {{label: value, …}}`"
            yield choice.key, f"{choice.label!r} can't stand in a name; {named}"
        elif choice.label.casefold() in labels:
            yield choice.key, f"{choice.label!r} is there already; leave out one, or give the values other labels"
        labels[choice.label.casefold()] = None
        if not choice.sets:
            yield choice.key, "it sets nothing; expected keys and values, such as `{merge.density: 0.5}`"
        for segments, place in choice.sets.items():
            if not all(segments) or segments[0] in _OUTSIDE:
                yield place, f"{'.'.join(segments)!r} is no key that a matrix sets"


def _combination(whole: Document, source: Document, chosen: Mapping[str, _Choice]) -> Document:
    """One of the recipes."""
    made = whole.copy()
    _set_all(made, source, chosen)
    labels = {axis: choice.label for axis, choice in chosen.items()}
    if isinstance(name := made.data.get("name"), str):
        if not _PLACEHOLDER.search(name):
            name = "-".join([name, *labels.values()])
        made.data["name"] = _filled(made, ("name",), name, labels, strict=True)
        made.texts.pop(("name",), None)
    if isinstance(text := made.data.get("description"), str):
        made.data["description"] = _filled(made, ("description",), text, labels, strict=False)
    targets = made.data.get("publish")
    for index, target in enumerate(targets if isinstance(targets, list) else ()):
        for key, text in target.items() if isinstance(target, dict) else ():
            if isinstance(text, str):
                at = ("publish", index, key)
                target[key] = _filled(made, at, text, labels, strict=True)
    return made


def _set_all(made: Document, source: Document, chosen: Mapping[str, _Choice]) -> None:
    """Put the values of all axes in; two of them that set the same join the problems."""
    taken = dict[KeyPath, str]()
    for axis, choice in chosen.items():
        for segments, place in choice.sets.items():
            key = _set(made, segments, source, place)
            for other, theirs in taken.items():
                if key is not None and (key[: len(other)] == other or other[: len(key)] == key):
                    message = f"the axis {theirs} sets it as well; leave out one of them"
                    made.problems.append(Problem(source.origin(place), place, message))
            if key is not None:
                taken[key] = axis


def _set(made: Document, segments: tuple[str, ...], source: Document, place: KeyPath) -> KeyPath | None:
    """Set a key to what the matrix has at a place; None where there is no way to it, which joins the problems."""
    value = copy.deepcopy(_value(source.data, place))
    try:
        key = put(made, segments, value, source.origin(place))
    except RecipeProblemsError as error:
        made.problems += error.problems
        return None
    made.taken(key, source, place)
    return key


def _filled(made: Document, key: KeyPath, text: str, labels: Mapping[str, str], *, strict: bool) -> str:
    def label(found: re.Match[str]) -> str:
        if found[1] in labels:
            return labels[found[1]]
        if strict:
            message = f"the matrix has no axis {found[1]!r}; expected {any_of(f'{{{axis}}}' for axis in labels)}"
            made.problems.append(Problem(made.origin(key), key, message + did_you_mean(found[1], labels)))
        return found[0]

    return _PLACEHOLDER.sub(label, text)


def _refuse_same_names(made: Sequence[Document]) -> None:
    """Two recipes of one name would have one artifact."""
    names: dict[str, None] = {}
    for each in made:
        name = each.data.get("name")
        if isinstance(name, str) and name.casefold() in names:
            message = f"two of the matrix's recipes are called {name!r}: put each axis into the name, or none of them"
            each.problems.append(Problem(each.origin(("name",)), ("name",), message))
            return
        names[str(name).casefold()] = None


def _value(data: Any, key: KeyPath) -> Any:
    for step in key:
        data = data[step]
    return data
