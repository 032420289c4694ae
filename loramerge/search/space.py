"""All merges that a search may try."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from loramerge.recipe import Recipe
from loramerge.recipe.search import ValueRange
from loramerge.recipe.search_mistakes import types_of
from loramerge.recipe.varied import TYPE, VariedKey, fitting, needed

if TYPE_CHECKING:
    from loramerge.recipe.search import Varied

Values = Mapping[str, Any]
"""What a trial tries: key as the recipe has it → value."""
_NAME = ".".join(map(str, TYPE))
_DIGITS = 4
"""Of a number that is tried: what a recipe shows is what was tried."""
_ON_A_STEP = 1e-8
"""Of a step: as near to a multiple of it as Optuna wants a number (distributions.py, FloatDistribution)."""


class Chooser(Protocol):
    """Whoever chooses values: a trial of Optuna's."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number of a range."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number of a range."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any:
        """One of several."""


@dataclass(frozen=True)
class SearchSpace:
    """What varies, and what it varies in.

    Attributes:
        recipe: As plain data: what its file says, without its search.
        vary: Key as the recipe has it → what it may be.
    """

    recipe: Mapping[str, Any]
    vary: Mapping[str, Varied]

    @classmethod
    def of(cls, recipe: Recipe) -> SearchSpace:
        """What a recipe's search may try."""
        assert recipe.search is not None  # noqa: S101  whoever calls it has looked
        data = recipe.model_dump(mode="json", exclude_unset=True, exclude={"search"})
        kept = recipe.search.vary
        first = {name: kept[name] for name in kept if name == _NAME}  # what else there is depends on the type
        return cls(data, first | kept)

    def choose(self, chooser: Chooser) -> dict[str, Any]:
        """The values of a trial: a parameter that its combination type has no use for has none.

        Args:
            chooser: Chooses each.
        """
        values: dict[str, Any] = {}
        for name, given in self.vary.items():
            key = self._key(name)
            if not key.takers([str(values.get(_NAME, self._own_type))]):
                continue
            if not isinstance(given, ValueRange):
                values[name] = json.loads(chooser.suggest_categorical(name, [_json_text(each) for each in given]))
            elif self._is_whole(key, given):
                low, high, step = round(given.low), round(given.high), round(given.step or 1)
                values[name] = chooser.suggest_int(name, low, high, step=step, log=given.log)
            else:
                found = chooser.suggest_float(name, given.low, given.high, step=given.step, log=given.log)
                values[name] = min(max(float(f"{found:.{_DIGITS}g}"), given.low), given.high)
        return values

    def applied(self, values: Values) -> dict[str, Any]:
        """The recipe as plain data with a trial's values: what its file would say."""
        data: dict[str, Any] = json.loads(json.dumps(self.recipe))
        for name, value in values.items():
            self._key(name).put(data, value)
        data["merge"] = fitting(data["merge"])
        return data

    def recipe_of(self, values: Values) -> Recipe:
        """The recipe with a trial's values."""
        return Recipe.model_validate(self.applied(values))

    @property
    def types(self) -> tuple[str, ...]:
        """The combination types that may be tried."""
        return tuple(types_of(self.recipe["merge"], self._listed))

    def example(self, combination_type: str) -> Recipe:
        """The recipe with a combination type that may be tried, and whatever that can't do without."""
        data = self.applied({_NAME: combination_type} if _NAME in self.vary else {})
        data["merge"] |= needed(combination_type, list(data["merge"]))
        return Recipe.model_validate(data)

    def own(self) -> dict[str, str | float] | None:
        """The recipe's own values, as a chooser gives them; None where one is missing or out of its range."""
        chooser = _Own(self)
        try:
            self.choose(chooser)
        except LookupError:
            return None
        return chooser.given

    def own_values(self) -> dict[str, Any] | None:
        """The same as they are tried."""
        try:
            return self.choose(_Own(self))
        except LookupError:
            return None

    def value_of(self, name: str) -> Any:
        """The recipe's own value of a key; of a weight that it does not name 1, or what counts for all around it.

        Raises:
            LookupError: It has none.
        """
        found: Any = self.recipe
        path = self._key(name).path
        for place, step in enumerate(path):
            in_weight = "weight" in path[:place]
            if in_weight and isinstance(found, int | float):
                return found
            if isinstance(found, dict) and step not in found and (in_weight or step == "weight"):
                return 1.0
            if isinstance(found, list):
                found = found[int(step)]
            elif isinstance(found, dict):
                found = found[step]
            else:
                raise KeyError(name)
        return found

    @property
    def _own_type(self) -> str:
        return str(self.recipe["merge"][TYPE[1]])

    @property
    def _listed(self) -> dict[str, Any]:
        given = self.vary.get(_NAME)
        return {} if given is None or isinstance(given, ValueRange) else {_NAME: list(given)}

    def _key(self, name: str) -> VariedKey:
        return VariedKey.parse(name, self.recipe)

    def _is_whole(self, key: VariedKey, given: ValueRange) -> bool:
        return key.is_whole(self.recipe, given.low, given.high, key.takers(self.types))


class _Own:
    """Chooses what the recipe has itself."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.given: dict[str, str | float] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Its number, where that lies in the range."""
        del log
        value = self._space.value_of(name)
        steps = 0.0 if step is None else (value - low) / step
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise LookupError(name)
        if abs(steps - round(steps)) > _ON_A_STEP:
            raise LookupError(name)
        self.given[name] = value
        return float(value)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Its whole number, where that lies in the range."""
        return round(self.suggest_float(name, low, high, step=step, log=log))

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any:
        """Its value, where that is one of the choices."""
        found = _json_text(self._space.value_of(name))
        if found not in choices:
            raise LookupError(name)
        self.given[name] = found
        return found


def _json_text(value: Any) -> str:
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value, sort_keys=True)
