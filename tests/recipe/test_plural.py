"""One file that takes from others, or stands for several recipes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from loramerge.documents.cells import cell, file_and_name
from loramerge.documents.problems import RecipeProblemsError
from loramerge.recipe import parse, parse_each, read, read_each
from loramerge.recipe.matrix import MOST

COMMON = """\
version: 1
base: {source: hf://owner/base, variant: fp16}
merge: {combination_type: ties, density: 0.5}
outputs:
  - {kind: adapter, format: kohya}
"""
STYLES = """\
- {name: ink, source: ink.safetensors}
- {name: glow, source: glow.safetensors, weight: 0.3}
"""
OWN = """\
name: own
defaults: common.yaml
loras:
  - include: styles.yaml
  - {name: third, source: third.safetensors}
"""
MATRIX = """\
version: 1
name: m-{loras.ink.weight}-{how}
description: Ink at {loras.ink.weight}, {braces} stay.
base: {source: hf://owner/base}
loras:
  - {name: ink, source: ink.safetensors}
merge: {combination_type: cat}
outputs: [{kind: adapter, format: kohya}]
publish: [{kind: folder, path: "out/{how}"}]
matrix:
  loras.ink.weight: [0.50, 1]
  how:
    ties: {merge: {combination_type: ties, density: 0.4}}
    cat: {merge.combination_type: cat}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"common.yaml": COMMON, "styles.yaml": STYLES, "own.yaml": OWN, "m.yaml": MATRIX}.items():
        Path(name).write_text(text)
    return tmp_path


def mistakes(path="own.yaml", overrides=()):
    with pytest.raises(RecipeProblemsError) as caught:
        read_each(path, overrides=overrides)
    return [str(each) for each in caught.value.problems]


def test_defaults_and_lists_are_put_in(folder):
    recipe = read("own.yaml")
    assert recipe.base.variant == "fp16"
    assert recipe.merge.density == 0.5
    assert [(lora.name, lora.weight) for lora in recipe.loras] == [("ink", 1.0), ("glow", 0.3), ("third", 1.0)]
    assert parse(recipe.text, origin="", folder=folder) == recipe
    assert {path.name for path in recipe.beside} == {"common.yaml", "styles.yaml"}
    assert recipe.written == OWN


def test_own_keys_win_mappings_are_joined_and_null_leaves_out(folder):
    more = "base: {variant: null}\nmerge: {density: 0.7}\noutputs: [{kind: inputs}]\n"
    Path("own.yaml").write_text(OWN + more)
    recipe = read("own.yaml")
    assert (recipe.base.source, recipe.base.variant) == ("hf://owner/base", None)
    assert (recipe.merge.name(), recipe.merge.density) == ("ties", 0.7)
    assert recipe.folders == ("inputs",)


def test_mistakes_stand_where_they_were_made(folder):
    Path("common.yaml").write_text(COMMON.replace("0.5", "much").replace("kohya", "koyha"))
    Path("styles.yaml").write_text(STYLES.replace("0.3", "x"))
    found = mistakes()
    assert found[0].startswith("common.yaml:3:42: merge.density: found the text 'much'; expected")
    assert found[1].startswith("common.yaml:5:29: outputs.0.format: found")
    assert found[2].startswith("styles.yaml:2:50: loras.1.weight: found the text 'x'; expected")


def test_what_is_missing_is_named_where_it_stands(folder):
    from loramerge.recipe.missing import missing_sources

    found = [str(each.problem) for each in missing_sources(read("own.yaml"))]
    assert found[0].startswith("styles.yaml:1:23: loras.0.source: ")
    assert found[2].startswith("own.yaml:5:27: loras.2.source: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../common.yaml", "expected the name of a YAML file in the recipe's folder"),
        ("/etc/passwd", "expected the name of a YAML file in the recipe's folder"),
        ("sub/common.yaml", "expected the name of a YAML file in the recipe's folder"),
        ('"a\\\\b.yaml"', "expected the name of a YAML file in the recipe's folder"),
        ("[common.yaml]", "expected the name of a YAML file in the recipe's folder"),
        ("null", "expected the name of a YAML file in the recipe's folder"),
        ("common.json", "expected the name of a YAML file in the recipe's folder"),
        ("nowhere.yaml", "nowhere.yaml: can't read the defaults: there is no such file"),
        ("bad.yaml", "not valid YAML"),
        ("list.yaml", "list.yaml:1:1: expected keys of a recipe"),
        ("lora.yaml", "lora.yaml: it is a LoRA (safetensors), and no defaults"),
        ("twice.yaml", "a file of defaults has none of its own; leave it out here"),
        ("named.yaml", "named.yaml:1:1: name: each recipe has its own; leave it out here"),
    ],
)
def test_defaults_that_are_none(folder, name, said):
    Path("bad.yaml").write_text("a: [")
    Path("list.yaml").write_text("- 1\n")
    Path("twice.yaml").write_text(COMMON + "defaults: other.yaml\n")
    Path("named.yaml").write_text("name: x\n" + COMMON)
    Path("lora.yaml").write_bytes((20).to_bytes(8, "little") + b"{}" + b" " * 18)
    Path("own.yaml").write_text(OWN.replace("common.yaml", name))
    assert any(said in each for each in mistakes())


