"""Every place of a recipe with every sort of value: it is a recipe, or a report says what is wrong and where."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from loramerge.documents.problems import RecipeProblemsError
from loramerge.recipe import parse

pytestmark = pytest.mark.slow

RECIPES = [
    {
        "version": 1,
        "name": "all",
        "description": "",
        "base": {"source": "hf://a/b", "revision": "main", "variant": "fp16"},
        "loras": [
            {"name": "one", "source": "a.safetensors", "rank": 4, "weight": {"unet": {"down": {"block_1": [1, 2]}}}},
            {"name": "two", "source": {"transformer": "a.safetensors", "transformer_2": "b.safetensors"}},
            {"name": "three", "extract": {"from": "hf://c/d", "rank": 4, "revision": "x", "variant": "fp16"}},
        ],
        "merge": {
            "combination_type": "ties",
            "density": 0.5,
            "parts": [
                {"match": "mid", "combination_type": "cat"},
                {"match": ["up"], "combination_type": "take", "loras": ["one"]},
            ],
        },
        "outputs": [
            {"kind": "adapter", "format": "kohya", "dtype": "float16", "sidecars": True},
            {"kind": "model", "components": {"vae": "b"}, "scheduler": {"class": "LCMScheduler", "settings": {"a": 1}}},
            {"kind": "inputs"},
        ],
        "publish": [
            {"kind": "folder", "path": "p", "outputs": ["kohya"]},
            {"kind": "hub", "repo": "a/b", "revision": "main", "tag": "t"},
        ],
        "preview": {"prompts": ["a"], "seeds": [0], "width": 64},
        "search": {
            "objective": "previews",
            "clip": "hf://openai/clip",
            "trials": 2,
            "seed": 0,
            "vary": {"merge.combination_type": ["ties", "cat"], "loras.one.weight": {"from": 0, "to": 1, "step": 0.5}},
        },
        "report": "full",
    },
    {
        "version": 1,
        "name": "none",
        "base": {"source": "a.safetensors", "config": "flux", "sha256": "a" * 64},
        "loras": [{"name": "one", "source": "a.safetensors", "unmatched": "skip", "component": "transformer"}],
        "merge": {"combination_type": "svd", "svd_rank": {"energy": 0.9}},
        "outputs": [{"kind": "model"}],
        "search": {"objective": "kept", "vary": {"merge.svd_rank": {"from": 1, "to": 8, "log": True}}},
    },
]
VALUES = [None, 10**400, float("nan"), [[]], {"kind": []}, {1: {}}]


def places(data, at=()):
    """Every place of plain data, the whole of it first."""
    yield at
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(value, (*at, key))


@pytest.mark.parametrize("whole", RECIPES, ids=lambda recipe: recipe["name"])
def test_any_value_at_any_place_gives_a_recipe_or_a_report(whole):
    tried = 0
    for *above, last in filter(None, places(whole)):
        for value in VALUES:
            changed = copy.deepcopy(whole)
            inner = changed
            for key in above:
                inner = inner[key]
            inner[last] = value
            tried += 1
            try:
                with suppress(RecipeProblemsError):
                    parse(yaml.safe_dump(changed), origin="r.yaml", folder=Path())
            except Exception as error:
                raise AssertionError(f"{[*above, last]} = {value!r}: {type(error).__name__}: {error}") from error
    assert tried > 150
