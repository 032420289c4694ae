"""Which files of a diffusers pipeline are needed to load it with its weights: one variant of each component."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases import model_index
from loramerge.bases.base import MODEL_CONFIG, config_files, single_file
from loramerge.bases.model_index import ModelIndex
from loramerge.errors import MismatchError, SourceError
from loramerge.files.reading import read_json
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.sources import Located

# `model.fp16-00001-of-00002.safetensors`, and as older releases wrote it `model-00001-of-00002.fp16.safetensors`
_WEIGHTS = re.compile(
    r"(?:(?:diffusion_)?pytorch_)?model(?:\.(?P<variant>(?!safetensors)[\w-]+?))?"
    r"(?:-(?P<number>\d{5})-of-(?P<count>\d{5}))?(?:\.(?P<late>[\w-]+))?\.(?:safetensors|bin)"
)
_VAE = "vae"
_PLAIN = (".json", ".txt", ".model", ".jinja")


@dataclass(frozen=True)
class PipelineFiles:
    """The files of a pipeline that are used.

    Attributes:
        folder: Where they lie, among others perhaps.
        names: '/'-separated, relative to it.
        variant: Of the weights, for those components that have it; None for the plain ones.
    """

    folder: Path
    names: tuple[str, ...]
    variant: str | None

    def weights(self, component: str) -> tuple[Path, ...]:
        """The weight files of one component."""
        found = [name for name in self.names if name.startswith(f"{component}/") and name.endswith(".safetensors")]
        return tuple(self.folder / name for name in found)


@dataclass(frozen=True)
class _Weights:
    """A weight file by what its name says."""

    file: str
    variant: str | None
    number: int
    count: int

    @classmethod
    def parse(cls, file: str) -> _Weights | None:
        match = _WEIGHTS.fullmatch(file)
        if match is None:
            return None
        variant = match["variant"] or match["late"]
        return cls(file, variant, int(match["number"] or 1), int(match["count"] or 1))


def pipeline_files(located: Located, variant: str | None) -> tuple[str, ...]:
    """Configs, tokenizers, and the weights of one variant, of the components that the pipeline has; or its one file.

    A component that lacks the variant is taken without it, as diffusers does.

    Args:
        located: The base.
        variant: `fp16` and the like; None for the plain files.

    Raises:
        SourceError: A component has weights, but none in safetensors, or not all shards of them; or no component has
            the variant.
        MismatchError: It is a lone model of diffusers, or a pipeline without any part that LoRAs touch.
    """
    if file := single_file(located):
        return (file,)
    if model_index.FILE not in located.files:
        return _model_files(located, variant)
    place = located.fetch([model_index.FILE]) / model_index.FILE
    index = ModelIndex.parse(read_json(place, f"{located.reference}/{model_index.FILE}"), located.reference)
    folders: dict[str, list[str]] = {}
    for name in located.files:
        folder, _, file = name.rpartition("/")
        if index.owner(folder):
            folders.setdefault(folder, []).append(file)
    known = {each.variant for files in folders.values() for each in _weights(files)} - {None}
    if variant is not None and variant not in known:
        raise SourceError(
            f"{located.reference} has no weights of the variant {variant}",
            hint=f"set base.variant to {some(sorted(map(str, known)))}" if known else "leave base.variant out",
        )
    return (
        model_index.FILE,
        *(
            f"{folder}/{file}"
            for folder, files in sorted(folders.items())
            for file in sorted([*_plain(files), *_chosen(f"{located.reference}/{folder}", files, variant)])
        ),
    )


def _model_files(located: Located, variant: str | None) -> tuple[str, ...]:
    """The files of a lone model of transformers; one of diffusers is refused."""
    config = read_json(located.fetch([MODEL_CONFIG]) / MODEL_CONFIG, f"{located.reference}/{MODEL_CONFIG}")
    if "_class_name" in config:
        raise no_pipeline(located.reference, "fusing a merge into a lone part of a pipeline is not there yet")
    files = [name for name in located.files if "/" not in name]
    weights = _chosen(located.reference, files, variant)
    if not weights:
        raise SourceError(f"{located.reference} has no weights", hint="fetch the base again")
    return (*_plain(files), *weights)


def weight_files(located: Located, variant: str | None) -> tuple[str, ...]:
    """The configs and weights of what LoRAs can touch, and the weights of the VAE; or the one file.

    Args:
        located: A pipeline, a lone model, or one file.
        variant: `fp16` and the like; None for the plain files.

    Raises:
        SourceError: There are no weights in safetensors, or not all shards of them.
        MismatchError: A pipeline without any part that LoRAs touch.
    """
    if file := single_file(located):
        return (file,)
    configs = config_files(located)
    folders = [""]
    if model_index.FILE in configs:
        place = located.fetch([model_index.FILE]) / model_index.FILE
        index = ModelIndex.parse(read_json(place, f"{located.reference}/{model_index.FILE}"), located.reference)
        folders = [f"{name}/" for name in (*index.trainable, *({_VAE} & index.classes.keys()))]
    found = list(configs)
    for folder in folders:
        inside = [name.removeprefix(folder) for name in located.files if name.startswith(folder)]
        shown = f"{located.reference}/{folder}".rstrip("/")
        weights = _chosen(shown, [name for name in inside if "/" not in name], variant)
        if not weights:
            raise SourceError(f"{shown} has no weights", hint="fetch it again, or name the file that has them")
        found += [f"{folder}{name}" for name in weights]
    return tuple(found)


def no_pipeline(reference: str, why: str) -> MismatchError:
    """What is said where a base is a lone model, and a pipeline is needed."""
    return MismatchError(
        f"{reference} is one model and no pipeline: {why}",
        hint="write `kind: adapter` with `format: peft`; PEFT's merge_and_unload() puts it into the loaded model",
    )


def _plain(files: Iterable[str]) -> list[str]:
    return [file for file in files if file.endswith(_PLAIN)]


def _weights(files: Iterable[str]) -> list[_Weights]:
    return [weights for file in files if (weights := _Weights.parse(file))]


def _chosen(component: str, files: Sequence[str], variant: str | None) -> list[str]:
    weights = _weights(files)
    safe = [each for each in weights if each.file.endswith(".safetensors")]
    if weights and not safe:
        raise SourceError(
            f"{component} has its weights in {weights[0].file} only: a pickle can run code when it is opened",
            hint="choose a base (or a revision of it) with safetensors weights",
        )
    chosen = [each for each in safe if each.variant == variant] or [each for each in safe if each.variant is None]
    if safe and not chosen:
        known = ", ".join(sorted({str(each.variant) for each in safe}))
        raise SourceError(f"{component} has no weights without a variant", hint=f"set base.variant to one of {known}")
    # Where both are there, diffusers looks for shards first.
    shards = [each for each in chosen if each.count > 1] or chosen
    _check_complete(component, shards)
    return [each.file for each in shards]


def _check_complete(component: str, shards: Sequence[_Weights]) -> None:
    """Refuse weights of which a shard is missing."""
    for count in {each.count for each in shards}:
        there = {each.number for each in shards if each.count == count}
        if lacking := sorted({*range(1, count + 1)} - there):
            name = next(each.file for each in shards if each.count == count)
            absent = re.sub(r"\d{5}(?=-of-)", f"{lacking[0]:05}", name)
            raise SourceError(
                f"{component} has {len(there)} of {count} shards: {absent} is missing", hint="fetch the base again"
            )
