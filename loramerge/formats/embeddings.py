"""Textual inversions that lie in a LoRA's file: `bundle_emb.<token>.string_to_param.*` and the like.

OneTrainer and LyCORIS (tools, `pack_bundle.py`) put them there, ComfyUI and A1111 read them there. Programs that read
other formats take a file for each: `emb_params`, or `clip_l` and `clip_g` (diffusers, loaders/textual_inversion.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError, SourceError
from loramerge.files.writing import writing
from loramerge.tensor_files import safetensors as tensors
from loramerge.tensor_files.lazy import READABLE
from loramerge.tensor_files.planned import Planned
from loramerge.tensor_files.saved import SavedTensor

if TYPE_CHECKING:
    from loramerge.formats.lora_file import LoraFile
    from loramerge.tensor_files.lazy import StoredTensor

PREFIX = "bundle_emb."
FOLDER = "embeddings"
"""Where they lie beside formats that can't hold them."""
_OF_ONE_ENCODER = {"string_to_param.*": "emb_params"}
_MATRIX = 2
_NOT_IN_NAMES = re.compile(r"[^\w-]")


def apart(file: LoraFile) -> tuple[LoraFile, dict[str, SavedTensor]]:
    """The file without its textual inversions, and these by what follows `bundle_emb.`.

    Args:
        file: Open.

    Raises:
        SourceError: One is no list of vectors, or holds NaN or infinity.
    """
    keys = [key for key in file.tensors.keys if key.startswith(PREFIX)]
    if not keys:
        return file, {}
    found = {key.removeprefix(PREFIX): SavedTensor(_vectors(file, key)) for key in keys}
    for name, tensor in found.items():
        if not tensor.is_finite:
            raise SourceError(
                f"{file.reference}: {PREFIX}{name} holds NaN or infinite values",
                hint="the training diverged; use another checkpoint",
            )
    left = {key: stored for key, stored in file.tensors.stored.items() if not key.startswith(PREFIX)}
    return replace(file, tensors=replace(file.tensors, stored=left)), found


def token_of(name: str) -> str:
    """The word by which a prompt calls a textual inversion."""
    return name.partition(".")[0]


def planned(embeddings: Mapping[str, SavedTensor]) -> Iterator[Planned]:
    """Their tensors in a LoRA's file, to the byte."""
    for name, tensor in sorted(embeddings.items()):
        yield Planned(f"{PREFIX}{name}", tensor.dtype, tensor.shape, tensor.read)


def write_beside(embeddings: Mapping[str, SavedTensor], folder: Path) -> dict[str, str | None]:
    """A file for each token.

    Args:
        embeddings: By token and the rest of the key.
        folder: Of the output; they lie in a folder of their own below it.

    Returns:
        Digests by name below `folder`.

    Raises:
        MismatchError: Two tokens make one file name.
        LoramergeError: A file can't be written.
    """
    by_file: dict[str, dict[str, SavedTensor]] = {}
    tokens: dict[str, str] = {}
    for name, tensor in sorted(embeddings.items()):
        token, _, rest = name.partition(".")
        file = f"{FOLDER}/{_NOT_IN_NAMES.sub('_', token)}.safetensors"
        if tokens.setdefault(file.casefold(), token) != token:
            raise MismatchError(
                f"the embeddings {tokens[file.casefold()]} and {token} would both be {file}",
                hint="write `format: kohya` or `comfyui`, which hold them inside",
            )
        by_file.setdefault(file, {})[_OF_ONE_ENCODER.get(rest, rest)] = tensor
    digests = {}
    for file, held in by_file.items():
        place = folder / file
        with writing(place):
            place.parent.mkdir(exist_ok=True)
        made = [Planned(key, tensor.dtype, tensor.shape, tensor.read) for key, tensor in held.items()]
        digests[file] = tensors.write(place, made, {"format": "pt"})
    return digests


def _vectors(file: LoraFile, key: str) -> StoredTensor:
    tensor = file.tensors.tensor(key)
    if "." not in key.removeprefix(PREFIX) or tensor.dtype not in READABLE or len(tensor.shape) != _MATRIX:
        raise SourceError(
            f"{file.reference}: {key} should be the vectors of a textual inversion, count×width, as "
            f"{PREFIX}TOKEN.string_to_param.*; it is {tensor.dtype} {list(tensor.shape)}",
            hint="convert the file with the tool that made it; nothing is dropped silently",
        )
    return tensor
