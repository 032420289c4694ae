"""Parts of a base that are made when they are asked for: few LoRAs need all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from loramerge.bases.component import Component


class ShapesOnDemand(Mapping[str, tuple[int, ...]]):
    """Shapes by name, found when they are asked for.

    Args:
        find: Finds all of them; called once.
    """

    def __init__(self, find: Callable[[], Mapping[str, tuple[int, ...]]]) -> None:
        self._find = find

    @cached_property
    def _found(self) -> Mapping[str, tuple[int, ...]]:
        return self._find()

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class Components(Mapping[str, Component]):
    """Components by name, each made when it is asked for: text encoders are large, and few LoRAs touch them.

    Args:
        makers: Name → what makes the component, in the order in which they are shown.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Component]]) -> None:
        self._makers = makers
        self._made: dict[str, Component] = {}

    def __getitem__(self, name: str) -> Component:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)
