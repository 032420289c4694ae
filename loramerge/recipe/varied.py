"""The keys that a search varies: where they lead, and which values may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from loramerge.documents.explain import mistakes
from loramerge.documents.problems import KeyPath, Mistake, did_you_mean
from loramerge.messages import any_of
from loramerge.methods import METHODS, Merge, Method
from loramerge.recipe import weights
from loramerge.recipe.weights import Weight

TYPE: KeyPath = ("merge", "combination_type")
_MAY = "weights of LoRAs and parameters of the merge may vary: `loras.NAME.weight` or `merge.…`"
METHODS_BY_NAME: Mapping[str, type[Method]] = {method.name(): method for method in METHODS}


class UnvariedKeyError(ValueError):
    """A key can't vary; the message says why."""


@dataclass(frozen=True)
class VariedKey:
    """A key of `search.vary`.

    Attributes:
        name: As the recipe has it.
        path: Where it leads in the recipe.
    """

    name: str
    path: KeyPath

    @classmethod
    def parse(cls, name: str, recipe: Mapping[str, Any]) -> VariedKey:
        """Read one.

        Args:
            name: As `--set` takes it.
            recipe: As plain data.

        Raises:
            UnvariedKeyError: It leads nowhere, or to what may not vary.
        """
        first, *rest = name.split(".")
        if not all((first, *rest)) or first not in ("merge", "loras") or not rest:
            raise UnvariedKeyError(f"only {_MAY}{did_you_mean(first, ('merge', 'loras'))}")
        if first == "merge":
            return cls(name, ("merge", *rest))
        index, used = _lora_named(rest, recipe.get("loras"))
        if rest[used : used + 1] != ["weight"]:
            raise UnvariedKeyError(f"of a LoRA only the weight may vary: `loras.{'.'.join(rest[:used])}.weight`")
        return cls(name, ("loras", index, *rest[used:]))

    def put(self, recipe: dict[str, Any], value: Any) -> None:
        """Put a value where the key leads.

        Args:
            recipe: As plain data; it is changed.
            value: As YAML has it.

        Raises:
            UnvariedKeyError: There is a value in the way.
        """
        holder: Any = recipe
        for place, step in enumerate(self.path[:-1]):
            if isinstance(holder, dict) and (holder.get(step) is None or self._is_whole_weight(holder[step])):
                holder[step] = {}
            holder = holder[self._step(holder, step)]
            if not isinstance(holder, dict | list):
                raise UnvariedKeyError(
                    f"the recipe's `{step}` is one value there, without parts that could vary; write it as a mapping, "
                    f"such as `{step}: {{{self.path[place + 1]}: {holder}}}`"
                )
        holder[self._step(holder, self.path[-1])] = value

    def _is_whole_weight(self, value: Any) -> bool:
        """Whether it is a weight of 1 for all below it: so much counts what a mapping does not name."""
        return "weight" in self.path and isinstance(value, int | float) and value == 1

    def _step(self, holder: Any, step: str | int) -> str | int:
        """The key or index of a step."""
        if isinstance(holder, dict) or isinstance(step, int):
            return step
        if re.fullmatch("[0-9]{1,9}", step) and int(step) < len(holder):
            return int(step)
        raise UnvariedKeyError(f"the recipe has a list of {len(holder)} there, so there is no {step!r}; the first is 0")

    def takers(self, types: Sequence[str]) -> tuple[str, ...]:
        """Those of some combination types that have a use for it: all for a weight."""
        if self.path[0] != "merge" or self.path == TYPE:
            return tuple(types)
        return tuple(each for each in types if self.path[1] in METHODS_BY_NAME[each].model_fields)

    def admitted(self, recipe: Mapping[str, Any], value: Any, types: Sequence[str]) -> tuple[Any, str]:
        """A value as the recipe takes it there, and what is wrong with it.

        Args:
            recipe: As plain data.
            value: As the search has it; whole numbers may have become fractions on their way.
            types: Those combination types that have a use for it.

        Returns:
            The value and an empty text, or why it can't stand there.

        Raises:
            UnvariedKeyError: No value can.
        """
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return value, "".join(self._wrong(recipe, value, types)[:1])

    def is_whole(self, recipe: Mapping[str, Any], low: float, high: float, types: Sequence[str]) -> bool:
        """Whether none but whole numbers may stand between two that may."""
        return float(low).is_integer() and float(high).is_integer() and bool(self._wrong(recipe, low + 0.5, types))

    def _wrong(self, recipe: Mapping[str, Any], value: Any, types: Sequence[str]) -> list[str]:
        if self.path[0] == "loras":
            return self._wrong_weight(recipe, value)
        found: list[str] = []
        for each in types:
            given = {"combination_type": each, **needed(each, self.path[1:2]), str(self.path[1]): None}
            data: dict[str, Any] = {"merge": given}
            self.put(data, value)
            found += [said for key, said in _of_merge(data["merge"]) if key[:1] == self.path[1:2]]
        return found

    def _wrong_weight(self, recipe: Mapping[str, Any], value: Any) -> list[str]:
        entry = deepcopy(dict(recipe["loras"][self.path[1]]))
        self.__class__(self.name, self.path[2:]).put(entry, value)
        weight = entry["weight"]
        explained = list(_mistakes_of(_weight_form(), weight))
        if wrong := next((each for each in explained if each.of_key), None):
            raise UnvariedKeyError(f"`{wrong.key[-1]}`: {wrong.message}")
        found = [each.message for each in explained]
        return found or [message for _, message in weights.inconsistencies(weight)]


