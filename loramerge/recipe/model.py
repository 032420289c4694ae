"""The recipe: one YAML file that says what is merged, how, and what becomes of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import Self

from loramerge.documents import yaml_document
from loramerge.documents.document import Document
from loramerge.documents.explain import mistakes
from loramerge.documents.mistaken import other_file
from loramerge.documents.problems import KeyPath, Mistake, Problem, RecipeProblemsError, dotted
from loramerge.documents.text import name_of, read_text
from loramerge.fields import Listed, Name, StrictModel, Version, in_words
from loramerge.formats.output import Output
from loramerge.methods import Merge
from loramerge.outputs import AnyOutput
from loramerge.recipe.consistency import inconsistencies
from loramerge.recipe.other_components import components_of
from loramerge.recipe.overrides import Override
from loramerge.recipe.own_paths import from_here, text_from_here
from loramerge.recipe.parts import BaseSource, GivenLora, Lora, Preview
from loramerge.recipe.search import Search
from loramerge.recipe.tokens import secrets_of, without_secrets
from loramerge.sources.source import shown
from loramerge.targets import AnyTarget


@dataclass(frozen=True)
class _Reading:
    """Where a recipe was read; it takes no part in comparing recipes."""

    folder: Path | None = field(default=None, compare=False)
    path: Path | None = field(default=None, compare=False)
    text: str = field(default="", compare=False)
    origin: str = field(default="", compare=False)


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

    _reading: _Reading = PrivateAttr(default_factory=_Reading)
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


def read(path: Path | str, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a file.

    Args:
        path: The file; `-` reads standard input, and relative paths then start at the current folder.
        overrides: `KEY=VALUE` as `--set` takes them.

    Raises:
        RecipeProblemsError: The file is missing, unreadable or no valid recipe; `problems` has every mistake.
        UsageError: An override is not of the form `KEY=VALUE`.
    """
    text = read_text(path, what="recipe")
    file = None if path == "-" else Path(path).absolute()
    recipe = parse(text, origin=name_of(path), folder=file.parent if file else Path.cwd(), overrides=overrides)
    recipe._reading = replace(recipe._reading, path=file)  # noqa: SLF001  its own
    return recipe


def parse(text: str, *, origin: str, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from text.

    Args:
        text: YAML.
        origin: What to call the text in problems.
        folder: Where relative paths in the recipe start.
        overrides: `KEY=VALUE` as `--set` takes them; a later one wins.

    Raises:
        RecipeProblemsError: It is no valid recipe; `problems` has every mistake.
        UsageError: An override is not of the form `KEY=VALUE`.
    """
    settings = [Override.parse(each) for each in overrides]
    document = yaml_document.load(text, origin=origin)
    if not isinstance(document.data, dict):
        found = "empty" if document.data is None else "no mapping"
        hint = "`loramerge init LORA… --base REF -o NAME.yaml` writes a first recipe"
        problem = Problem(document.origin(()), (), f"{found}; expected a recipe: `version: 1`, …", hint)
        raise RecipeProblemsError([problem])
    if other := other_file(document.data):
        raise RecipeProblemsError([Problem(document.origin(()), (), f"it is {other[0]}, and no recipe", other[1])])
    for setting in settings:
        setting.apply(document)
    from_here(document.data, folder)
    try:
        recipe = Recipe.model_validate(document.data)
    except ValidationError as error:
        document.problems += _problems(error, document)
    if document.problems:
        raise RecipeProblemsError(document.problems)
    merge = recipe.merge.placed(lambda part: _standing(document, ("merge", "parts", part, "match")))
    recipe = recipe.model_copy(update={"merge": merge}) if merge.parts else recipe
    text = yaml_document.dump(document.data) if settings else text_from_here(text, folder)
    recipe._reading = _Reading(folder, text=text, origin=origin)  # noqa: SLF001  its own
    return recipe


def _standing(document: Document, key: KeyPath) -> str:
    return f"{document.origin(key)}: {dotted(key)}"


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    found = [*mistakes(error, _schema(), document.texts.get)]
    return document.placed([*found, *(Mistake(key, message) for key, message in inconsistencies(document.data))])


@cache
def _schema() -> dict[str, Any]:
    return Recipe.model_json_schema()
