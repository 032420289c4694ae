"""The lock: what every source of a recipe is, down to the bytes of each file. It lies beside the recipe."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from loramerge.documents import yaml_document
from loramerge.documents.cells import cell, file_and_name
from loramerge.documents.explain import mistakes
from loramerge.documents.problems import Problem, RecipeProblemsError
from loramerge.documents.text import read_text
from loramerge.families import FamilyName
from loramerge.fields import Listed, Name, Sha256, StrictModel, Text, Version, in_words
from loramerge.files.atomic import replacing_file
from loramerge.files.reading import content_of
from loramerge.files.run_lock import in_turn, was_left
from loramerge.files.writing import writing

if TYPE_CHECKING:
    from loramerge.recipe import Recipe

_HEAD = "# Written by `loramerge lock`: what the sources of the recipe are, down to the bytes of each file.\n"
_HINT = "a lock is not written by hand: write it anew with `loramerge lock`"

Commit = Annotated[
    str,
    Field(
        pattern=r"^(?:[0-9a-f]{40}|sha256:[0-9a-f]{64})$",
        description="Commit, 40 hex digits; in a registry the digest of the manifest, sha256: and 64 hex digits.",
        json_schema_extra=in_words("a commit: 40 digits from 0-9 and a-f, or a digest: sha256: and 64 of them"),
    ),
]
FileName = Annotated[
    str,
    Field(
        pattern=r"^[^/]+(?:/[^/]+)*$",
        json_schema_extra=in_words("the name of a file within its source, its folders separated by '/'"),
    ),
]


class LockedFile(StrictModel):
    """What a file's content is known by."""

    size: int = Field(ge=0, description="In bytes.")
    sha256: Sha256

    def __str__(self) -> str:
        return f"{self.size} bytes with sha256 {self.sha256}"


class LockedCard(StrictModel):
    """What the model card of a source says."""

    trigger_words: Listed[Text] | None = Field(None, description="What to put into a prompt.")
    tags: Listed[Text] | None = Field(None, description="What the model is about.")
    base_model: Text | None = Field(None, description="What it was trained on: owner/name.")

    def __str__(self) -> str:
        said = self.model_dump(mode="json", exclude_none=True)
        return "; ".join(f"{key} {', '.join(each) if isinstance(each, list) else each}" for key, each in said.items())


class LockedSource(StrictModel):
    """What a source of the recipe is."""

    source: Text = Field(description="As the recipe has it; an address without its query, which may hold a token.")
    revision: Text | None = Field(None, description="Branch, tag or commit, as the recipe has it.")
    commit: Commit | None = Field(None, description="What revision or tag is; absent where the source has no commits.")
    licence: Text | None = Field(None, description="As the source says it, where it says any.")
    card: LockedCard | None = Field(None, description="What its model card says, as far as the artifact repeats it.")
    files: dict[FileName, LockedFile] = Field(min_length=1, description="Every file that a run uses.")


class LockedSources(StrictModel):
    """All sources of the recipe."""

    base: LockedSource | None = Field(None, description="The base; absent where a family alone is known of it.")
    family: FamilyName | None = Field(
        None, description="What the LoRAs are for, where they tell it and the recipe names no base."
    )
    config: LockedSource | None = Field(
        None, description="What says what the base's one file is; absent where the recipe has no `base.config`."
    )
    components: dict[FileName, LockedSource] | None = Field(
        None,
        description="What outputs have in the place of the base's own components, by the output's folder and the "
        "component's name, such as model/vae; absent where they have nothing.",
    )
    loras: dict[Name, LockedSource] = Field(min_length=1, description="The LoRAs by name.")

    @property
    def beside(self) -> Mapping[str, LockedSource]:
        """What outputs have in the place of the base's own components."""
        return self.components or {}

    @property
    def cards(self) -> Mapping[str, LockedCard | None]:
        """What the model cards of the LoRAs say, by name."""
        return {name: lora.card for name, lora in self.loras.items()}


class Lock(StrictModel):
    """What every source of a recipe is."""

    version: Version = Field(description="Version of this format.")
    recipe: Name = Field(description="The recipe's name.")
    sources: LockedSources = Field(description="Its sources.")


def place(recipe: Path | str) -> Path:
    """Where the lock of a recipe's file lies, or that of one of its recipes: FILE.lock.yaml, FILE#NAME.lock.yaml."""
    path, name = file_and_name(str(recipe))
    file = Path(path)
    return file.parent / f"{file.stem if name is None else cell(file.stem, name)}.lock.yaml"


def command_for(recipe: Recipe) -> str:
    """The command that locks a recipe."""
    return f"loramerge lock {shlex.quote(recipe.origin) if recipe.origin else 'RECIPE'}"


def read(path: Path | str) -> Lock:
    """Read a lock from a file.

    Raises:
        RecipeProblemsError: The file is missing, unreadable or no valid lock; `problems` has every mistake.
    """
    document = yaml_document.load(read_text(path, what="lock"), origin=str(path))
    if not isinstance(document.data, dict):
        found = "empty" if document.data is None else "no mapping"
        problem = Problem(document.origin(()), (), f"{found}; expected a lock: `version: 1`, …")
        raise RecipeProblemsError([problem], hint=_HINT)
    try:
        lock = Lock.model_validate(document.data)
    except ValidationError as error:
        document.problems += document.placed([*mistakes(error, _schema(), document.texts.get)])
    if document.problems:
        raise RecipeProblemsError(document.problems, hint=_HINT)
    return lock


def text(lock: Lock) -> str:
    """The lock as a file holds it: the same for the same lock."""
    data = lock.model_dump(mode="json", exclude_none=True)
    sources = data["sources"]
    sources["loras"] = _by_name(sources["loras"])
    if components := sources.get("components"):
        sources["components"] = _by_name(components)
    further = (*sources["loras"].values(), *(components or {}).values())
    for source in (*filter(None, [sources.get("base"), sources.get("config")]), *further):
        source["files"] = _by_name(source["files"])
    return _HEAD + yaml_document.dump(data)


def write(lock: Lock, file: Path) -> bool:
    """Write a lock, in one step; a file that has it already is not touched.

    Returns:
        Whether anything was written.

    Raises:
        LoramergeError: The file can't be written.
    """
    content = text(lock).encode()
    file = file.resolve()

    def is_written() -> bool:
        return file.is_file() and content_of(file) == content

    with writing(file):
        if is_written() and not was_left(file):
            return False
        with in_turn(file):  # which removes what was left
            if is_written():
                return False
            with replacing_file(file) as stream:
                stream.write(content)
    return True


def _by_name(entries: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(entries.items()))


@cache
def _schema() -> dict[str, Any]:
    return Lock.model_json_schema()
