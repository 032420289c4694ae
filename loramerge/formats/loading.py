"""How an output is loaded, in code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.families import Family
    from loramerge.formats.pipeline_code import PipelineCode


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

    def file(self, name: str) -> str:
        """What `from_single_file` takes to find a file of the output."""
        if self.repo is None:
            return literal(self.path(name))
        return literal(f"https://huggingface.co/{self.repo}/blob/{self.revision or 'main'}/{self.path(name)}")

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
        base: What `from_pretrained` takes to load the base, at the commit that was used.
        pipeline: How such a base is loaded and called.
        family: Of the base.
        components: Of the base, those that the merged LoRA touches.
        denoisers: Of the base.
        loras: Name → components that it touches, for every LoRA that went in.
        parts: What the base's one file holds of what LoRAs can touch; nothing where it is a folder.
        single_file: Diffusers loads such a file.
        model_class: Of diffusers, where the base is the folder of one part of a pipeline by itself.
        pictured: There are preview pictures.
    """

    recipe: str
    base: str
    pipeline: PipelineCode
    family: Family
    components: Sequence[str]
    denoisers: Sequence[str]
    loras: Mapping[str, Sequence[str]]
    parts: Sequence[str] = ()
    single_file: bool = False
    model_class: str = ""
    pictured: bool = False


def arguments(first: str, **named: str) -> str:
    """A call's arguments as Python source."""
    return ", ".join(filter(None, (literal(first), named_arguments(**named))))


def named_arguments(**named: str) -> str:
    """The same, of arguments that all have names."""
    return ", ".join(f"{key}={literal(value)}" for key, value in named.items())


def literal(text: str) -> str:
    """A Python string in double quotes, as source."""
    return json.dumps(text, ensure_ascii=False)
