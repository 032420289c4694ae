"""What `inspect` says of each LoRA, and `merge`, `resize`, `extract` and `convert` of theirs."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from loramerge.cli.output.failures import ErrorData
from loramerge.fields import StrictModel


class MergedLoraFile(StrictModel):
    """A LoRA that was merged, cut to a rank, or extracted from a model."""

    place: str = Field(description="Its file or folder.")
    recipe: dict[str, Any] = Field(description="The recipe that this is, as recipe.schema.json has it.")
    family: str = Field(description="Of the base.")
    fidelity: dict[str, float | None] = Field(description="Component → ‖merged - Σ wᵢΔᵢ‖ / ‖Σ wᵢΔᵢ‖.")
    loras: list[dict[str, Any]] = Field(description="What went in, as report.json has it.")
    ranks: list[int] = Field(description="Those that its layers have.")
    rounding: dict[str, Any] = Field(description="What rounding to each number format costs, as report.json has it.")
    size: int = Field(description="Of all files, in bytes.")
    warnings: list[str] = Field(description="What should be known before it is used.")
    seconds: float = Field(description="How long it took.")


class ConvertedLoraFile(StrictModel):
    """A LoRA that was written in another format."""

    place: str = Field(description="Its file or folder.")
    family: str = Field(description="Of what it was trained on.")
    source_format: str = Field(description="The format that it had, such as kohya.")
    format: str = Field(description="The format that it has now.")
    dtype: str = Field(description="Number format of its factors now.")
    modules: int = Field(description="How many it has now; a fused layer is one.")
    ranks: list[int] = Field(description="Those that these have.")
    folded: int = Field(description="How many of these have their scale inside their factors.")
    rounding: float = Field(description="‖written - read‖ / ‖read‖, where numbers had to be rounded; else 0.")
    size: int = Field(description="Of all files, in bytes.")
    warnings: list[str] = Field(description="What should be known before it is used.")
    seconds: float = Field(description="How long it took.")


class FailedInspection(StrictModel):
    """A LoRA that could not be read."""

    reference: str = Field(description="As the command line names it.")
    error: ErrorData = Field(description="Why.")


class ModuleCount(StrictModel):
    """Modules that belong together."""

    modules: int = Field(description="How many.")
    ranks: dict[str, int] = Field(description="Rank → number of layers that have it.")
    norm: float = Field(description="Frobenius norm of all deltas together.")


class ModuleData(StrictModel):
    """A module that a LoRA touches."""

    component: str = Field(description="Of the base, such as unet.")
    name: str = Field(description="In the base; as the file has it where no base knows it.")
    kind: str = Field(description="What the file has there: LoRA, LoHa, LoKr, full difference and the like.")
    shape: list[int] = Field(description="Of the weight that the delta is added to.")
    rank: int = Field(
        description="That alpha is divided by; of a full difference the largest that the shape can have; 0 of a norm, "
        "bias or the like."
    )
    scale: float = Field(description="What up @ down is multiplied by.")
    norm: float = Field(description="Frobenius norm of the delta.")
    alpha: float = Field(description="Scale times rank.")


class LoraFileData(StrictModel):
    """A file of a LoRA."""

    name: str = Field(description="Within its source.")
    size: int = Field(description="In bytes.")
    sha256: str = Field(description="Of its content, 64 hex digits.")
    dtypes: dict[str, int] = Field(description="Number format as safetensors spells it → number of tensors.")


class Measures(StrictModel):
    """How two LoRAs overlap in some modules; null where that has no meaning."""

    modules: int = Field(description="How many both touch.")
    sampled: int = Field(description="Those of them whose signs come from a sample.")
    cosine: float | None = Field(description="Of the deltas: 1 the same, 0 unrelated, -1 one undoes the other.")
    column_overlap: float | None = Field(description="Share of what they write to that both have.")
    row_overlap: float | None = Field(description="Share of what they read that both have.")
    sign_conflict: float | None = Field(description="Share of signs that differ where both do something.")


class BlockMeasures(Measures):
    """The same for a block."""

    kinds: dict[str, Measures] = Field(description="Kind of layer → its modules.")


class AloneData(StrictModel):
    """Modules that one LoRA touches and the other does not."""

    this: int = Field(description="The one that the entry is of.")
    other: int = Field(description="The other one.")


class OverlapEntry(Measures):
    """The overlap with another LoRA."""

    with_: str = Field(alias="with", description="The other one, as the command line names it.")
    alone: AloneData = Field(description="Modules of one alone.")
    unlike: int = Field(description="Modules of different shapes.")
    components: dict[str, Measures] = Field(description="Component → its modules.")
    blocks: dict[str, BlockMeasures] = Field(description="Block → its modules.")
    same: str | None = Field(description="What the two are, where they are the same; null where they are not.")
    advice: str = Field(description="Which combination type to take for the two, and why.")
    warnings: list[str] = Field(description="What should be thought over before they are merged.")


class InspectedLora(StrictModel):
    """What a LoRA is."""

    reference: str = Field(description="As the command line names it.")
    revision: str | None = Field(description="The commit, where the source has commits.")
    family: str | None = Field(description="Such as sdxl; null where nothing tells.")
    candidates: list[str] = Field(description="Families of other models that have such modules.")
    trained_on: str | None = Field(description="The model that a PEFT adapter says it was trained on.")
    format: str = Field(description="Such as kohya.")
    files: list[LoraFileData] = Field(description="What was read.")
    norm: float = Field(description="Frobenius norm of all deltas together.")
    ranks: dict[str, int] = Field(description="Rank → number of layers that have it.")
    alphas: dict[str, int] = Field(description="Alpha → number of layers that have it.")
    scales: dict[str, int] = Field(description="Scale → number of layers that have it.")
    components: dict[str, ModuleCount] = Field(description="Component → its modules.")
    blocks: dict[str, ModuleCount] = Field(description="Block → its modules.")
    modules: list[ModuleData] = Field(description="All modules.")
    saved: dict[str, int] = Field(description="Parameter that was trained in full → its size in bytes.")
    metadata: dict[str, str] = Field(description="What the file says of itself.")
    misfit: str | None = Field(description="Why it does not fit the family that it seems to be of; null when it does.")
    overlap: list[OverlapEntry] = Field(description="One for each of the others.")
