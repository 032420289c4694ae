"""Which family the files of a LoRA are for, by themselves, where no base is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from loramerge.adapter import BASE
from loramerge.bases.candidates import NamedShape, candidates
from loramerge.deltas import shape_of
from loramerge.errors import MismatchError
from loramerge.families import title_of, told_by
from loramerge.families.strangers import strangers
from loramerge.files.reading import read_json
from loramerge.formats.peft import CONFIG
from loramerge.formats.refused import refuse_keys
from loramerge.formats.spelling import DENOISER, spelled
from loramerge.messages import any_of
from loramerge.tensor_files.safetensors import opened

if TYPE_CHECKING:
    from loramerge.tensor_files.safetensors import TensorFile

_DENOISERS = {None, DENOISER, "unet", "transformer", "transformer_2"}
_MOST_SHOWN = 12
_MATRIX = 2


@dataclass(frozen=True)
class ToldFamily:
    """What the headers of a LoRA's files tell.

    Attributes:
        reference: The LoRA.
        families: Those that it can be of, by what recipes call them: `flux`, `wan/1.3b`.
        strangers: What has modules of such names, where no size that is known has them.
    """

    reference: str
    families: tuple[str, ...]
    strangers: tuple[str, ...]

    @classmethod
    def of(cls, reference: str, folder: Path, names: Sequence[str]) -> ToldFamily:
        """Read the headers.

        What the file says of its family counts where the names and shapes are that family's as well.

        Args:
            reference: For messages.
            folder: Where the files lie.
            names: What `lora_files` chose.

        Raises:
            SourceError: One can't be read, or is no plain LoRA.
        """
        files = [opened(folder / name, reference) for name in names if name.endswith(".safetensors")]
        for file in files:
            refuse_keys(reference, file.keys)
        modules = [module for file in files for module in _modules(file)]
        metadata = {name: value for file in files for name, value in file.metadata.items()}
        said, fitting = told_by(metadata), candidates(modules)
        agreed = tuple(name for name in fitting if name.partition("/")[0] in said)
        others = () if fitting else strangers(name for module in modules for name in module.names[-1:])
        return cls(reference, agreed or fitting or (() if others else said), others)

    @property
    def family(self) -> str | None:
        """The one family that it can be of; None where there is none or several."""
        return self.families[0] if len(self.families) == 1 else None

    def certain(self) -> str:
        """The family.

        Raises:
            MismatchError: The files do not tell it, could be for several, or tell one of which no size is known.
        """
        if self.family is not None:
            return self.family
        if self.families:
            shown = ", ".join(f"{name} ({title_of(name)})" for name in self.families[:_MOST_SHOWN])
            raise MismatchError(
                f"{self.reference} could be for several models, by its names and shapes: {shown}",
                hint=f"say which with --base, such as --base {self.families[0]}, or `base: {{family: …}}` in a recipe",
            )
        if self.strangers:
            raise MismatchError(
                f"{self.reference} looks like a LoRA for {any_of(self.strangers)}, and fits no size that is known",
                hint="give its base, a folder or hf://owner/name, with --base, or as `base: {source: …}` in a recipe",
            )
        raise MismatchError(
            f"{self.reference} does not tell which model it was trained on",
            hint="say it with --base, a folder, hf://owner/name or a family, or as `base:` in a recipe",
        )


def trained_on(reference: str, folder: Path, names: Sequence[str]) -> str:
    """What a PEFT adapter says that it was trained on; empty where it says nothing, or there is none.

    Args:
        reference: For messages.
        folder: Where the files lie.
        names: What `lora_files` chose.
    """
    configs = (read_json(folder / name, reference) for name in names if PurePosixPath(name).name == CONFIG)
    said = (config.get(BASE) for config in configs)
    return next((name for name in said if isinstance(name, str)), "")


def _modules(file: TensorFile) -> Iterator[NamedShape]:
    """The modules of a denoiser, or of what nothing says that it is none."""
    names: dict[str, tuple[str, ...]] = {}
    tensors: dict[str, dict[str, tuple[int, ...]]] = {}
    for key in file.keys:
        if (spelling := spelled(key)) is not None and spelling.said in _DENOISERS:
            names[spelling.written] = spelling.modules
            tensors.setdefault(spelling.written, {})[spelling.role] = file.shape(key)
    for written, shapes in tensors.items():
        shape = shape_of(shapes)
        if shape and "diff" in shapes and (len(shape) < _MATRIX or shape[0] == 1):
            continue  # of a bias, a norm or a table, which tell no family from another
        if shape:
            yield NamedShape(names[written], shape)
        elif "down" in shapes:
            yield NamedShape(names[written], (0, *shapes["down"][1:]))
