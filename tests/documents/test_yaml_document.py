from __future__ import annotations

import time
from contextlib import suppress

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from loramerge.documents.problems import Origin, RecipeProblemsError
from loramerge.documents.yaml_document import MAX_DEPTH, MAX_NODES, dump, load


def problems(text: str) -> list[str]:
    return list(map(str, load(text, origin="r.yaml").problems))


def refusal(text: str) -> str:
    with pytest.raises(RecipeProblemsError) as caught:
        load(text, origin="r.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-17", -17),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("on", "on"),
        ("no", "no"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text, value):
    data = load(f"a: {text}", origin="r.yaml").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_infinity_and_nan_are_numbers():
    assert load("[.inf, -.INF, 1e999]", origin="r").data == [float("inf"), -float("inf"), float("inf")]
    assert str(load(".NaN", origin="r").data) == "nan"


def test_every_key_and_value_has_a_place():
    document = load("a: 1\nb:\n  - x\n  -   c: {d: 2}\n", origin="r.yaml")
    assert document.keys["a",] == Origin(1, 1, "r.yaml")
    assert document.values["a",] == Origin(1, 4, "r.yaml")
    assert document.values["b", 0] == Origin(3, 5, "r.yaml")
    assert document.keys["b", 1, "c", "d"] == Origin(4, 11, "r.yaml")
    assert document.values["b", 1, "c", "d"] == Origin(4, 14, "r.yaml")


def test_what_is_absent_is_placed_at_what_would_hold_it():
    document = load("a:\n  b: 1\n", origin="r.yaml")
    assert document.origin(("a", "z")) == Origin(2, 3, "r.yaml")
    assert document.origin(("a", "z", 3)) == Origin(2, 3, "r.yaml")
    assert document.origin(("z",)) == Origin(1, 1, "r.yaml")
    assert document.origin(("a", "b"), of_key=True) == Origin(2, 3, "r.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    assert load("\ufeffa: 1", origin="r.yaml").data == {"a": 1}


def test_aliases_and_merge_keys():
    text = """\
common: &common {rank: 16, weight: 0.5}
other: &other {weight: 0.9, extra: 1}
one: *common
two:
  weight: 0.7
  <<: *common
three:
  <<: [*common, *other]
"""
    document = load(text, origin="r.yaml")
    assert not document.problems
    assert document.data["one"] == {"rank": 16, "weight": 0.5}
    assert document.data["two"] == {"weight": 0.7, "rank": 16}
    assert document.data["three"] == {"rank": 16, "weight": 0.5, "extra": 1}
    assert document.values["two", "rank"] == Origin(1, 24, "r.yaml")
    assert document.data["one"] is not document.data["common"]


def test_all_duplicate_keys_are_reported():
    assert problems("a: 1\nb: {c: 1, c: 2}\na: 2\na: 3\n") == [
        "r.yaml:2:11: b.c: this key is given twice, first at 2:5",
        "r.yaml:3:1: a: this key is given twice, first at 1:1",
        "r.yaml:4:1: a: this key is given twice, first at 1:1",
    ]
    assert problems("<<: {a: 1}\n<<: {b: 1}\n") == ["r.yaml:2:1: <<: this key is given twice, first at 1:1"]


def test_keys_are_text():
    document = load("1: a\n~: b\n[x]: c\ntrue: d\nok: e\n'2': f\n", origin="r.yaml")
    assert document.data == {"ok": "e", "2": "f"}
    assert list(map(str, document.problems)) == [
        "r.yaml:1:1: the key '1' is not text; quote it",
        "r.yaml:2:1: the key '~' is not text; quote it",
        "r.yaml:3:1: the key is not text; quote it",
        "r.yaml:4:1: the key 'true' is not text; quote it",
    ]


def test_tags_other_than_the_plain_types_are_refused():
    text = "a: !!python/object/apply:os.system [ls]\nb: !mine 1\nc: !!set {x}\nd: !!binary aGk=\ne: !!str {x: 1}\n"
    document = load(text, origin="r.yaml")
    assert document.unread == {("a",), ("b",), ("c",), ("d",), ("e",)}
    assert [str(each) for each in document.problems][:2] == [
        "r.yaml:1:4: a: the tag !!python/object/apply:os.system is not read; remove it",
        "r.yaml:2:4: b: the tag !mine is not read; remove it",
    ]


def test_tagged_text_that_is_none_of_its_type():
    assert problems("[!!int x, !!bool yes, !!float y]") == [
        "r.yaml:1:2: 0: 'x' can't be read as a whole number",
        "r.yaml:1:11: 1: 'yes' can't be read as true or false",
        "r.yaml:1:23: 2: 'y' can't be read as a number",
    ]


def test_half_characters_are_refused():
    assert problems('a: "\\ud800"') == ["r.yaml:1:4: a: holds half of a character (an escaped surrogate)"]


def test_merge_keys_take_mappings_only():
    assert problems("<<: 3") == ["r.yaml:1:5: <<: `<<` takes a mapping or a list of mappings"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "r.yaml:1:6: not valid YAML: while parsing a flow sequence: expected ',' or ']', but got"),
        ("a: b: c", "r.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1", "r.yaml:2:1: not valid YAML: a tab in front of the line; YAML is indented with spaces"),
        ("a: *b", "r.yaml:1:4: not valid YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "r.yaml:2:1: not valid YAML: expected a single document in the stream: but found another"),
        ("a\n b\x07", "r.yaml:2:3: not valid YAML: the character U+0007 is not allowed"),
        ('a: "\\UFFFFFFFF"', "r.yaml:1:7: not valid YAML: "),
        (f"%YAML 1.{'9' * 5000}\n--- a", "r.yaml:1:"),
    ],
)
def test_text_that_is_not_yaml(text, message):
    assert refusal(text).startswith(message)


