"""Patterns of adapter_config.json mean what PEFT's regular expressions make of them, and never take long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loramerge.formats.module_pattern import ModulePattern

ATOMS = st.sampled_from(["a", "b", "to_q", r"\.", ".", "0", r"\d", r"\w", "[0-9]", "[ab-]", "_"])
COUNTED = st.tuples(ATOMS, st.sampled_from(["", "", "*", "+", "?", "*?"])).map(
    lambda pair: pair[0] + (pair[1] if len(pair[0].removeprefix("\\")) == 1 or pair[0].startswith("[") else "")
)
SEQUENCES = st.lists(COUNTED, max_size=5).map("".join)
PATTERNS = st.recursive(
    SEQUENCES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(SEQUENCES, inner, SEQUENCES).map(lambda parts: f"{parts[0]}(?:{parts[1]}){parts[2]}"),
        inner.map(lambda each: f"^{each}"),
        inner.map(lambda each: f"{each}$"),
    ),
    max_leaves=4,
)
NAMES = st.text("ab._0q-", max_size=12)


@given(PATTERNS, NAMES)
def test_it_matches_what_a_regular_expression_matches(pattern, name):
    assert ModulePattern(pattern).matches(name) == bool(re.match(rf"(.*\.)?({pattern})$", name))


@pytest.mark.parametrize("pattern", ["^(?:$)b", "(?:a$)b", "a$b", "(a$|b)", "(?:a|$)$", "b(?:$)"])
@pytest.mark.parametrize("name", ["a", "b", "ab", "x.b", ""])
def test_an_end_within_a_pattern_is_the_end_of_the_name(pattern, name):
    assert ModulePattern(pattern).matches(name) == bool(re.match(rf"(.*\.)?({pattern})$", name))


@pytest.mark.parametrize(
    "pattern", [".?" * 30 + "a" * 30, ".*" * 30 + "x", "(a|a|b|.)" * 40 + "x", "(.|.)" * 200, "a?" * 999]
)
def test_no_pattern_takes_long(pattern):
    assert not ModulePattern(pattern).matches("a" * 29 + "!")


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("(a+)+", "a group that repeats"),
        ("(?i)a", r"\(\?i…\)"),
        ("(?=a)", r"\(\?=…\)"),
        ("a{3}", "a count in braces"),
        ("a**", "a repetition that repeats"),
        ("*a", r"'\*' where nothing stands before it"),
        ("(a", r"'\(' without its '\)'"),
        ("a)", r"'\)' without its '\('"),
        ("[^a]", "a class of characters"),
        ("[a", "a class of characters"),
        (r"\1", r"\\1"),
        ("a\\", r"\\"),
        ("(" * 30 + "a" + ")" * 30, "groups within groups"),
    ],
)
def test_what_is_not_read_is_named(pattern, what):
    with pytest.raises(ValueError, match=what):
        ModulePattern(pattern)
