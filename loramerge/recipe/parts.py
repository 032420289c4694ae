"""What a recipe names: the base, the LoRAs, and the pictures that are drawn."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from loramerge.families import SIZES, FamilyName, title_of
from loramerge.fields import Listed, Name, Rank, Seed, Sha256, StrictModel, Text, in_words, json_type
from loramerge.recipe.weights import Weight
from loramerge.sources.source import shown

REVISION = "Branch, tag or commit of a Hub repository, or version of an object in a bucket; quote it."
Pixels = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]
Prompt = Annotated[str, Field(min_length=1, pattern=r"\S", json_schema_extra=in_words("text that is more than blanks"))]


class BaseSource(StrictModel):
    """The model that the LoRAs were trained on: its source, or its family alone, whose published sizes are known."""

    source: Text | None = Field(
        None,
        description="A diffusers pipeline, or a model of transformers: hf://owner/name, oci://host/name:tag, or a path "
        "that starts at the recipe. Or one safetensors file: a path, hf://owner/name/file, oci://host/name:tag/file or "
        "https://… with sha256. s3://bucket/path is either.",
    )
    family: FamilyName | None = Field(
        None,
        description="In place of a source: the family's published names and sizes, which outputs without the base's "
        "weights need nothing beyond.",
    )
    revision: Text | None = Field(None, description=REVISION)
    variant: Text | None = Field(None, description="Variant of the weight files, such as fp16.")
    sha256: Sha256 | None = Field(None, description="SHA-256 of the one file; required for https://.")
    config: Text | None = Field(
        None,
        description="What the one file is, where its names and shapes do not tell it: hf://owner/name or a folder, "
        "with a config.json, or a family such as wan/14b.",
    )

    def __str__(self) -> str:
        """What messages and papers call it; of an address, what may hold a token is left out."""
        return title_of(self.family) if self.family else shown(self.source or "")

    @property
    def config_source(self) -> str | None:
        """Where its config is; None where there is none, or it is that of a family's published size."""
        return None if self.config in SIZES else self.config

    @property
    def is_file(self) -> bool:
        """Whether the source names one safetensors file."""
        return shown(self.source or "").endswith(".safetensors")


class DenoiserSources(StrictModel):
    """A LoRA in two files: one for each denoiser of a base that has two, such as Wan 2.2."""

    transformer: Text = Field(description="The file for the first denoiser, that of high noise.")
    transformer_2: Text = Field(description="The file for the second denoiser, that of low noise.")


def _whole_number_or_mapping(value: object) -> str | None:
    return json_type(value, number="integer")


ComponentName = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]*$", json_schema_extra=in_words("a component, such as unet or text_encoder")),
]
ExtractRank = Annotated[
    Annotated[Rank, Tag("integer")]
    | Annotated[
        dict[ComponentName, Rank],
        Field(min_length=1, json_schema_extra={"additionalProperties": False}),
        Tag("object"),
    ],
    Discriminator(_whole_number_or_mapping),
]


class Extract(StrictModel):
    """A model that was trained from the base: the LoRA is what it is more than that, cut to a rank."""

    tuned: Text = Field(
        alias="from",
        description="The model, as `base.source` takes it: hf://owner/name, a path that starts at the recipe, or one "
        "safetensors file. Layout and number format may be others than the base's.",
    )
    revision: Text | None = Field(None, description=REVISION)
    variant: Text | None = Field(None, description="Variant of its weight files, such as fp16.")
    sha256: Sha256 | None = Field(None, description="SHA-256 of the one file; required for https://.")
    rank: ExtractRank | None = Field(
        None,
        description="Rank of every module, or a mapping of components and ranks, which leaves out those that it does "
        "not name; with `energy`, the most that a module gets.",
    )
    energy: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of each module's squared norm to keep, with as small a rank as that takes.",
    )
    parameters: bool = Field(
        default=False,
        description="Keep what differs in norms, biases and the like as it is; `comfyui`, `kohya` and `model` hold it.",
    )


