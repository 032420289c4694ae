"""Which licence a merge gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_recipe import parsed, small

from loramerge.errors import MismatchError
from loramerge.provenance.licence import BASE, LINES, licence_for, strictest

HUB = [{"kind": "hub", "repo": "me/merged"}]
FOLDER = [{"kind": "folder", "path": "x"}]


@pytest.mark.parametrize(
    ("inputs", "answer"),
    [
        (["mit"], "mit"),
        (["mit", "apache-2.0"], "apache-2.0"),
        (["openrail++", "apache-2.0", "mit"], "openrail++"),
        (["openrail++", "creativeml-openrail-m"], "creativeml-openrail-m"),
        (["cc-by-4.0", "cc-by-nc-4.0"], "cc-by-nc-4.0"),
        (["llama3", "llama3"], "llama3"),
        (["cc-by-sa-4.0", "cc-by-nc-4.0"], None),
        (["openrail++", "cc-by-nc-4.0"], None),
        (["gpl-3.0", "openrail"], None),
        (["llama3", "mit"], None),
        (["mit", None], None),
        (["other"], None),
        (["cc-by-nd-4.0"], None),
        ([], None),
    ],
)
def test_the_strictest(inputs, answer):
    assert strictest(inputs) == answer


@given(st.sampled_from(LINES).flatmap(lambda line: st.lists(st.sampled_from(line), min_size=1)))
def test_the_strictest_of_a_line_is_one_of_the_inputs_whatever_their_order(inputs):
    answer = strictest(inputs)
    assert answer in inputs
    assert strictest(reversed(inputs)) == answer == strictest([*inputs, answer])


def test_the_recipe_has_the_last_word():
    recipe = parsed(small(license="openrail++", publish=HUB))
    assert licence_for(recipe, {}, publishing=True) == "openrail++"


def test_that_of_the_inputs():
    known = {BASE: "openrail++", "ikea": "apache-2.0", "feng": "mit"}
    assert licence_for(parsed(small(publish=HUB)), known, publishing=True) == "openrail++"


def test_a_repository_needs_one():
    with pytest.raises(MismatchError, match=r"base: openrail\+\+, ikea: not known, feng: mit") as caught:
        licence_for(parsed(small(publish=HUB)), {BASE: "openrail++", "feng": "mit"}, publishing=True)
    assert "license:" in caught.value.hint


def test_a_folder_does_without():
    assert licence_for(parsed(small(publish=FOLDER)), {}, publishing=True) == "unknown"
    assert licence_for(parsed(small(publish=HUB)), {}, publishing=False) == "unknown"