def test_an_alias_bomb_is_refused_at_once():
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    levels += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    begin = time.perf_counter()
    assert f"more than {MAX_NODES} values once aliases are expanded" in refusal("\n".join(levels))
    assert time.perf_counter() - begin < 2


def test_a_bomb_of_merge_keys_is_refused_at_once():
    levels = ["a: &a {x: 1}"]
    levels += [f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    begin = time.perf_counter()
    assert f"more than {MAX_NODES} values" in refusal("\n".join(levels))
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize("text", ["a: &a [*a]", "&a {<<: *a}", "[" * 200_000, "{a: " * 50_000, "- " * 999])
def test_depth_is_bounded(text):
    assert f"nested deeper than {MAX_DEPTH} levels" in refusal(text)


def test_64_levels_are_fine():
    assert load("[" * MAX_DEPTH + "]" * MAX_DEPTH, origin="r").data


def test_size_is_bounded():
    assert f"more than {MAX_NODES} values" in refusal("- x\n" * (MAX_NODES + 1))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
@example({"\x85": "\u2028a\u2029"})
def test_what_is_dumped_loads_as_it_was_by_yaml_1_1_and_1_2(data):
    text = dump(data)
    assert load(text, origin="r").data == data
    assert yaml.safe_load(text) == data


READ_AS_MORE = [
    *("08", "1e3", "on", "null", "0x1f", "1_000", "12:30", "2024-01-01", "0o7", "1_0", "~", "<<", "=", ""),
    *("y", "N", "Yes", "OFF", "tRUE", "1,000", "0_8", "08:30", "0b1", "0X1F", "-0o17", "09.5", "._", ".iNF", "1.2.3"),
]


@pytest.mark.parametrize("text", READ_AS_MORE)
def test_text_that_some_reader_would_take_for_something_else_is_quoted(text):
    assert dump([text]) == f"- '{text}'\n"
    assert load(dump([{text: text}]), origin="r").data == [{text: text}]


@pytest.mark.parametrize("text", ["x1", "1-2", "sd15", "0e7c3a", "v1.0", "hf://owner/name", "~/loras", "10-loras"])
def test_text_that_nobody_could_take_for_something_else_is_plain(text):
    assert dump([text]) == f"- {text}\n"


NUMBERLIKE = st.text(st.sampled_from("0123456789abefox_:,.+-~ntyYNOF"), max_size=9)


@given(NUMBERLIKE | st.text())
def test_any_text_that_is_dumped_is_that_text_to_every_reader(text):
    written = dump({"name": text, "names": [text, {text: text}]})
    data = {"name": text, "names": [text, {text: text}]}
    assert load(written, origin="r").data == data
    assert yaml.safe_load(written) == data


@given(st.text(st.sampled_from("ab1: -?[]{},&*!|>'\"%@`#\n\t\\<~.e\ufeff\u2028\x00"), max_size=60) | st.text())
def test_any_text_loads_or_is_refused(text):
    with suppress(RecipeProblemsError):
        assert load(text, origin="r").origin(())


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("a:\n  - b: c\n\td: e", "YAML is indented with spaces"),
        ('a: "C:\\loras"', "write paths with slashes, or in single quotes"),
        ('a: "C:\\users"', "write paths with slashes, or in single quotes"),
        ("a: b: c", "quote a text that has ': ' in it"),
        ("a: @b", "a text that begins so has to stand in quotes"),
        ("a: *.safetensors", "a text that begins so has to stand in quotes"),
        ("a: {b: http://c?d}", "close every bracket"),
        ('a: "b', "close the quotes"),
        ("a:\n  - b\n c: d", "lines of one list or mapping begin at the same column"),
    ],
)
def test_what_to_do_about_text_that_is_not_yaml(text, advice):
    assert advice in refusal(text)


def test_a_decimal_comma_in_braces():
    assert problems("{weight: 0,7}") == [
        "r.yaml:1:12: the key '7' is not text; a number is written with a point, not with a comma"
    ]