class Lora(StrictModel):
    """One LoRA to merge, from one source."""

    name: Name = Field(description="What reports, and the folder in the output `inputs`, call it.")
    source: Text = Field(
        description="hf://owner/name, hf://owner/name/file, oci://host/name:tag/file, s3://bucket/path, a path that "
        "starts at the recipe or https://… with sha256."
    )
    revision: Text | None = Field(None, description=REVISION)
    sha256: Sha256 | None = Field(None, description="SHA-256 of the file; required for https://.")
    component: Literal["transformer", "transformer_2", "transformer_ref"] | None = Field(
        None, description="Which of the base's two denoisers it is for, where the file does not say it."
    )
    rank: Rank | None = Field(None, description="The rank that the file must have.")
    weight: Weight = Field(1.0, description="A number, or numbers by component and block, as set_adapters takes them.")
    unmatched: Literal["error", "skip"] = Field(
        "error", description="What to do with modules that the base does not have."
    )
    dora: bool = Field(
        default=False,
        description="It is a DoRA: what it adds depends on the base's weights, which have to be there.",
    )
    extract: Extract | None = Field(
        None, description="In place of a source: the difference of a model that was trained from the base."
    )

    @property
    def needs_weights(self) -> bool:
        """Whether what it adds depends on the base's weights."""
        return self.dora or self.extract is not None


LoraSource = Annotated[
    Annotated[Text, Tag("string")] | Annotated[DenoiserSources, Tag("object")], Discriminator(json_type)
]


class GivenLora(Lora):
    """One LoRA to merge."""

    source: LoraSource | None = Field(  # type: ignore[assignment]  # what a recipe says, of which `Lora` is a part
        None,
        description="hf://owner/name, hf://owner/name/file, oci://host/name:tag/file, s3://bucket/path, a path that "
        "starts at the recipe or https://… with sha256; or a mapping of `transformer` and `transformer_2`, where there "
        "is a file for each of two denoisers.",
    )

    def each(self) -> tuple[Lora, ...]:
        """The LoRA itself, or its part for each denoiser, called after both.

        The source of one that is extracted from a model is that model.
        """
        if self.extract is not None:
            made_of = {"source": self.extract.tuned, "revision": self.extract.revision, "sha256": self.extract.sha256}
            return (Lora(**{**dict(self), **made_of}),)
        if isinstance(self.source, str):
            return (Lora(**dict(self)),)
        assert self.source is not None  # noqa: S101  `inconsistencies` says where there is neither
        return tuple(
            Lora(**{**dict(self), "name": f"{self.name}-{component}", "source": source, "component": component})
            for component, source in self.source
        )


class Preview(StrictModel):
    """Pictures that show what the merged LoRA does."""

    prompts: Listed[Prompt] = Field(min_length=1, description="One row of pictures for each prompt and seed.")
    negative_prompt: str = Field("", description="What the pictures should not show.")
    seeds: Listed[Seed] = Field((0,), min_length=1, description="Seeds of the first noise.")
    steps: int = Field(30, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float = Field(5.0, ge=0, le=1000, description="How closely the pictures follow the prompt.")
    width: Pixels | None = Field(None, description="Width in pixels, a multiple of 8; the base's own if absent.")
    height: Pixels | None = Field(None, description="Height in pixels, a multiple of 8; the base's own if absent.")
    batch_size: int = Field(
        1,
        ge=1,
        le=64,
        description="Pictures drawn at once; their noise is the same, their bytes may differ by rounding.",
    )
    memory: Literal["auto", "full", "offload", "tiled"] = Field(
        "auto",
        description="On the GPU: all of the base (full), one part at a time (offload), or one part at a time with "
        "pictures decoded in tiles, which may show seams (tiled); auto is full where it fits, else offload.",
    )
    compile: bool = Field(
        default=False, description="Draw with torch.compile, channels last: pays off where a column has many pictures."
    )
