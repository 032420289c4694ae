"""Edits of YAML text: what it means changes, and nothing else of it."""

from __future__ import annotations

import copy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loramerge.documents import yaml_document
from loramerge.documents.yaml_edit import edited

TEXT = """\
# first
name: "ink-glow"   # its name

loras:
  - name: ink   # the first
    source: a.safetensors
    weight: 1.0  # much
  - {name: glow, source: b.safetensors}

merge:
  # how
  combination_type: ties   # a type
  density: 0.5             # half

# what is searched
search:
  vary:
    loras.ink.weight: {from: 0.2, to: 1.5}   # a range

# pictures
preview:
  prompts: [a]
"""


def changed(change, text=TEXT):
    data = copy.deepcopy(yaml_document.load(text, origin="").data)
    change(data)
    return edited(text, data), data


def test_values_change_where_they_stand():
    def change(data):
        data["name"] = "other"
        data["loras"][0]["weight"] = 0.25
        data["merge"]["density"] = 1e-05

    text, _ = changed(change)
    expected = TEXT.replace('"ink-glow"', "other").replace("weight: 1.0", "weight: 0.25").replace("0.5 ", "1.0e-05 ")
    assert text == expected


def test_keys_go_with_what_is_said_of_them_and_come_at_the_end():
    def change(data):
        del data["search"], data["merge"]["density"]
        data["merge"] |= {"svd_rank": {"energy": 0.9}}
        data["loras"][1]["weight"] = {"unet": {"down": 0.5}}

    text, data = changed(change)
    assert text is not None
    assert yaml_document.load(text, origin="").data == data
    assert "what is searched" not in text
    assert "  combination_type: ties   # a type\n  svd_rank: {energy: 0.9}\n\n# pictures\n" in text
    assert "{name: glow, source: b.safetensors, weight: {unet: {down: 0.5}}}" in text


@pytest.mark.parametrize(("gone", "left"), [("a", "{b: 2}"), ("b", "{a: 1}")])
def test_keys_of_mappings_on_one_line_go(gone, left):
    text, _ = changed(lambda data: data["x"].pop(gone), "x: {a: 1, b: 2}  # both\n")
    assert text == f"x: {left}  # both\n"


def test_text_without_a_last_line_break():
    assert changed(lambda data: data.update(b=2), "a: 1")[0] == "a: 1\nb: 2\n"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("a: &x {b: 1}\nc: *x\n", lambda data: data["c"].update(b=2)),  # an anchor is one text for two values
        ("a: [1, 2]\nb:\n  - 1\n", lambda data: data["b"].append(2)),
        ("- a: 1\n  b: 2\n", lambda data: data[0].pop("a")),
        ("a:\n  b: 1\n", lambda data: data["a"].clear()),
    ],
)
def test_what_is_no_edit(text, change):
    wrapped = text if text[0] != "-" else f"x:\n{text}"
    assert changed(change if wrapped is text else lambda data: change(data["x"]), wrapped)[0] is None


def test_nothing_to_change():
    assert changed(lambda _: None)[0] == TEXT


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
KEYS = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=4)
DATA = st.dictionaries(KEYS, SCALARS | st.dictionaries(KEYS, SCALARS, max_size=3) | st.lists(SCALARS, max_size=3))


@given(DATA, DATA)
def test_an_edit_means_what_is_wanted_or_is_none(have, want):
    text = edited(yaml_document.dump(have), want)
    assert text is None or yaml_document.load(text, origin="").data == want


@given(SCALARS | st.lists(SCALARS) | DATA)
@example(["\n"])
@example(" a\r\n\x85\u2028b " * 50)
@example("a" + " b" * 100)
def test_a_value_on_one_line(value):
    line = yaml_document.dump_on_a_line({"key": value})
    assert len(line.splitlines()) == 1
    assert yaml_document.load(line, origin="").data == {"key": value}
