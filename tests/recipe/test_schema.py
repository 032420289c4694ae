from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from sample_recipe import small

from loramerge.recipe import Recipe, schema

COMMITTED = Path(__file__).parents[2] / "schemas" / schema.FILE
VALIDATOR = Draft202012Validator(schema.schema())

LORA = {"name": "a", "source": "a.safetensors"}
GOOD = [
    small(),
    small(description="x", publish=[{"kind": "folder", "path": "x"}], preview={"prompts": ["x"]}),
    small(merge={"combination_type": "dare_ties_svd", "density": 0.5, "seed": 3, "svd_rank": None}),
    small(merge={"combination_type": "svd", "svd_rank": 4, "svd_driver": "gesvd", "engine": "peft"}),
    small(loras=[LORA | {"weight": {"unet": {"down": {"block_1": [0.1, 1]}, "mid": 1}, "text_encoder": 0.5}}]),
    small(loras=[LORA | {"weight": {"transformer": {"blocks": {"0-9": 0.3, "12": 1}, "other": 0.5}, "model": 2}}]),
    small(loras=[LORA | {"weight": {"transformer_2": {"model.layers": [0, 1.5]}, "text_encoder_4": {"mlp": 0.5}}}]),
    small(loras=[LORA | {"weight": -1, "rank": 4, "revision": None, "unmatched": "skip"}]),
    small(outputs=[{"kind": "pipeline", "dtype": None, "max_shard_size": "5GB"}, {"kind": "inputs"}]),
    small(outputs=[{"kind": "adapter", "format": name} for name in ("peft", "diffusers", "kohya")]),
    small(preview={"prompts": ["x", "y"], "seeds": [1, 2], "width": 512, "height": None}),
]
BAD = [
    {},
    small(nme=1),
    small(version=2),
    small(version=True),
    small(version="1"),
    small(name="a/b"),
    small(name=None),
    small(base={"source": "x", "extra": 1}),
    small(base={"source": ""}),
    small(loras=[]),
    small(loras=LORA),
    small(loras=[LORA | {"weight": "x"}]),
    small(loras=[LORA | {"weight": True}]),
    small(loras=[LORA | {"weight": [1]}]),
    small(loras=[LORA | {"weight": {"down": 1}}]),
    small(loras=[LORA | {"weight": {"unet": {"down": {"blok_1": 1}}}}]),
    small(loras=[LORA | {"weight": {"unet": {"down": {}}}}]),
    small(loras=[LORA | {"weight": {"unet": {"mid": [1]}}}]),
    small(loras=[LORA | {"weight": {"transformer": {"blocks": {"0–9": 0.3}}}}]),
    small(loras=[LORA | {"weight": {"transformer": {"blocks": {"01": 0.3}}}}]),
    small(loras=[LORA | {"weight": {"transformer": {"blocks": {"0-9": [0.3]}}}}]),
    small(loras=[LORA | {"weight": {"transformer": {"blocks": {}}}}]),
    small(loras=[LORA | {"weight": {"transformer": {"blocks": []}}}]),
    small(loras=[LORA | {"weight": {"transformer": {"other": [1]}}}]),
    small(loras=[LORA | {"weight": {"unet": {"blocks": 1}}}]),
    small(loras=[LORA | {"sha256": "x"}]),
    small(loras=[LORA | {"rank": 0}]),
    small(merge={"combination_type": "cat", "density": 0.5}),
    small(merge={"combination_type": "ties"}),
    small(merge={"combination_type": "ties", "density": 0}),
    small(merge={"combination_type": "dare"}),
    small(merge={}),
    small(outputs=[]),
    small(outputs=[{"kind": "adapter"}]),
    small(outputs=[{"kind": "pipeline", "format": "peft"}]),
    small(outputs=[{"kind": "pipeline", "max_shard_size": "5 GB"}]),
    small(publish=[{"kind": "folder"}]),
    small(preview={"prompts": []}),
    small(preview={"prompts": ["x"], "width": 12}),
    small(preview=[]),
]


def fits_the_models(data):
    """Whether a recipe has the right form; what must fit together across keys is beyond a schema."""
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        return {each["type"] for each in error.errors()} == {"inconsistent"}
    return True


def test_the_committed_schema_is_the_generated_one():
    assert COMMITTED.read_text(encoding="utf-8") == schema.text()


def test_it_is_written_with_its_folder(tmp_path):
    file = schema.write(tmp_path / "schemas")
    assert file == tmp_path / "schemas" / "recipe.schema.json"
    assert json.loads(file.read_text(encoding="utf-8")) == schema.schema()


def test_it_is_a_schema_of_its_draft():
    assert schema.schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema.schema())


def mappings(node):
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            yield node
        for each in node.values():
            yield from mappings(each)
    elif isinstance(node, list):
        for each in node:
            yield from mappings(each)


def test_editors_can_explain_every_key():
    whole = schema.schema()
    found = list(mappings(whole))
    assert len(found) > 15
    for mapping in found:
        others = mapping["additionalProperties"]
        assert others is False or others["description"].endswith(".")
        for key, value in mapping["properties"].items():
            referred = whole["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
            assert (referred | value)["description"].endswith("."), key
            assert "title" not in value


@pytest.mark.parametrize("data", GOOD, ids=range(len(GOOD)))
def test_good_recipes(data):
    VALIDATOR.validate(data)
    assert fits_the_models(data)


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_bad_recipes(data):
    assert not VALIDATOR.is_valid(data)
    assert not fits_the_models(data)


# Whole floats are left out: to JSON Schema 16.0 is an integer.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 20)
    | st.sampled_from([0.5, -0.5, 1.5, "", "peft", "cat", "ties", "adapter", "pipeline", "5GB", "a/b", "block_0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "name", "format", "combination_type", "density", "unet", "down", "block_0", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
PLACES = [each.split(".") for each in ("name", "base", "base.source", "merge", "merge.density", "merge.svd_rank", "x")]
PLACES += [["loras"], ["loras", 0], ["loras", 0, "weight"], ["loras", 0, "rank"], ["outputs"], ["outputs", 0]]
PLACES += [["outputs", 0, "dtype"], ["publish"], ["preview"], ["preview", "prompts"], ["loras", 1, "sha256"]]


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
@settings(deadline=None, max_examples=300)
def test_schema_and_models_agree(changes):
    data = small(preview={"prompts": ["x"]})
    for place, value in changes:
        holder = data
        for step in place[:-1]:
            inside = holder[step] if isinstance(holder, dict) and step in holder else None
            inside = holder[step] if isinstance(holder, list) and step in range(len(holder)) else inside
            holder = inside if isinstance(inside, (dict, list)) else {}
        if isinstance(holder, dict) or place[-1] in range(len(holder)):
            holder[place[-1]] = value
    assert VALIDATOR.is_valid(data) == fits_the_models(data)
