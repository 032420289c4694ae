"""What an artifact is made of, and how: provenance.json, from which it can be checked and made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from loramerge.artifact.contents import LOCK, PAGE, PREVIEW, RECIPE
from loramerge.artifact.environment import environment
from loramerge.artifact.in_toto import Statement
from loramerge.provenance.git import recipe_commit
from loramerge.sources.oci import pinned
from loramerge.sources.source import shown

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe
    from loramerge.sources.inputs import InputFile
    from loramerge.stages.load import Loaded

BUILD_TYPE = "urn:loramerge:recipe:v1"


def provenance(
    recipe: Recipe, loaded: Loaded, lock: Lock, files: Mapping[str, str], *, device: str, reference: bool = False
) -> Statement:
    """The provenance of an artifact. It holds no time and no place of this machine.

    Args:
        recipe: What was run.
        loaded: What went in.
        lock: Knows the licences.
        files: Name → sha256 of every file of the artifact but the provenance.
        device: Where the merge was computed.
        reference: Whether every step of it was left to PEFT itself.
    """
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "recipe": _resolved(recipe, loaded),
            "recipeSha256": hashlib.sha256(recipe.text.encode()).hexdigest(),
        },
        "internalParameters": {
            "bytesDependOnEnvironment": sorted(_dependent(recipe, files, device)),
            "device": device,
            "dtypes": {
                "merge": "float32",
                "outputs": {output.folder: output.number_format or "as in the base" for output in recipe.outputs},
            },
            "environment": environment(device),
            "reference": reference,
            "seed": recipe.merge.masks_from,
        },
        "resolvedDependencies": [*_inputs(loaded, lock), *_repository(recipe)],
    }
    run = {"builder": {"id": f"urn:loramerge:{version('loramerge')}"}}
    return Statement(files, {"buildDefinition": definition, "runDetails": run})


@dataclass(frozen=True)
class Provenance:
    """What verifying needs of a provenance.

    Attributes:
        files: Name → sha256 of every file of the artifact.
        recipe: The recipe's name.
        outputs: Folders of the recipe's outputs.
        environment: What computed the merge.
        dependent: What lies at the artifact's top, and files below it, whose bytes depend on more than the versions of
            libraries.
        reference: Whether every step of the merge was left to PEFT itself.
        inputs: Name of the LoRA ("" for the base) and place of every file that went in → its sha256.
    """

    files: Mapping[str, str]
    recipe: str
    outputs: Sequence[str]
    environment: Mapping[str, str]
    dependent: Sequence[str]
    reference: bool
    inputs: Mapping[tuple[str, str], str]

    @classmethod
    def parse(cls, text: str) -> Provenance:
        """Read a provenance.json.

        Raises:
            ValueError: It is none, or not one of loramerge; the message says why.
        """
        statement = Statement.parse(text)
        try:
            definition = statement.predicate["buildDefinition"]
            internal, recipe = definition["internalParameters"], definition["externalParameters"]["recipe"]
            if not str(recipe["name"]).isprintable():  # lines of it would be taken for our own
                raise ValueError(f"no recipe is called {recipe['name']!r}")
            if definition["buildType"] != BUILD_TYPE:
                raise ValueError(f"its buildType is {definition['buildType']}, not {BUILD_TYPE}")
            return cls(
                files=statement.subjects,
                recipe=str(recipe["name"]),
                outputs=[str(name) for name in internal["dtypes"]["outputs"]],
                environment={str(key): str(value) for key, value in internal["environment"].items()},
                dependent=[str(name) for name in internal["bytesDependOnEnvironment"]],
                reference=bool(internal.get("reference", False)),
                inputs={
                    (entry["annotations"].get("lora", ""), entry["uri"]): entry["digest"]["sha256"]
                    for entry in definition["resolvedDependencies"]
                    if "sha256" in entry["digest"]
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it lacks what loramerge writes: {error}") from None


def locked_inputs(lock: Lock) -> dict[tuple[str, str], str]:
    """What a lock says of the files that went in, as `Provenance.inputs` has them."""
    base = [("", source) for source in (lock.sources.base, lock.sources.config) if source is not None]
    return {
        (lora, input_uri(source.source, source.commit, name)): file.sha256
        for lora, source in (*base, *(("", each) for each in lock.sources.beside.values()), *lock.sources.loras.items())
        for name, file in source.files.items()
    }


def input_uri(reference: str, revision: str | None, name: str) -> str:
    """Where a file that went in comes from: as the recipe gives it, at its commit, and no place of this machine.

    Args:
        reference: The source.
        revision: Its commit, where it has commits.
        name: The file within the source.
    """
    place = shown(reference)
    if place.startswith("https://"):
        return place
    if place.startswith(("/", "~")) or PureWindowsPath(place).drive:
        place = PureWindowsPath(place).name
    if place.rpartition("/")[2] != name:
        place = f"{place.rstrip('/')}/{name}"
    if place.startswith("hf://") and revision is not None:
        owner, repository, path = place.removeprefix("hf://").split("/", 2)
        place = f"hf://{owner}/{repository}@{revision}/{path}"
    return place if revision is None else pinned(place, revision)


def _dependent(recipe: Recipe, files: Mapping[str, str], device: str) -> set[str]:
    """What lies at the artifact's top, and which files below it, depend in their bytes on the machine or its threads.

    Decompositions do, as does what CUDA computes; and diffusion adds up every difference in rounding, in previews and
    in the page that shows them.
    """
    top = {name.partition("/")[0] for name in files}
    if recipe.merge.uses_svd or recipe.extracts or device != "cpu":
        copied = {output.folder for output in recipe.outputs if output.copies_inputs and not recipe.extracts}
        return top - copied - {LOCK, RECIPE}
    endings = tuple(output.picture_ending for output in recipe.outputs if output.picture_ending)
    return (top & {PREVIEW, PAGE}) | {name for name in files if name.endswith(endings)} if PREVIEW in top else set()


def _resolved(recipe: Recipe, loaded: Loaded) -> dict[str, Any]:
    """The recipe as plain data, with the commits that its revisions turned out to be."""
    data = recipe.data
    if loaded.revision is not None:
        data["base"]["revision"] = loaded.revision
    revisions = {lora.name: lora.revision for lora in loaded.loras}
    for entry, given in zip(data["loras"], recipe.entries, strict=True):
        # Files of two repositories are at two commits: those are with the inputs.
        commits = {revisions[lora.name] for lora in given.each()}
        if len(commits) == 1 and (commit := commits.pop()) is not None:
            entry.get("extract", entry)["revision"] = commit
    return data


def _inputs(loaded: Loaded, lock: Lock) -> Iterator[dict[str, Any]]:
    base, sources = loaded.base.reference, lock.sources
    for file in loaded.base_inputs.files():
        yield _input(base, loaded.revision, file, {"role": "base"}, sources.base.licence if sources.base else None)
    if (config := sources.config) is not None and loaded.config_inputs is not None:
        for file in loaded.config_inputs.files():
            yield _input(config.source, config.commit, file, {"role": "config"}, config.licence)
    for each in loaded.components:
        known = sources.beside[each.resolved.key]
        for file in each.inputs.files():
            role = {"role": "component", "component": each.resolved.key}
            yield _input(known.source, known.commit, file, role, known.licence)
    for lora in loaded.loras:
        for file in lora.inputs.files():
            yield _input(
                lora.reference,
                lora.revision,
                file,
                {"role": "lora" if lora.extraction is None else "tuned model", "lora": lora.name},
                sources.loras[lora.name].licence,
            )


def _input(
    reference: str, revision: str | None, file: InputFile, annotations: dict[str, Any], licence: str | None
) -> dict[str, Any]:
    known = {"license": licence} if licence else {}
    return {
        "name": file.name,
        "uri": input_uri(reference, revision, file.name),
        "digest": {"sha256": file.sha256},
        "annotations": {**annotations, **known, "size": file.size},
    }


def _repository(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """The git repository that the recipe lies in, if it does."""
    written = [] if recipe.path is None else [("recipe", recipe.path, recipe.written)]
    written += [("beside the recipe", path, text) for path, text in recipe.beside.items()]
    for role, path, text in written:
        found = recipe_commit(path)
        if found is None:
            continue
        clean = found.clean and found.sha256 == hashlib.sha256(text.encode()).hexdigest()  # nor was a value set besides
        uri = {"uri": f"git+{found.url}@{found.commit}"} if found.url else {}
        yield {
            "name": "recipe" if role == "recipe" else path.name,
            **uri,
            "digest": {"gitCommit": found.commit},
            "annotations": {"role": role, "path": found.path, "clean": clean},
        }
