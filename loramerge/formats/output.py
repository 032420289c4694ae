"""What every output of an artifact offers, and what it is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from loramerge.fields import Name, StrictModel

if TYPE_CHECKING:
    from typing_extensions import Self

    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base
    from loramerge.bases.pipeline_files import PipelineFiles
    from loramerge.bases.replacement import Replacement
    from loramerge.deltas.kind import Numbers
    from loramerge.families import Family
    from loramerge.formats.labels import Labels
    from loramerge.formats.loading import Address, Facts, Snippet


@dataclass(frozen=True)
class MergeResult:
    """All that outputs are made of.

    Attributes:
        adapter: The merged LoRA.
        base: What it fits.
        base_files: Those of the base's files that were fetched; with weights only if an output needs them.
        loras: Name → every LoRA that went in, in the recipe's order.
        labels: What files say of themselves.
        weights: (component, module) → the base's weight there, for outputs that need it.
        notes: What is to be said of what was written; outputs add to it.
        replaced: Folder of an output → component → what takes its place there.
    """

    adapter: Adapter
    base: Base
    base_files: PipelineFiles
    loras: Mapping[str, Adapter]
    labels: Labels
    weights: Callable[[str, str], Numbers]
    notes: list[str] = field(default_factory=list)
    replaced: Mapping[str, Mapping[str, Replacement]] = field(default_factory=dict)


class Output(StrictModel):
    """One folder of an artifact.

    Attributes:
        default_folder: Its folder's name where the recipe gives none.
        needs_weights: The base's weights have to be there when it is written.
        needs_pipeline_folder: The base has to be the folder of a pipeline.
        holds_merged_lora: It is the merged LoRA itself, in some format.
        is_one_file: It is a single safetensors file.
        readers: The programs that load a merged LoRA, in words.
        holds_saved: It has room for parameters that were trained in full.
        holds_dense: It has room for deltas that no low-rank pair holds.
        holds_rescaled: It has room for DoRAs.
        holds_embeddings: It has room for textual inversions.
        copies_inputs: What it holds was not computed: it is the inputs in another format.
    """

    default_folder: ClassVar[str]
    needs_weights: ClassVar[bool] = False
    needs_pipeline_folder: ClassVar[bool] = False
    holds_merged_lora: ClassVar[bool] = False
    is_one_file: ClassVar[bool] = False
    readers: ClassVar[str] = ""
    copies_inputs: ClassVar[bool] = False
    holds_saved: ClassVar[bool] = False
    holds_dense: ClassVar[bool] = False
    holds_rescaled: ClassVar[bool] = False
    holds_embeddings: ClassVar[bool] = False

    kind: str
    name: Name | None = Field(None, description="Folder in the artifact.")

    @property
    def folder(self) -> str:
        """Name of the output's folder in the artifact."""
        return self.name or self.default_folder

    @property
    def number_format(self) -> str | None:
        """Dtype of its tensors; None where that is the base's own."""
        return None

    @property
    def other_components(self) -> Mapping[str, str | None]:
        """Component of the base → source of what is written in its place; None where it is left out."""
        return {}

    @property
    def fused_at(self) -> float | None:
        """What the merged LoRA was multiplied by when it was fused into a base; None where the base is not in it."""
        return None

    def top_names(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """What lies at the top of its folder, as far as that is known before it is written.

        Args:
            recipe: The recipe's name.
            loras: Names of the LoRAs that go in.
            parts: What stands at the end of the name of each denoiser's file: nothing, where the base has one.
        """
        del recipe, loras, parts
        return ()

    def beside(self, tops: Sequence[str], *, pictured: bool) -> tuple[str, ...]:
        """What lies at the top of its folder besides.

        Args:
            tops: What `top_names` gives.
            pictured: The recipe has a preview.
        """
        del tops, pictured
        return ()

    @property
    def picture_ending(self) -> str:
        """What the name of a preview picture in its folder ends in; empty where it never has one."""
        return ""

    def accompany(self, result: MergeResult, folder: Path, digests: Mapping[str, str], picture: Path | None) -> None:
        """Write what programs show of the output, when all outputs and pictures are there; most need nothing.

        Args:
            result: As `write` took it.
            folder: The output's.
            digests: SHA-256 of what `write` named.
            picture: One of the merge; None where there are none.

        Raises:
            LoramergeError: A file can't be written.
        """

    def top_names_of_file(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """The same where the base is one file."""
        return self.top_names(recipe, loras, parts)

    def top_names_of_model(self, recipe: str, loras: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
        """The same where the base is the folder of one model."""
        return self.top_names(recipe, loras, parts)

    def check(self, base: Base, components: Collection[str]) -> None:
        """Go on only if the output can hold a merge for a base.

        Args:
            base: What it fits.
            components: Those that LoRAs touch.

        Raises:
            MismatchError: It has no names for them.
        """

    def check_parameters(self, name: str, adapter: Adapter, base: Base) -> None:
        """Go on only if the output, which `holds_dense`, can hold what a LoRA adds to norms, biases and the like.

        Args:
            name: The LoRA's.
            adapter: It fits the base.
            base: Has the parameters.

        Raises:
            MismatchError: It has no names for them.
        """

    def readers_of(self, family: Family) -> str:
        """The programs that load a merged LoRA of a family, in words."""
        del family
        return self.readers

    def count(self, base: Base, components: Collection[str]) -> int:
        """How many files hold the merged LoRA, where its output is one file for one model.

        Args:
            base: What it fits.
            components: Those that LoRAs touch.
        """
        del base, components
        return 1

    @abstractmethod
    def write(self, result: MergeResult, folder: Path) -> Mapping[str, str | None]:
        """Write the output's files into `folder`, which exists and is empty.

        Returns:
            SHA-256 of large files, by their '/'-separated names below `folder`; None where it was not taken meanwhile.

        Raises:
            SourceError: The base's files are incomplete, damaged or do not fit its configs.
            LoramergeError: A value does not fit the dtype, or the folder can't be written.
        """

    @classmethod
    def write_several(
        cls, outputs: Sequence[tuple[Self, Path]], result: MergeResult
    ) -> Sequence[Mapping[str, str | None]]:
        """Write several outputs, each into its folder; those that need the base's weights may read them together.

        Args:
            outputs: At least one, with its folder, which exists and is empty.
            result: What they are made of.

        Returns:
            Of each, what `write` returns.

        Raises:
            SourceError: As `write`.
            LoramergeError: As `write`.
        """
        return [output.write(result, folder) for output, folder in outputs]

    @abstractmethod
    def snippets(self, place: Address, facts: Facts) -> Iterator[Snippet]:
        """Code that loads the output and runs as it stands.

        Args:
            place: Where the output is to be had.
            facts: What the merge was made of.
        """