@pytest.mark.parametrize(
    ("entry", "listed", "said"),
    [
        ("{include: styles.yaml, weight: 2}", STYLES, "own.yaml:4:28: loras.0.weight: an `include` has no other keys"),
        ("{include: styles.yaml}", "- {include: more.yaml}", "styles.yaml:1:4: 0.include: a list that is included"),
        ("{include: styles.yaml}", "name: x", "styles.yaml:1:1: expected a list of LoRAs"),
        ("{include: styles.yaml}", "loras: []", "styles.yaml:1:8: loras: expected a list of LoRAs"),
        ("{include: styles.yaml}", "", "styles.yaml:1:1: expected a list of LoRAs"),
        (
            "{include: nowhere.yaml}",
            STYLES,
            "own.yaml:4:15: loras.0.include: nowhere.yaml: can't read the list of LoRAs",
        ),
        ("{include: {a: 1}}", STYLES, "own.yaml:4:15: loras.0.include: expected the name of a YAML file"),
    ],
)
def test_lists_that_are_none(folder, entry, listed, said):
    Path("styles.yaml").write_text(listed)
    Path("own.yaml").write_text(OWN.replace("include: styles.yaml", entry))
    assert any(each.startswith(said) for each in mistakes()), mistakes()


def test_a_list_may_be_a_mapping_with_loras(folder):
    Path("styles.yaml").write_text("loras:\n" + STYLES)
    assert [lora.name for lora in read("own.yaml").loras] == ["ink", "glow", "third"]


def test_a_matrix_is_a_recipe_of_each_combination(folder):
    found = read_each("m.yaml")
    assert [each.name for each in found] == ["m-0.50-ties", "m-0.50-cat", "m-1-ties", "m-1-cat"]
    assert [each.loras[0].weight for each in found] == [0.5, 0.5, 1.0, 1.0]
    assert [each.merge.name() for each in found] == ["ties", "cat"] * 2
    assert found[0].publish[0].path == "out/ties"
    assert found[0].description == "Ink at 0.50, {braces} stay."
    for each in found:
        assert each.is_one_of_several
        assert read(cell("m.yaml", each.name)) == each
        assert parse(each.text, origin="", folder=folder) == each


def test_a_name_without_axes_gets_all_of_them(folder):
    Path("m.yaml").write_text(MATRIX.replace("m-{loras.ink.weight}-{how}", "plain"))
    assert [each.name for each in read_each("m.yaml")][:2] == ["plain-0.50-ties", "plain-0.50-cat"]


def test_values_set_besides_hold_for_each(folder):
    assert {each.loras[0].weight for each in read_each("m.yaml", overrides=["loras.ink.weight=0.9"])} == {0.9}
    alone = read_each("m.yaml", overrides=["matrix={how: {cat: {merge.combination_type: cat}}}", "name=x-{how}"])
    assert [each.name for each in alone] == ["x-cat"]


def test_several_where_one_is_wanted(folder):
    with pytest.raises(
        RecipeProblemsError, match=r"it stands for 4 recipes, and one is wanted: m-0\.50-ties"
    ) as caught:
        read("m.yaml")
    assert "m.yaml#m-0.50-ties" in caught.value.hint
    with pytest.raises(RecipeProblemsError, match=r"m\.yaml:2:7: name: it stands for .*; did you mean 'm-1-cat'"):
        read("m.yaml#m-1-cta")


def test_a_mistake_of_a_value_stands_in_the_matrix_and_is_told_once(folder):
    Path("m.yaml").write_text(MATRIX.replace("density: 0.4", "density: 4").replace("owner/base", "owner"))
    found = mistakes("m.yaml")
    assert len(found) == 2
    assert found[0].startswith("m.yaml:4:16: base.source: ")
    assert found[1].startswith("m.yaml:13:53: merge.density: ")


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("a: []", "matrix.a: expected a list of values, or labels with what each sets"),
        ("a: {}", "matrix.a: expected a list of values, or labels with what each sets"),
        ("a: 3", "matrix.a: expected a list of values, or labels with what each sets"),
        ("base.source: [hf://a/b]", "matrix.base.source.0: 'hf://a/b' can't stand in a name; give the values of this"),
        ("merge: [{density: 1}]", "matrix.merge.0: such a value needs a label: `merge: {label: {merge: …}}`"),
        ("merge.density: [0.5, 0.5]", "matrix.merge.density.1: '0.5' is there already"),
        ("a: {x: {}}", "matrix.a.x: it sets nothing; expected keys and values"),
        ("a: {x: {name: y}}", "matrix.a.x.name: 'name' is no key that a matrix sets"),
        ("version: [1]", "matrix.version.0: 'version' is no key that a matrix sets"),
        ("a..b: [1]", "matrix.a..b.0: 'a..b' is no key that a matrix sets"),
        (
            "loras.inc.weight: [1, 2]",
            "loras.inc.weight: `loras` has no element named 'inc'; expected a number or 'ink'",
        ),
        ("nothing: [1, 2]", "nothing: unknown key"),
        ("1: [1, 2]", "the key '1' is not text; quote it"),
    ],
)
def test_axes_that_are_none(folder, axis, said):
    text = MATRIX.partition("matrix:")[0].replace("m-{loras.ink.weight}-{how}", "m").replace("{how}", "x")
    Path("m.yaml").write_text(f"{text}matrix:\n  {axis}\n")
    found = mistakes("m.yaml")
    assert any(said in each for each in found), found
    assert all(each.startswith("m.yaml:") for each in found)


