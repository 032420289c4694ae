"""What of a recipe's `search` does not fit together, or not the rest of the recipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeGuard

from loramerge import sources
from loramerge.documents.problems import KeyPath, did_you_mean
from loramerge.errors import SourceError
from loramerge.messages import any_of
from loramerge.recipe.search import PREVIEWS
from loramerge.recipe.varied import METHODS_BY_NAME, TYPE, UnvariedKeyError, VariedKey, required

_Mistake = tuple[KeyPath, str]
"""A key, and what is wrong with it."""
_TYPE_KEY = ".".join(map(str, TYPE))


def search_mistakes(data: Mapping[str, Any]) -> Iterator[_Mistake]:
    """Find what can't be searched.

    Args:
        data: A recipe as plain data; whatever has the wrong shape is passed over.

    Yields:
        The key and what is wrong with it.
    """
    search = data.get("search")
    if not isinstance(search, dict):
        return
    yield from _objective_mistakes(data, search)
    vary = search.get("vary")
    if isinstance(vary, dict) and isinstance(merge := data.get("merge"), dict):
        yield from ((("search", "vary", *key), message) for key, message in _vary_mistakes(data, merge, vary))


def types_of(merge: Mapping[str, Any], vary: Mapping[str, Any]) -> list[str]:
    """The combination types that a search tries, as they are given: those that vary, or else the recipe's own."""
    given = vary.get(_TYPE_KEY)
    return list(given) if isinstance(given, list) else [str(merge.get(str(TYPE[1])))]


def _objective_mistakes(data: Mapping[str, Any], search: Mapping[str, Any]) -> Iterator[_Mistake]:
    objective = search.get("objective")
    if objective == PREVIEWS and data.get("preview") is None:
        yield ("search", "objective"), "it compares pictures, and the recipe has no `preview:` that says which"
    clip = search.get("clip")
    if clip is not None and objective != PREVIEWS:
        yield ("search", "clip"), f"it is for `objective: {PREVIEWS}`; leave it out, or choose that"
    if isinstance(clip, str) and clip:
        try:
            sources.parse(clip, folder=Path())
        except SourceError as error:
            yield ("search", "clip"), "; ".join(filter(None, (error.message, error.hint)))


def _vary_mistakes(data: Mapping[str, Any], merge: Mapping[str, Any], vary: Mapping[str, Any]) -> Iterator[_Mistake]:
    types = types_of(merge, vary)
    known = [*METHODS_BY_NAME]  # a list: what is given may be anything
    unknown = [each for each in types if each not in known]
    for place, each in enumerate(types):
        if each in unknown and isinstance(vary.get(_TYPE_KEY), list):
            expected = f"expected {any_of(map(repr, METHODS_BY_NAME))}{did_you_mean(each, METHODS_BY_NAME)}"
            yield (_TYPE_KEY, place), f"there is no type {each!r}; {expected}"
    if isinstance(vary.get(_TYPE_KEY), dict):
        yield (_TYPE_KEY,), "types have no order: expected a list of them, such as [cat, ties]"
    if unknown or isinstance(vary.get(_TYPE_KEY), dict):
        return
    keys: dict[KeyPath, str] = {}
    for name, given in vary.items():
        yield from (((name, *at), message) for at, message in _key_mistakes(str(name), given, data, types, keys))
    yield from _ungiven(merge, [key[1] for key in keys if key[0] == "merge"], types, vary)


def _key_mistakes(
    name: str, given: Any, data: Mapping[str, Any], types: Sequence[str], keys: dict[KeyPath, str]
) -> Iterator[_Mistake]:
    """What is wrong with a key; `keys` has those before it, which it joins."""
    try:
        key = VariedKey.parse(name, data)
        if twice := _same_before(key.path, keys):
            yield (), f"`{twice}` varies the same; leave out one of them"
            return
        keys[key.path] = key.name
        yield from _value_mistakes(key, data, given, types)
    except UnvariedKeyError as error:
        yield (), str(error)


def _same_before(path: KeyPath, keys: Mapping[KeyPath, str]) -> str | None:
    """A key before it that leads to the same place, or to one within or around it."""
    return next((name for other, name in keys.items() if other[: len(path)] == path or path[: len(other)] == other), "")


def _ungiven(
    merge: Mapping[str, Any], varied: Sequence[Any], types: Sequence[str], vary: Mapping[str, Any]
) -> Iterator[_Mistake]:
    """Parameters that a type can't do without, and that nobody gives."""
    if not isinstance(vary.get(_TYPE_KEY), list):
        return  # the recipe itself is wrong then, and says so
    for place, each in enumerate(types):
        for name in required(each):
            if name not in varied and name not in merge:
                message = f"`{each}` needs `{name}`; add `merge.{name}` to `vary`, or `{name}` to the recipe's `merge`"
                yield (_TYPE_KEY, place), message


def _value_mistakes(key: VariedKey, data: Mapping[str, Any], given: Any, types: Sequence[str]) -> Iterator[_Mistake]:
    takers = key.takers(types)
    if not takers:
        raise UnvariedKeyError(f"{any_of(f'`{each}`' for each in types)} has no parameter `{key.path[1]}`")
    key.put(deepcopy({**data}), None)  # which says whether there is a way to it
    if isinstance(given, dict):
        yield from _range_mistakes(key, data, given, takers)
        return
    listed = given if isinstance(given, list) else []
    if len(listed) == 1:
        yield (), f"one value is no choice, so nothing varies; add others, or set `{key.name}` in the recipe itself"
    for place, value in enumerate(listed):
        if any(type(value) is type(other) and value == other for other in listed[:place]):
            yield (place,), f"{value!r} is listed twice; leave out one"
        elif key.path != TYPE and (wrong := key.admitted(data, value, takers)[1]):
            yield (place,), wrong


def _range_mistakes(
    key: VariedKey, data: Mapping[str, Any], given: Mapping[str, Any], types: Sequence[str]
) -> Iterator[_Mistake]:
    low, high, step = given.get("from"), given.get("to"), given.get("step")
    if not _is_number(low) or not _is_number(high) or not (step is None or _is_number(step)):
        return  # what stands there is no range, and is told as that
    for end, value in (("from", low), ("to", high)):
        if wrong := key.admitted(data, value, types)[1]:
            yield (end,), wrong
            return
    if low > high:
        yield (), f"the range is upside down: it goes from {low:g} to {high:g}; write from: {high:g}, to: {low:g}"
    elif low == high:
        yield (
            (),
            f"the range is empty: it goes from {low:g} to {high:g}, so nothing varies; widen it, or leave the key out",
        )
    elif step is not None and step > high - low:
        yield ("step",), f"a step of {step:g} leads beyond {high:g}, so nothing varies"
    elif given.get("log") and step is not None:
        yield ("step",), "a logarithmic range has no steps; leave out `step` or `log`"
    elif given.get("log") and low <= 0:
        yield ("from",), f"a logarithmic range begins above 0, and this one at {low:g}"
    elif step is not None and not float(step).is_integer() and key.is_whole(data, low, high, types):
        yield ("step",), f"found the number {step:g}; expected a whole number, as `{key.name}` is one"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
