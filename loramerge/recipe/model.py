"""The recipe: one YAML file that says what is merged, how, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import Self

from loramerge.documents import yaml_document
from loramerge.documents.cells import cell
from loramerge.documents.document import Document
from loramerge.documents.problems import KeyPath, Origin
from loramerge.fields import Listed, Name, StrictModel, Version, in_words
from loramerge.formats.output import Output
from loramerge.methods import Merge
from loramerge.outputs import AnyOutput
from loramerge.recipe.consistency import inconsistencies
from loramerge.recipe.other_components import components_of
from loramerge.recipe.parts import BaseSource, GivenLora, Lora, Preview
from loramerge.recipe.search import Search
from loramerge.recipe.tokens import secrets_of, without_secrets
from loramerge.sources.source import shown
from loramerge.targets import AnyTarget


@dataclass(frozen=True)
class Reading:
    """Where a recipe was read; it takes no part in comparing recipes.

    Attributes:
        folder: Where relative paths in it start; None for the current one.
        path: Its file.
        text: As it was read, or as its file would be without the files beside it; empty where it never was a file.
        origin: What messages call it.
        several: Whether its file stands for other recipes as well.
        written: Of a recipe that was put together from several files or a matrix, and of which nothing was set besides,
            the text of its own file; else empty.
        beside: What it was put together from besides its file: file → its text.
        document: Where everything in it stands.
    """

    folder: Path | None = field(default=None, compare=False)
    path: Path | None = field(default=None, compare=False)
    text: str = field(default="", compare=False)
    origin: str = field(default="", compare=False)
    several: bool = field(default=False, compare=False)
    written: str = field(default="", compare=False)
    beside: Mapping[Path, str] = field(default_factory=dict, compare=False)
    document: Document | None = field(default=None, compare=False, repr=False)


class Recipe(StrictModel):
    """What is merged, how, and what becomes of it."""

    version: Version = Field(description="Version of this format.", examples=[1])
    name: Name = Field(description="What the artifact, and files in it, are called.", examples=["ink-glow"])
    description: str = Field("", description="For the model card, as plain text.")
    license: str | None = Field(
        None,
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9.+-]*$",
        description="Of the result, as the Hub names it; the strictest that the inputs allow if absent.",
        json_schema_extra=in_words("the Hub's name of a licence, such as openrail++ or apache-2.0"),
    )
    given_base: BaseSource | None = Field(
        None,
        alias="base",
        description="The model that the LoRAs were trained on; the one family and size that they tell if absent, which "
        "outputs without the base's weights need nothing beyond.",
        examples=[{"source": "hf://stabilityai/stable-diffusion-xl-base-1.0"}],
    )
    entries: Listed[GivenLora] = Field(
        alias="loras",
        min_length=1,
        description="The LoRAs to merge.",
        examples=[[{"name": "ink", "source": "loras/ink.safetensors", "weight": 0.7}]],
    )
    merge: Merge = Field(description="How they become one.", examples=[{"combination_type": "cat"}])
    outputs: Listed[AnyOutput] = Field(
        min_length=1,
        description="What the artifact holds, beside its papers.",
        examples=[[{"kind": "adapter", "format": "kohya"}]],
    )
    publish: Listed[AnyTarget] = Field((), description="Where the artifact goes.")
    preview: Preview | None = Field(None, description="Pictures for the model card.")
    search: Search | None = Field(None, description="What `loramerge tune` varies, and what it judges by.")
    report: Literal["full", "brief"] = Field(
        "full",
        description="full: report.json with how the LoRAs overlap, and report.html; brief: report.json alone, without "
        "that, which saves seconds.",
    )

    _reading: Reading = PrivateAttr(default_factory=Reading)
    _told_base: BaseSource = PrivateAttr(default_factory=BaseSource)

    @property
    def folder(self) -> Path:
        """Where relative paths in the recipe start."""
        return self._reading.folder or Path.cwd()

    @property
    def origin(self) -> str:
        """What messages call the recipe: its file, as it was given; empty where it was never read."""
        return self._reading.origin

    @property
    def path(self) -> Path | None:
        """The file that the recipe was read from; None for standard input and for what never was a file."""
        return self._reading.path

    @property
    def address(self) -> str:
        """What a command line calls it: its file, or `FILE#NAME` where that stands for others as well."""
        return cell(self.origin, self.name) if self.is_one_of_several else self.origin

    @property
    def is_one_of_several(self) -> bool:
        """Whether its file has a matrix, and stands for other recipes as well."""
        return self._reading.several

    @property
    def written(self) -> str:
        """The text of its own file, unless values were set besides or take another form in the artifact's recipe."""
        return self._reading.written or self.text

    @property
    def beside(self) -> Mapping[Path, str]:
        """Files beside its own that it was put together from, with their texts: defaults, lists of LoRAs."""
        return self._reading.beside

    def origin_of(self, key: KeyPath) -> Origin:
        """Where a value stands, for messages."""
        document = self._reading.document
        return document.origin(key) if document else Origin(0, 0, self.origin)

    @property
    def text(self) -> str:
        """The recipe as YAML: the file as it was read, or the equivalent of what did not come from one file alone.

        Of addresses, what may hold a token is left out.
        """
        text = self._reading.text
        for source in self.secretive:
            text = text.replace(source, shown(source))
        if text and not any(part in text for source in self.secretive for part in secrets_of(source)):
            return text
        return yaml_document.dump(without_secrets(self.model_dump(mode="json", exclude_unset=True)))

    @property
    def data(self) -> dict[str, Any]:
        """The recipe as plain data, defaults included; of addresses, what may hold a token is left out.

        So is the search, which has no part in what is made.
        """
        return without_secrets(self.model_dump(mode="json", exclude_none=True, exclude={"search"}))

    @property
    def base(self) -> BaseSource:
        """The model that the LoRAs were trained on; where the recipe leaves it out, what `with_base` was told."""
        return self.given_base or self._told_base

    def with_base(self, told: BaseSource) -> Self:
        """The same recipe, which leaves its base out, where it is known what the LoRAs tell. Its text stays."""
        recipe = self.model_copy()
        recipe._told_base = told  # noqa: SLF001  its own
        return recipe

    def read_as(self, reading: Reading) -> Self:
        """The same recipe, read there."""
        recipe = self.model_copy()
        recipe._reading = reading  # noqa: SLF001  its own
        return recipe

    @property
    def loras(self) -> tuple[Lora, ...]:
        """The LoRAs to merge: of one that has a file for each denoiser both."""
        return tuple(lora for entry in self.entries for lora in entry.each())

    @property
    def extracts(self) -> bool:
        """Whether a LoRA is made of the difference of a model and the base, whose weights are then needed."""
        return any(entry.extract is not None for entry in self.entries)

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the outputs in the artifact."""
        return tuple(output.folder for output in self.outputs)

    @property
    def fused(self) -> Output | None:
        """The output that has the merged LoRA fused into a base; the first of several."""
        return next((output for output in self.outputs if output.fused_at is not None), None)

    @property
    def sources(self) -> tuple[str, ...]:
        """Of the base and its config, where it has them, of the LoRAs, and of what outputs have beside them."""
        base = filter(None, (self.base.source, self.base.config_source))
        return (*base, *(lora.source for lora in self.loras), *dict.fromkeys(self.components.values()))

    @property
    def components(self) -> Mapping[str, str]:
        """Output's folder and component, such as `model/vae` → source of what is written there."""
        return components_of(self.outputs)

    @property
    def secretive(self) -> tuple[str, ...]:
        """Sources whose address has a query, which may hold a token."""
        return tuple(source for source in self.sources if shown(source) != source)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        details = [
            InitErrorDetails(type=PydanticCustomError("inconsistent", "{what}", {"what": what}), loc=key, input=None)
            for key, what in inconsistencies(self.model_dump(mode="json", exclude_none=True))
        ]
        if details:
            raise ValidationError.from_exception_data(type(self).__name__, details)
        return self