@pytest.mark.parametrize("matrix", ["[]", "{}", "null", "x", "3"])
def test_a_matrix_that_is_none(folder, matrix):
    Path("m.yaml").write_text(MATRIX.partition("matrix:")[0].replace("m-{loras.ink.weight}-{how}", "m")
                              + f"matrix: {matrix}\n")  # fmt: skip
    assert any("matrix: expected axes with their values" in each for each in mistakes("m.yaml"))


def test_names_that_are_the_same_or_of_no_axis(folder):
    Path("m.yaml").write_text(MATRIX.replace("m-{loras.ink.weight}-{how}", "m-{how}"))
    assert "two of the matrix's recipes are called 'm-ties': put each axis into the name" in mistakes("m.yaml")[0]
    Path("m.yaml").write_text(MATRIX.replace("m-{loras.ink.weight}-{how}", "m-{who}"))
    assert "the matrix has no axis 'who'; expected {loras.ink.weight} or {how}; did you mean" in mistakes("m.yaml")[0]


def test_too_many(folder):
    values = [*range(int(MOST**0.5) + 1)]
    matrix = yaml.safe_dump({"matrix": {"loras.ink.weight": values, "preview.seed": values}})
    Path("m.yaml").write_text(MATRIX.partition("matrix:")[0] + matrix)
    assert "it stands for 10,201 recipes; at most 10,000" in mistakes("m.yaml")[0]


def test_a_file_may_be_called_as_a_recipe_of_another(folder):
    Path("m.yaml#x").write_text("")
    assert file_and_name("m.yaml#x") == ("m.yaml#x", None)
    assert file_and_name("m.yaml#y") == ("m.yaml", "y")
    assert [file_and_name(each) for each in ("m.yaml", "#x", "x#", "-", "a#b.yaml", "a#b")] == [
        (each, None) for each in ("m.yaml", "#x", "x#", "-", "a#b.yaml", "a#b")
    ]


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["include", "merge.density", "loras.0.weight", "name", "a"]) | st.integers(), inner
        )
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(ANYTHING, ANYTHING, ANYTHING)
def test_anything_gives_recipes_or_a_report(matrix, defaults, entry):
    data = yaml.safe_load(MATRIX) | {"matrix": matrix, "defaults": defaults}
    data["loras"].append(entry)
    for left_out in ({}, {"defaults"}, {"matrix", "defaults"}):
        text = yaml.safe_dump({key: value for key, value in data.items() if key not in left_out})
        with suppress(RecipeProblemsError):
            assert {each.version for each in parse_each(text, origin="r.yaml", folder=Path("/nowhere"))} == {1}


@pytest.mark.parametrize("text", [
    MATRIX.replace("[0.50, 1]", "[!foo 0.5, 1]"),
    MATRIX.replace("[0.50, 1]", "{a: !foo 0.5}"),
    OWN.replace("- {name: third", "- {name: !foo third"),
    OWN + "merge: !foo {combination_type: cat}\n",
])  # fmt: skip
def test_a_value_that_can_not_be_read_is_told_wherever_it_goes(folder, text):
    Path("x.yaml").write_text(text)
    assert any("the tag !foo is not read" in each for each in mistakes("x.yaml"))


@pytest.mark.parametrize("name", ["common.yaml", "styles.yaml"])
def test_a_value_beside_it_that_can_not_be_read_is_told(folder, name):
    Path(name).write_text(Path(name).read_text().replace("0.5", "!foo 0.5").replace("0.3", "!foo 0.3"))
    (found,) = mistakes()
    assert found.startswith(f"{name}:")
    assert "the tag !foo is not read" in found


def test_two_axes_of_one_key(folder):
    Path("m.yaml").write_text(MATRIX.replace("  how:\n", "  loras.0.weight: [2, 3]\n  how:\n").replace("-{how}", ""))
    said = "the axis loras.ink.weight sets it as well; leave out one of them"
    assert any(said in each for each in mistakes("m.yaml"))


def test_an_axis_may_be_set_besides(folder):
    found = read_each("m.yaml", overrides=["matrix.loras.ink.weight=[3]"])
    assert [each.name for each in found] == ["m-3-ties", "m-3-cat"]


def test_a_file_that_names_itself(folder):
    Path("own.yaml").write_text(OWN.replace("common.yaml", "own.yaml"))
    assert any("own.yaml is this file itself" in each for each in mistakes())