def needed(combination_type: str, given: Sequence[Any]) -> dict[str, Any]:
    """Values for the parameters that a type can't do without, beside those that are given: to look at one alone."""
    fields = METHODS_BY_NAME[combination_type].model_fields
    names = [name for name, each in fields.items() if each.is_required() and name not in given]
    return {name: METHODS_BY_NAME[combination_type].suggested.get(name, 0.5) for name in names if name != TYPE[1]}


def required(combination_type: str) -> list[str]:
    """The parameters that a type can't do without."""
    fields = METHODS_BY_NAME[combination_type].model_fields
    return [name for name, each in fields.items() if each.is_required() and name != TYPE[1]]


def fitting(merge: Mapping[str, Any]) -> dict[str, Any]:
    """A `merge` without the parameters that its combination type has no use for."""
    fields = METHODS_BY_NAME[str(merge["combination_type"])].model_fields
    return {key: value for key, value in merge.items() if key in fields}


def _lora_named(rest: Sequence[str], loras: Any) -> tuple[int, int]:
    """The place of the LoRA that a key names, and how many of its segments that takes: names may have dots."""
    entries = loras if isinstance(loras, list) else []
    names = {str(each.get("name")): place for place, each in enumerate(entries) if isinstance(each, dict)}
    for used in range(len(rest), 0, -1):
        if (name := ".".join(rest[:used])) in names:
            return names[name], used
    if re.fullmatch("[0-9]{1,9}", rest[0]) and int(rest[0]) in names.values():
        return int(rest[0]), 1
    raise UnvariedKeyError(
        f"there is no LoRA {rest[0]!r}; expected {any_of(map(repr, names))}{did_you_mean(rest[0], names)}"
    )


def _of_merge(merge: Mapping[str, Any]) -> list[tuple[KeyPath, str]]:
    return [(each.key, each.message) for each in _mistakes_of(_merge_form(), merge)]


def _mistakes_of(adapter: TypeAdapter[Any], value: Any) -> Iterator[Mistake]:
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        yield from mistakes(error, {"properties": {}, **adapter.json_schema()}, lambda _: None)


@cache
def _merge_form() -> TypeAdapter[Any]:
    return TypeAdapter(Merge)


@cache
def _weight_form() -> TypeAdapter[Any]:
    return TypeAdapter(Weight)
