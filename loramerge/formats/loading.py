"""How an output is loaded, in code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

IMPORT_DIFFUSERS = "from diffusers import DiffusionPipeline"
IMPORT_TORCH = "import torch"


@dataclass(frozen=True)
class Snippet:
    """One way to load something.

    Attributes:
        title: What it is for.
        language: `python` or `bash`.
        code: Runs as it stands; paths start at the artifact's folder.
    """

    title: str
    language: str
    code: str

    @classmethod
    def python(cls, title: str, *lines: str) -> Snippet:
        """Lines of Python."""
        return cls(title, "python", "\n".join(lines))


@dataclass(frozen=True)
class Address:
    """Where an output is to be had.

    Attributes:
        repo: On the Hub; None where it lies beside the card alone.
        revision: Tag or branch; None for the default branch.
        folder: Below the repository's root, or below the card's folder.
    """

    repo: str | None
    revision: str | None
    folder: str

    def path(self, name: str = "") -> str:
        """A file or folder of the output."""
        return "/".join(filter(None, (self.folder, name)))

    def arguments(self, name: str = "", **more: str) -> str:
        """What `from_pretrained` and its like take to find a folder of the output."""
        path = self.path(name)
        if self.repo is None:
            return arguments(path or ".", **more)
        options = {"subfolder": path, "revision": self.revision}
        return arguments(self.repo, **{key: value for key, value in options.items() if value}, **more)


@dataclass(frozen=True)
class Facts:
    """What code that loads an output has to know of the merge.

    Attributes:
        recipe: The recipe's name.
        base: The line of Python that loads the base, at the commit that was used.
        base_import: The line that imports what it needs.
        variable: What it calls the base.
        components: Of the base, those that the merged LoRA touches.
        loras: Name → components that it touches, for every LoRA that went in.
        drawing: The arguments of the call that draws a picture.
    """

    recipe: str
    base: str
    base_import: str
    variable: str
    components: Sequence[str]
    loras: Mapping[str, Sequence[str]]
    drawing: str

    def drawn(self, place: Address) -> tuple[str, ...]:
        """Lines that draw a picture with `pipeline`. The artifact's own folder stays as it is."""
        name = f"{'../' if place.repo is None else ''}{self.recipe}.png"
        return (
            'pipeline.to("cuda" if torch.cuda.is_available() else "cpu")',
            f"image = pipeline({self.drawing}).images[0]",
            f"image.save({_literal(name)})",
        )


def arguments(first: str, **named: str) -> str:
    """A call's arguments as Python source."""
    return ", ".join([_literal(first), *(f"{key}={_literal(value)}" for key, value in named.items())])


def _literal(text: str) -> str:
    """A Python string in double quotes."""
    return json.dumps(text, ensure_ascii=False)
