"""One file that holds a base in the names of its own: which tensor has the rows of which layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.families.layout import Layout

if TYPE_CHECKING:
    from loramerge.families.layout import Rule, Shapes, Span

_WEIGHT = ".weight"


@dataclass(frozen=True)
class WeightPlace:
    """Where the weight of a layer lies in a file.

    Attributes:
        key: The tensor's name.
        shape: Of the tensor: out×in, or out×in and the kernel's sizes.
        spans: The rows that are the layer's, in the order in which it has them.
    """

    key: str
    shape: tuple[int, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class CheckpointPart:
    """A component within a file.

    Attributes:
        prefix: What its names begin with.
        rules: From the rest of them to canonical names; none where these are the same.
    """

    prefix: str
    rules: tuple[Rule, ...] = ()

    def tensors(self, shapes: Shapes) -> Mapping[str, tuple[str, tuple[Span, ...]]]:
        """Which tensor holds which rows.

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
        }

    def places(self, layers: Shapes) -> Mapping[str, WeightPlace]:
        """Where the weights of layers lie.

        Args:
            layers: All layers of the component: shape of the weight by canonical name.
        """
        found = Layout(self.rules, {f"{layer}{_WEIGHT}": shape for layer, shape in layers.items()}).by_canonical
        return {
            part.canonical.removesuffix(_WEIGHT): WeightPlace(
                f"{self.prefix}{original.name}", original.shape, part.spans
            )
            for original in found.values()
            for part in original.parts
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
