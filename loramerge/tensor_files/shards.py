"""Weights in one file or several, as `save_pretrained` of diffusers and transformers names and lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


_Item = TypeVar("_Item", bound=_Sized)


def size_of(text: str) -> int:
    """Bytes of a size such as `500MB` or `1.5GB`, in powers of ten as huggingface_hub reads it."""
    return int(float(text[:-2]) * _UNITS[text[-2:]])


def split(items: Sequence[_Item], largest: int) -> list[list[_Item]]:
    """Consecutive items, as many to a shard as it holds; what is larger by itself has a shard of its own.

    Args:
        items: Each with its `size` in bytes.
        largest: Bytes that a shard holds.
    """
    shards: list[list[_Item]] = [[]]
    room = largest
    for item in items:
        if shards[-1] and item.size > room:
            shards.append([])
            room = largest
        shards[-1].append(item)
        room -= item.size
    return shards


def names(stem: str, count: int) -> list[str]:
    """File names: `model.safetensors`, or `model-00001-of-00002.safetensors` and so on."""
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def index(files: Mapping[str, str], total_size: int) -> str:
    """The text of `<stem>.safetensors.index.json`.

    Args:
        files: File name of every tensor.
        total_size: Of all tensors, in bytes.
    """
    content = {"metadata": {"total_size": total_size}, "weight_map": files}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def is_index(name: str) -> bool:
    """Whether a file lists shards: `diffusion_pytorch_model.safetensors.index.fp16.json` and the like.

    Older releases of diffusers put the variant before `index`.
    """
    return bool(re.search(r"\.(?:safetensors|bin)(?:\.[\w-]+)?\.index(?:\.[\w-]+)?\.json$", name))
