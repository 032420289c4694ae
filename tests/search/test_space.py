"""What a search may try, and the recipes that come of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_recipe import parsed, small

from loramerge.search.space import SearchSpace

VARY = {
    "merge.density": {"from": 0.3, "to": 0.9},
    "merge.svd_rank": {"from": 4, "to": 32},
    "merge.combination_type": ["cat", "ties", "svd", "ties_svd"],
    "loras.ikea.weight": {"from": 0.2, "to": 1.2},
    "loras.feng.weight.unet.down": {"from": 0, "to": 2, "step": 0.25},
}


class Fixed:
    """Chooses at a share of each range; of several that with this place."""

    def __init__(self, share=0.5, place=0):
        self.share, self.place, self.asked = share, place, {}

    def suggest_float(self, name, low, high, *, step=None, log=False):
        self.asked[name] = (low, high, step, log)
        return low + self.share * (high - low)

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.asked[name] = (low, high, step, log)
        return round(low + self.share * (high - low))

    def suggest_categorical(self, name, choices):
        self.asked[name] = choices
        return choices[self.place]


def space(vary=None, **changes):
    return SearchSpace.of(parsed(small(search={"vary": vary or VARY}, **changes)))


@pytest.mark.parametrize(
    ("place", "parameters"),
    [(0, set()), (1, {"density"}), (2, {"svd_rank"}), (3, {"density", "svd_rank"})],
)
def test_a_parameter_is_asked_for_where_the_type_has_a_use_for_it(place, parameters):
    values = space().choose(Fixed(place=place))
    assert {key.removeprefix("merge.") for key in values if key.startswith("merge.")} == {
        "combination_type",
        *parameters,
    }
    recipe = space().recipe_of(values)
    assert recipe.merge.combination_type == ["cat", "ties", "svd", "ties_svd"][place]
    assert recipe.search is None


def test_the_recipe_that_comes_of_values():
    data = space(merge={"combination_type": "ties", "density": 0.5}).applied(
        {"merge.combination_type": "svd", "merge.svd_rank": 7, "loras.feng.weight.unet.down": 0.25}
    )
    assert data["merge"] == {"combination_type": "svd", "svd_rank": 7}
    assert data["loras"][1]["weight"] == {"unet": {"down": 0.25}}
    assert "search" not in data


def test_whole_numbers_stay_whole():
    chooser = Fixed(place=2)
    values = space().choose(chooser)
    assert chooser.asked["merge.svd_rank"] == (4, 32, 1, False)
    assert isinstance(values["merge.svd_rank"], int)
    assert chooser.asked["loras.ikea.weight"] == (0.2, 1.2, None, False)


@given(st.floats(0, 1))
def test_what_is_tried_is_what_a_recipe_shows(share):
    value = space().choose(Fixed(share))["loras.ikea.weight"]
    assert 0.2 <= value <= 1.2
    assert value == float(f"{value:.4g}")


def test_choices_that_are_mappings():
    vary = {"merge.svd_rank": ["sum", 4, {"energy": 0.9}]}
    values = space(vary, merge={"combination_type": "svd"}).choose(Fixed(place=2))
    assert values == {"merge.svd_rank": {"energy": 0.9}}


def test_the_recipes_own_values():
    own = space({"loras.ikea.weight": {"from": 0.2, "to": 1.2}, "merge.combination_type": ["svd", "cat"]}).own()
    assert own == {"loras.ikea.weight": 0.7, "merge.combination_type": json.dumps("cat")}


def test_a_weight_that_is_not_named_counts_1():
    assert space({"loras.feng.weight.unet.down": {"from": 0, "to": 2}}).own() == {"loras.feng.weight.unet.down": 1}
    loras = [{"name": "ikea", "source": "a.safetensors", "weight": {"unet": {"mid": 0.5}}}]
    keys = ("unet.mid", "unet.up.block_1", "text_encoder")
    own = space({f"loras.ikea.weight.{key}": {"from": 0, "to": 2} for key in keys}, loras=loras).own()
    assert own is not None
    assert list(own.values()) == [0.5, 1, 1]


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.4, 0.6, 0.7, 1.1])
def test_a_value_on_a_decimal_step_may_be_tried(weight):
    loras = [{"name": "ikea", "source": "a.safetensors", "weight": weight}]
    varied = space({"loras.ikea.weight": {"from": 0.0, "to": 1.2, "step": 0.1}}, loras=loras)
    assert varied.own() == {"loras.ikea.weight": weight}


@pytest.mark.parametrize(
    "vary",
    [
        {"loras.ikea.weight": {"from": 0.8, "to": 1.2}},
        {"loras.ikea.weight": {"from": 0, "to": 1, "step": 0.25}},
        {"loras.ikea.weight": [0.5, 1]},
        {"merge.combination_type": ["svd", "linear"]},
        {"loras.feng.weight.unet.down": {"from": 2, "to": 3}},
    ],
)
def test_values_that_may_not_be_tried_are_not(vary):
    assert space(vary).own() is None
    assert space(vary).own_values() is None


@pytest.mark.parametrize("name", ["cat", "ties", "svd", "ties_svd"])
def test_every_type_has_an_example(name):
    assert space().example(name).merge.combination_type == name
    assert name in space().types
