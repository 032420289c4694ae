"""Recipes for tests: a small valid one as plain data, and the report of what is wrong with a text."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loramerge.documents.problems import RecipeProblemsError
from loramerge.documents.yaml_document import dump
from loramerge.recipe import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loramerge.recipe import Recipe

SMALL: dict[str, Any] = {
    "version": 1,
    "name": "ikea-feng",
    "base": {"source": "hf://stabilityai/stable-diffusion-xl-base-1.0"},
    "loras": [
        {"name": "ikea", "source": "loras/ikea.safetensors", "weight": 0.7},
        {"name": "feng", "source": "hf://lordjia/by-feng-zikai/fengzikai_v1.0_XL.safetensors"},
    ],
    "merge": {"combination_type": "cat"},
    "outputs": [{"kind": "adapter", "format": "peft"}],
}

TEXT = """\
version: 1
name: ikea-feng
base:
  source: hf://stabilityai/stable-diffusion-xl-base-1.0
loras:
  - name: ikea
    source: loras/ikea.safetensors
    weight: 0.7
  - name: feng
    source: hf://lordjia/by-feng-zikai/fengzikai_v1.0_XL.safetensors
merge:
  combination_type: cat
outputs:
  - kind: adapter
    format: peft
"""


def small(**changes: Any) -> dict[str, Any]:
    """The small recipe with some of its keys replaced."""
    return copy.deepcopy(SMALL) | changes


def parsed(text: str | dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """What a text or its plain data means."""
    return parse(text if isinstance(text, str) else dump(text), origin="r.yaml", folder=Path(), overrides=overrides)


def report(text: str | dict[str, Any], overrides: Sequence[str] = ()) -> list[str]:
    """What is wrong with a text or its plain data, line by line."""
    with pytest.raises(RecipeProblemsError) as caught:
        parsed(text, overrides)
    assert caught.value.message == "\n".join(map(str, caught.value.problems))
    return caught.value.message.splitlines()


def without_origin(lines: list[str]) -> list[str]:
    """The lines of a report without `file:line:column`."""
    return [line.partition(": ")[2] for line in lines]
