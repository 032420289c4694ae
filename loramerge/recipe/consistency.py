"""What must fit together across the keys of a recipe.

These checks read plain data, so that a recipe with other mistakes gets all of them in one report.
"""

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loramerge import sources
from loramerge.artifact.contents import PAPERS, SIGNATURE
from loramerge.documents.problems import KeyPath, did_you_mean
from loramerge.errors import SourceError
from loramerge.families import SIZES
from loramerge.fields import NAME_LENGTH
from loramerge.messages import any_of, is_address
from loramerge.recipe import weights
from loramerge.recipe.merge_parts import part_mistakes
from loramerge.recipe.other_components import component_mistakes
from loramerge.recipe.search_mistakes import search_mistakes
from loramerge.recipe.weightless import mappings, without_weights

RESERVED = frozenset({*PAPERS, "preview", SIGNATURE})
_SOURCE = "hf://owner/name, a path, https://…, oci://host/name:tag or s3://bucket/path"
_ANY_SHA256 = "0" * 64
_SAFETENSORS = ".safetensors"


def inconsistencies(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Find what does not fit together.

    Args:
        data: A recipe as plain data; whatever has the wrong shape is passed over.

    Yields:
        The key and what is wrong with it.
    """
    base = data.get("base")
    if isinstance(base, dict):
        yield from _base(base)
    if base is None or isinstance(base, dict):
        yield from without_weights(data, base)
    loras = dict(mappings(data, "loras"))
    for index, lora in loras.items():
        yield from ((("loras", index, *key), message) for key, message in _lora_source(lora))
        for key, message in weights.inconsistencies(lora.get("weight")):
            yield ("loras", index, "weight", *key), message
    yield from _twice("loras", {index: lora.get("name") for index, lora in loras.items()}, what="LoRA", key="name")
    yield from _pairs(loras)
    yield from part_mistakes(data, loras)
    folders = {index: _folder(output) for index, output in mappings(data, "outputs")}
    yield from _twice("outputs", folders, what="output", key="name")
    for index, name in folders.items():
        if isinstance(name, str) and name.casefold() in {each.casefold() for each in RESERVED}:
            yield (
                ("outputs", index, "name"),
                f"{name!r} is a part of every artifact; choose another name",
            )
    yield from component_mistakes(data, _refusal)
    yield from _sidecars(data)
    yield from search_mistakes(data)
    yield from _published(data, list(dict.fromkeys(name for name in folders.values() if isinstance(name, str))))


def _pairs(loras: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[KeyPath, str]]:
    """Names of LoRAs that have a file for each denoiser: each file is called after the LoRA and the denoiser."""
    names = {str(lora.get("name")).casefold() for lora in loras.values()}
    for index, lora in loras.items():
        if isinstance(source := lora.get("source"), Mapping) and isinstance(name := lora.get("name"), str):
            for component in source:
                called = f"{name}-{component}"
                if called.casefold() in names:
                    yield ("loras", index, "name"), f"its file for {component} is called {called!r}, as another LoRA is"
                elif len(called) > NAME_LENGTH and component == max(source, key=len):
                    yield ("loras", index, "name"), f"with {component!r} behind it, it is longer than {NAME_LENGTH}"


def _folder(output: Mapping[str, Any]) -> object:
    """The folder of an output in the artifact: its name, or else its format, or else its kind."""
    return output.get("name") or output.get("format") or output.get("kind")


def _twice(where: str, names: Mapping[int, object], *, what: str, key: str) -> Iterator[tuple[KeyPath, str]]:
    first: dict[str, tuple[int, str]] = {}
    for index, name in names.items():
        if not isinstance(name, str):
            continue
        earlier, same = first.setdefault(name.casefold(), (index, name))
        if earlier != index:
            case = "" if same == name else f" (as {same!r}: some file systems do not tell them apart)"
            message = f"{name!r} is the name of {what} {earlier} already{case}; give each {what} a name of its own"
            yield (where, index, key), message


def _sidecars(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    name = data.get("name")
    for index, output in mappings(data, "outputs"):
        if output.get("sidecars") and isinstance(name, str) and f"{name.casefold()}.json" in PAPERS:
            said = f"{name}.json would lie beside the file, and is the name of one of the artifact's papers"
            yield ("outputs", index, "sidecars"), f"{said}; choose another name for the recipe"


def _published(data: Mapping[str, Any], folders: list[str]) -> Iterator[tuple[KeyPath, str]]:
    branches: dict[tuple[str, str], int] = {}
    tags: dict[tuple[str, str], int] = {}
    paths: dict[str, int] = {}
    artifacts: dict[tuple[str, str], int] = {}
    urls: dict[str, int] = {}
    for index, target in mappings(data, "publish"):
        yield from ((("publish", index, "tag"), message) for message in _tagged(target, index, artifacts))
        if isinstance(repo := target.get("repo"), str):
            branch = (repo.casefold(), str(target.get("revision", "main")))
            if (earlier := branches.setdefault(branch, index)) != index:
                message = f"target {earlier} publishes to this branch already, and each would remove the other's files"
                yield ("publish", index, "repo"), f"{message}; name both outputs in one target"
            if repo.endswith(".git"):
                yield ("publish", index, "repo"), f"{repo!r} ends in '.git'; write owner/name alone"
            if isinstance(tag := target.get("tag"), str) and (
                (earlier := tags.setdefault((repo.casefold(), tag), index)) != index
            ):
                message = f"target {earlier} gives {tag!r} to its commit already, and a tag names one; choose another"
                yield ("publish", index, "tag"), message
            if target.get("create_pr") is True and target.get("tag") is not None:
                message = "a pull request gets no tag: it names a commit that may never be merged"
                yield ("publish", index, "tag"), f"{message}; leave out `tag` or `create_pr`"
        yield from ((("publish", index, "path"), message) for message in _path(target.get("path"), index, paths))
        if isinstance(url := target.get("url"), str) and (earlier := urls.setdefault(url.rstrip("/"), index)) != index:
            message = f"target {earlier} publishes to this prefix already, and each would remove the other's files"
            yield ("publish", index, "url"), f"{message}; name both outputs in one target"
        names = target.get("outputs")
        for place, name in enumerate(names if isinstance(names, (list, tuple)) else ()):
            if isinstance(name, str) and folders and name not in folders:
                message = f"there is no output {name!r}; expected {any_of(map(repr, folders))}"
                yield ("publish", index, "outputs", place), message + did_you_mean(name, folders)


def _tagged(target: Mapping[str, Any], index: int, known: dict[tuple[str, str], int]) -> Iterator[str]:
    """What is wrong with the tag in a registry; `known` has those of the targets before it."""
    match target:
        case {"repository": str(repository), "tag": str(tag)} if (
            earlier := known.setdefault((repository.casefold(), tag), index)
        ) != index:
            message = f"target {earlier} publishes under this tag already, and a tag names one artifact"
            yield f"{message}; name both outputs in one target"


def _path(path: object, index: int, known: dict[str, int]) -> Iterator[str]:
    """What is wrong with the path of a target; `known` has those of the targets before it."""
    if not isinstance(path, str):
        return
    if is_address(path):
        message = f"{path!r} is an address, and `kind: folder` is a place on this machine"
        yield f"{message}; the Hub is `kind: hub` with `repo: owner/name`, a registry `kind: oci`"
    if (earlier := known.setdefault(posixpath.normpath(path), index)) != index:
        message = f"target {earlier} publishes to this folder already, and each would remove the other's files"
        yield f"{message}; name both outputs in one target"


def _base(base: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if base.get("source") is None and base.get("family") is None:
        yield ("base",), "it names no model; expected `source:`, or `family:` where no output needs the base's weights"
    elif base.get("source") is not None and base.get("family") is not None:
        yield ("base", "family"), "the source says which family it is; leave out one of them"
    for key, message in _source(base):
        yield ("base", *key), message
    config = base.get("config")
    if config not in SIZES:
        for _, message in _source({"source": config}):
            yield ("base", "config"), message
    if base.get("variant") is not None and str(base.get("source")).endswith(_SAFETENSORS):
        yield ("base", "variant"), "the source is one file, and a variant is one of several; leave it out"


def _lora_source(entry: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Check the source of a LoRA, which may have a file for each denoiser, or be extracted from a model."""
    if isinstance(extract := entry.get("extract"), Mapping):
        yield from _extract(entry, extract)
        return
    if "source" not in entry or entry["source"] is None:
        yield ("source",), f"missing; expected {_SOURCE}, or `extract:` with a model that was trained from the base"
        return
    if not isinstance(several := entry.get("source"), Mapping):
        yield from _source(entry)
        return
    for component, each in several.items():
        for key, message in _source({**entry, "source": each, "sha256": None}):
            yield ((*key, component) if key == ("source",) else key), message
    if entry.get("component") is not None:
        yield ("component",), "its source says that already, for each of its files; leave it out"
    if entry.get("sha256") is not None:
        yield ("sha256",), "it is that of one file, and there are two; leave it out, a lock holds both"


def _extract(entry: Mapping[str, Any], extract: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if entry.get("source") is not None:
        yield ("source",), "the LoRA is extracted from `extract.from`; leave out one of both"
    for key in ("revision", "sha256"):
        if entry.get(key) is not None:
            yield (key,), f"it is that of a LoRA's file; write it below `extract:`, as `extract.{key}`"
    for key in ("rank", "component", "dora"):
        if entry.get(key):
            yield (key,), "it is said of a LoRA's file; leave it out, `extract.rank` says how large the LoRA becomes"
    for (named, *_), message in _source({**extract, "source": extract.get("from")}):
        yield ("extract", "from" if named == "source" else named), message
    if extract.get("rank") is None and extract.get("energy") is None:
        yield ("extract",), "it says not how large the LoRA becomes; add `rank: 32`, or `energy: 0.95`"
    if extract.get("variant") is not None and str(extract.get("from")).endswith(_SAFETENSORS):
        yield ("extract", "variant"), "the model is one file, and a variant is one of several; leave it out"


def _source(entry: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Check a reference, then whether its kind goes with the revision and the SHA-256 given."""
    reference, revision, sha256 = (entry.get(key) for key in ("source", "revision", "sha256"))
    if not isinstance(reference, str) or not reference:
        return
    bare = _refusal(reference)
    needs_sha256 = bare is not None and _refusal(reference, sha256=_ANY_SHA256) is None
    if bare is not None and not needs_sha256:
        yield ("source",), bare
        return
    enough = _ANY_SHA256 if needs_sha256 else None
    if revision and isinstance(revision, str) and (refusal := _refusal(reference, revision=revision, sha256=enough)):
        yield ("revision",), refusal
    if needs_sha256 and sha256 is None:
        yield ("sha256",), bare or ""
    elif isinstance(sha256, str) and (refusal := _refusal(reference, sha256=_ANY_SHA256)):
        yield ("sha256",), refusal


def _refusal(reference: str, *, revision: str | None = None, sha256: str | None = None) -> str | None:
    try:
        sources.parse(reference, folder=Path(), revision=revision, sha256=sha256)
    except SourceError as error:
        return "; ".join(filter(None, (error.message, error.hint)))
    return None
