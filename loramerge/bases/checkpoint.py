"""One file that holds a base in the names of its own: which tensor has the rows of which layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.families.layout import WEIGHT, Layout, key_of

if TYPE_CHECKING:
    from loramerge.families.layout import Original, Piece, Rule, Shapes, Span


@dataclass(frozen=True)
class WeightPlace:
    """Where the weight of a layer, or another parameter, lies in a file.

    Attributes:
        key: The tensor's name.
        shape: Of the tensor: out×in, or out×in and the kernel's sizes; that of the other parameter.
        spans: The rows that are its own, in the order in which it has them.
        is_turned: The tensor is in×out, and its rows are the weight's columns.
    """

    key: str
    shape: tuple[int, ...]
    spans: tuple[Span, ...]
    is_turned: bool = False


@dataclass(frozen=True)
class CheckpointPart:
    """A component within a file.

    Attributes:
        prefix: What its names begin with.
        rules: From the rest of them to canonical names; none where these are the same.
        transposed: Canonical names of the weights that the file has as in×out, each as a tensor of its own.
    """

    prefix: str
    rules: tuple[Rule, ...] = ()
    transposed: frozenset[str] = frozenset()

    def tensors(self, shapes: Shapes) -> Mapping[str, tuple[str, tuple[Span, ...]]]:
        """Which tensor holds which rows; not of weights that the file has as in×out.

        Args:
            shapes: Of parameters, by canonical name.

        Returns:
            By canonical name the tensor's name, and the rows that are the parameter's.
        """
        found = Layout(self.rules, shapes).by_canonical
        return {
            part.canonical: (f"{self.prefix}{original.name}", part.spans)
            for original in found.values()
            for part in original.parts
            if part.canonical not in self.transposed
        }

    def places(self, layers: Shapes) -> Mapping[str, WeightPlace]:
        """Where the weights of layers lie.

        Args:
            layers: All layers of the component: shape of the weight by canonical name.
        """
        return self.places_of({f"{layer}{WEIGHT}": shape for layer, shape in layers.items()})

    def places_of(self, parameters: Shapes) -> Mapping[str, WeightPlace]:
        """Where parameters lie, by what adapters call them.

        Args:
            parameters: All of the component, or all weights of its layers: shape by canonical name.
        """
        found = Layout(self.rules, parameters).by_canonical
        return {
            key_of(part.canonical): self._place(original, part)
            for original in found.values()
            for part in original.parts
        }

    def _place(self, original: Original, part: Piece) -> WeightPlace:
        key, shape = f"{self.prefix}{original.name}", original.shape
        if part.canonical not in self.transposed:
            return WeightPlace(key, shape, part.spans)
        return WeightPlace(key, shape[::-1], ((0, shape[1]),), is_turned=True)

    def parameters(self, shapes: Shapes) -> Mapping[str, frozenset[str]]:
        """Name of a tensor in the file → the parameters that it holds.

        Args:
            shapes: All parameters of the component by canonical name.
        """
        found = Layout(self.rules, shapes).by_canonical
        return {
            f"{self.prefix}{original.name}": frozenset(part.canonical for part in original.parts)
            for original in found.values()
        }


@dataclass(frozen=True)
class Checkpoint:
    """The file of a base.

    Attributes:
        file: Its name.
        parts: Component → how it is found there. What else there is, such as a VAE, nobody has to know.
    """

    file: str
    parts: Mapping[str, CheckpointPart]
