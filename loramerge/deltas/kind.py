"""What every kind of adapter says of itself: its tensors, and the delta that they stand for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank


class Numbers(Protocol):
    """A tensor that is read when it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""

    @property
    def number_formats(self) -> frozenset[str]:
        """In which it is stored, such as `float16`."""

    def load(self) -> Tensor:
        """The tensor in float32, on the CPU."""

    def reshaped(self, shape: tuple[int, ...]) -> Numbers:
        """The same numbers in another shape."""

    def rows(self, spans: Spans) -> Numbers:
        """Some of its rows, in the order given."""


Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each of a module's tensors, by its role."""
Tensors = Mapping[str, Numbers]
"""A module's tensors, by their roles."""
Scale = Callable[["int | None"], float]
"""What the delta is multiplied by, from the rank that alpha is divided by; None where nothing is factored."""
Spans = Sequence[tuple[int, int]]
"""Runs of rows: the first and the one behind the last of each."""


class ShapeError(ValueError):
    """The tensors of a module do not go together; the message names them by their roles, in braces."""


class Kind(ABC):
    """One kind of adapter.

    Attributes:
        title: Its name.
        roles: Those of its tensors: of each group one is needed, the first of them where no other is there. A role of
            several parts needs all of them.
        optional: Roles of tensors that it may have besides.
    """

    title: ClassVar[str]
    roles: ClassVar[tuple[tuple[tuple[str, ...], ...], ...]]
    optional: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def all_roles(cls) -> frozenset[str]:
        """Every role that its tensors can have."""
        return cls.optional.union(role for group in cls.roles for way in group for role in way)

    @classmethod
    def missing(cls, roles: frozenset[str]) -> str | None:
        """The role of a tensor without which the others mean nothing; None where all are there.

        Args:
            roles: Of the tensors that are there.
        """
        for group in cls.roles:
            begun = [way for way in group if roles.intersection(way)] or [group[0]]
            for role in begun[0]:
                if role not in roles:
                    return role
        return None

    @classmethod
    @abstractmethod
    def shape(cls, shapes: Shapes) -> tuple[int, ...]:
        """Shape of the delta: out×in and a kernel's sizes, as far as the tensors tell them.

        Args:
            shapes: Of the tensors, of which none is missing.

        Raises:
            ShapeError: They do not go together.
        """

    @classmethod
    @abstractmethod
    def made(cls, tensors: Tensors, spans: Spans, scale: Scale) -> LowRank:
        """The delta; its numbers stay in the file.

        Args:
            tensors: By role; none is missing.
            spans: The rows of the delta that are meant; all of them where there are none.
            scale: Gives the scale.

        Raises:
            ShapeError: They do not go together.
        """
