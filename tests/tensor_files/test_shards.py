"""Shards as huggingface_hub, and so diffusers and transformers, would make them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from huggingface_hub.serialization._base import parse_size_to_int
from hypothesis import given
from hypothesis import strategies as st

from loramerge.tensor_files import shards


@dataclass(frozen=True)
class Item:
    key: str
    size: int


@pytest.mark.parametrize("text", ["1KB", "500MB", "10GB", "1.5GB", "0.125TB", "2TB"])
def test_a_size_is_what_the_library_reads(text):
    assert shards.size_of(text) == parse_size_to_int(text)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 1000))
def test_shards_and_their_names_are_those_of_the_library(sizes, largest):
    tensors = {f"tensor.{number:02}": torch.zeros(size, dtype=torch.uint8) for number, size in enumerate(sizes)}
    theirs = split_torch_state_dict_into_shards(
        tensors, filename_pattern="model{suffix}.safetensors", max_shard_size=largest
    )
    items = [Item(key, len(tensor)) for key, tensor in tensors.items()]
    parts = shards.split(items, largest)
    names = shards.names("model", len(parts))
    assert [item for part in parts for item in part] == items
    if all(item.size <= largest for item in items):  # the library puts larger ones before the shard that is open
        ours = {name: [item.key for item in part] for name, part in zip(names, parts, strict=True)}
        assert ours == theirs.filename_to_tensors
    assert all(sum(item.size for item in part) <= largest or len(part) == 1 for part in parts)


def test_the_index_is_the_same_whatever_the_order():
    files = {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors"}
    text = shards.index(files, 12)
    assert text == shards.index(dict(reversed(files.items())), 12)
    assert json.loads(text) == {"metadata": {"total_size": 12}, "weight_map": files}


@pytest.mark.parametrize(
    ("name", "lists_shards"),
    [
        ("diffusion_pytorch_model.safetensors.index.json", True),
        ("diffusion_pytorch_model.safetensors.index.fp16.json", True),
        ("pytorch_model.bin.index.json", True),
        ("config.json", False),
        ("tokenizer.json", False),
    ],
)
def test_indices_are_known_by_their_names(name, lists_shards):
    assert shards.is_index(name) is lists_shards
