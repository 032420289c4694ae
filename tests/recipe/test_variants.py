"""Axes of a grid: several values in one `--set`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_recipe import TEXT

from loramerge.documents.problems import RecipeProblemsError
from loramerge.documents.yaml_document import load
from loramerge.errors import UsageError
from loramerge.recipe.variants import read_variants, split_values


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.3,0.5, 0.7", ("0.3", "0.5", "0.7")),
        ("0.3", ("0.3",)),
        ("[a, b]", ("[a, b]",)),
        ("{unet: {mid: 1, down: 2}},0.5", ("{unet: {mid: 1, down: 2}}", "0.5")),
        ('\'a, b\',"c, \\"d,"', ("'a, b'", '"c, \\"d,"')),
        ("it's, that's", ("it's", "that's")),
        ("'it''s, so', b", ("'it''s, so'", "b")),
        ("a,,b,", ("a", "", "b", "")),
        ("", ("",)),
        ("a],b", ("a]", "b")),
    ],
)
def test_values_are_parted_at_commas_outside_of_brackets_and_quotes(text, values):
    assert split_values(text) == values


def flow(value):
    """YAML in one line."""
    match value:
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return f"[{', '.join(map(flow, value))}]"
        case dict():
            return f"{{{', '.join(f'{flow(key)}: {flow(each)}' for key, each in value.items())}}}"
    return str(value)


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))
VALUES = st.recursive(
    st.integers() | PRINTABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_what_was_joined_comes_apart(values):
    parts = split_values(",".join(map(flow, values)))
    assert [load(part, origin="x").data for part in parts] == values


@given(st.text())
def test_no_text_is_lost(text):
    assert "".join(",".join(split_values(text)).split()) == "".join(text.split())


def test_two_axes_are_columns_and_rows(recipe):
    settings = ["loras.0.weight=0.5,1.0,2", "merge={combination_type: cat},{combination_type: ties, density: 0.5}"]
    variants = read_variants(recipe, [*settings, "loras.feng.weight=0.25", "preview.prompts=[a, b]"])
    assert variants.x.labels == ("loras.0.weight = 0.5", "loras.0.weight = 1.0", "loras.0.weight = 2")
    assert variants.y is not None
    assert variants.y.values[1] == "{combination_type: ties, density: 0.5}"
    assert [[each.loras[0].weight for each in row] for row in variants.recipes] == [[0.5, 1.0, 2]] * 2
    assert [[each.merge.combination_type for each in row] for row in variants.recipes] == [["cat"] * 3, ["ties"] * 3]
    assert variants.first.loras[1].weight == 0.25


def test_one_axis_is_one_row(recipe):
    variants = read_variants(recipe, ["loras.ikea.weight=0.5,1"])
    assert variants.y is None
    assert len(variants.recipes) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "no --set has several values"),
        (["loras.0.weight=0.5"], "no --set has several values"),
        (["loras.0.weight=1,2", "loras.1.weight=1,2", "merge.seed=1,2"], "these are 3: loras.0.weight, loras.1.wei"),
        (["loras.0.weight=1,2", "loras.0.weight=3,4"], "loras.0.weight is given twice"),
        (["loras.0.weight=1,,2"], "nothing between two commas"),
        (["loras.0.weight=1,2,1"], "1 is given twice"),
        (["loras.0.weight=1,2", "x"], "expected KEY=VALUE"),
        (["name=a,b"], "--set name changes name: a grid compares merges and weights of the same LoRAs"),
        (["loras.0.weight=1,2", "loras.1.source=a.safetensors,b.safetensors"], "--set loras.1.source changes loras"),
    ],
)
def test_what_is_no_grid_is_refused(recipe, settings, message):
    with pytest.raises(UsageError, match=message):
        read_variants(recipe, settings)


def test_every_invalid_variant_is_named(recipe):
    settings = ["merge.density=0.3,0,7", "loras.0.weight=1,x", "merge.combination_type=ties"]
    with pytest.raises(RecipeProblemsError) as caught:
        read_variants(recipe, settings)
    lines = str(caught.value).splitlines()
    assert {line.partition(": ")[0] for line in lines} == {
        "--set merge.density=0", "--set merge.density=7", "--set loras.0.weight=x",
    }  # fmt: skip


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeProblemsError, match="can't read the recipe"):
        read_variants(tmp_path / "none.yaml", ["loras.0.weight=1,2"])


def test_a_mistake_of_one_variant_names_it(recipe):
    with pytest.raises(RecipeProblemsError) as caught:
        read_variants(recipe, ["merge.combination_type=cat,ties"])
    assert caught.value.message.endswith("above 0 and at most 1 (with merge.combination_type=ties)")
    assert "--set 'merge={combination_type: cat},{combination_type: ties, density: 0.5}'" in caught.value.hint
    recipe.write_text(TEXT.replace("version: 1", "version: 2"))
    with pytest.raises(RecipeProblemsError) as caught:
        read_variants(recipe, ["loras.0.weight=0.5,1.0"])
    assert "(with" not in caught.value.message
