"""How much of what each LoRA does to pictures a merge does to them too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.search.judged import Judged, Tried

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_SIDE = 64  # pixels to which pictures are shrunk
_CELLS = 16  # along each side, over which is averaged
_TURNS = 4  # directions of detail

Features = Callable[["Sequence[Image.Image]"], Any]
"""Pictures → an array with a row for each."""


def features(pictures: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
    """Colours, and how much detail there is in which direction, averaged over cells: a row for each picture.

    Detail is averaged as it is in histograms of oriented gradients (Dalal and Triggs, 2005): a texture is the same
    texture when it moves a little.
    """
    import numpy as np

    rows = []
    for picture in pictures:
        small = picture.convert("RGB").resize((_SIDE, _SIDE))
        pixels = np.asarray(small, dtype=np.float64) / 255
        grey = pixels.mean(axis=2)
        down, right = np.gradient(grey)
        angle, size = np.arctan2(down, right) % np.pi, np.hypot(down, right)
        turn = np.floor(angle / np.pi * _TURNS).astype(int) % _TURNS
        detail = np.stack([np.where(turn == each, size, 0.0) for each in range(_TURNS)], axis=2)
        rows.append(np.concatenate([_pooled(pixels).ravel(), _TURNS * _pooled(detail).ravel()]))
    return np.stack(rows)


@dataclass(frozen=True)
class Alike:
    """Judges by pictures, each beside those of the base and of every LoRA alone, from the same prompt and noise.

    With f the features of all pictures, the part of a LoRA is 1 - |1 - c|, where c = ⟨f(merge) - f(base), f(LoRA) -
    f(base)⟩ / ‖f(LoRA) - f(base)‖²: how far the merge goes the way from the base's pictures to the LoRA's own.

    Attributes:
        base: Features of the base's pictures.
        own: Name of a LoRA → features of its own pictures.
        features: What is compared.
    """

    base: Any
    own: Mapping[str, Any]
    features: Features = features

    @classmethod
    def beside(
        cls, base: Sequence[Image.Image], own: Mapping[str, Sequence[Image.Image]], by: Features = features
    ) -> Alike:
        """The judge.

        Args:
            base: The base's pictures.
            own: Name of a LoRA → its own pictures.
            by: What is compared.
        """
        return cls(by(base), {name: by(pictures) for name, pictures in own.items()}, by)

    def __call__(self, tried: Tried) -> Judged:
        """The part of the LoRA that comes off worst; one that changes no picture has none."""
        way = self.features([picture.image for picture in tried.pictures]) - self.base
        parts = {}
        for name, pictures in self.own.items():
            whole = pictures - self.base
            size = float((whole**2).sum())
            if size > 0:
                parts[name] = 1 - abs(1 - float((way * whole).sum()) / size)
        return Judged.by_the_worst(parts)


def _pooled(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Means over cells, side×side×channels → cells×cells×channels."""
    size = _SIDE // _CELLS
    found: np.ndarray[Any, Any] = values.reshape(_CELLS, size, _CELLS, size, -1).mean(axis=(1, 3))
    return found
