"""What the outputs of kind `adapter` have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loramerge.errors import MismatchError
from loramerge.fields import Dtype, Name
from loramerge.formats.denoiser_files import by_denoiser
from loramerge.formats.output import MergeResult, Output
from loramerge.formats.spelling import spelled

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels
    from loramerge.formats.lora_file import LoraFile

Components = dict[str, dict[str, "LowRank"]]
"""Pairs by component and module."""


class AdapterOutput(Output):
    """The merged LoRA in one file format.

    Attributes:
        readers: The programs that load it, in words.
        needs_pipeline: Its names are those of a pipeline's parts, and there are none for a lone model.
    """

    readers: ClassVar[str]
    needs_pipeline: ClassVar[bool] = True

    holds_merged_lora: ClassVar[bool] = True
    is_one_file: ClassVar[bool] = True

    kind: Literal["adapter"]
    name: Name | None = Field(default=None, description="Its folder in the artifact; the format by default.")
    dtype: Dtype = "float32"

    @property
    def number_format(self) -> str | None:
        """The recipe's."""
        return self.dtype

    @classmethod
    def recognises(cls, key: str) -> bool:
        """Whether the key of a tensor is spelled as this format does."""
        return (found := spelled(key)) is not None and found.format == cls.default_folder

    @staticmethod
    @abstractmethod
    def read(file: LoraFile, base: Base) -> Components:
        """Pairs by component and module, under canonical names.

        A module that the base does not have keeps the name it has in the file: the one who checks the adapter
        against the base names it.

        Raises:
            SourceError: Unknown keys, unpaired or damaged tensors, settings that are no plain LoRA.
        """

    def count(self, base: Base, components: Collection[str]) -> int:
        """One for each denoiser that is touched, where each has a file of its own."""
        return len(by_denoiser(components, base.family, base.denoisers)) if self.is_one_file else 1

    def check(self, base: Base, components: Collection[str]) -> None:
        """Formats of programs that draw have no names for a language model."""
        del components
        if self.needs_pipeline and base.is_model:
            raise MismatchError(
                f"`format: {self.default_folder}` is for parts of a pipeline that draws, and {base.reference} is a "
                f"lone model, {base.family.title}",
                hint="write `format: peft`: PEFT and vLLM load it, and llama.cpp's convert_lora_to_gguf.py makes a "
                "GGUF file of it; or `kind: inputs` for each LoRA by itself",
            )

    def write(self, result: MergeResult, folder: Path) -> Mapping[str, str | None]:
        """Write the merged LoRA."""
        return self.write_adapter(result.adapter, result.base, result.labels, folder)

    def pairs(self, adapter: Adapter, base: Base) -> Iterator[tuple[str, LowRank]]:
        """Pairs as the format has them, each with what its keys begin with: of a fused layer one."""
        del base
        yield from ((f"{component}.{module}", pair) for component, module, pair in adapter)

    def folded(self, pair: LowRank) -> tuple[float, float]:
        """What down and up of a pair are multiplied by where an adapter is written as exactly as the format can.

        Formats with an alpha for each module multiply nothing.
        """
        del pair
        return 1.0, 1.0

    def told(self, adapter: Adapter, base: Base) -> Iterator[str]:
        """What is to be said of an adapter in this format, however it is written.

        Args:
            adapter: What is written.
            base: What it fits.
        """
        del adapter, base
        yield from ()

    def cautions(self, pairs: Sequence[LowRank]) -> Iterator[str]:
        """What is to be said where an adapter is written as exactly as the format can.

        Args:
            pairs: As `pairs` gives them.
        """
        del pairs
        yield from ()

    @abstractmethod
    def write_adapter(
        self, adapter: Adapter, base: Base, labels: Labels, folder: Path, *, exact: bool = False
    ) -> Mapping[str, str | None]:
        """Write an adapter's files into `folder`, which exists and is empty.

        Args:
            adapter: What is written.
            base: What it fits.
            labels: What the files say of themselves.
            folder: Where to.
            exact: Factors stay what they are, but for what `folded` says, and each module keeps an alpha of its own.
                Otherwise scales are where most programs understand them.

        Returns:
            SHA-256 of the weight files, by their '/'-separated names below `folder`; None where it was not taken
            meanwhile.
        """
