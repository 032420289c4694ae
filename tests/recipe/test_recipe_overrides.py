from __future__ import annotations

import pytest
from sample_recipe import TEXT, parsed, report, small

from loramerge.errors import UsageError
from loramerge.methods import Ties


def test_any_value_can_be_set():
    overrides = ["name=other", "loras.0.weight=0.5", "base.revision='0123'", "outputs.0={kind: inputs}"]
    recipe = parsed(TEXT, overrides)
    assert recipe.name == "other"
    assert recipe.loras[0].weight == 0.5
    assert recipe.base.revision == "0123"
    assert recipe.outputs[0].kind == "inputs"


def test_loras_go_by_name_too():
    assert parsed(TEXT, ["loras.feng.weight=0.5"]).loras[1].weight == 0.5


def test_names_may_have_dots():
    recipe = small()
    recipe["loras"][0]["name"] = "ikea.v1.5"
    recipe["loras"][1]["name"] = "ikea"
    assert [lora.weight for lora in parsed(recipe, ["loras.ikea.v1.5.weight=0.1", "loras.ikea.weight=0.2"]).loras] == [
        0.1,
        0.2,
    ]


def test_a_name_that_is_a_number_gives_way_to_the_position():
    recipe = small()
    recipe["loras"][0]["name"] = "1"
    assert [lora.weight for lora in parsed(recipe, ["loras.1.weight=0.1"]).loras] == [0.7, 0.1]


def test_keys_are_made_as_needed():
    recipe = parsed(TEXT, ["preview.prompts=[a bear]", "preview.steps=3"])
    assert recipe.preview is not None
    assert recipe.preview.prompts == ("a bear",)
    assert recipe.preview.steps == 3


def test_the_last_one_wins():
    assert parsed(TEXT, ["name=a", "name=b"]).name == "b"


def test_a_change_of_type_takes_several():
    assert isinstance(parsed(TEXT, ["merge.combination_type=ties", "merge.density=0.5"]).merge, Ties)


def test_the_value_is_all_behind_the_first_equals_sign():
    assert parsed(TEXT, ["description=a=b"]).description == "a=b"


def test_nothing_means_null():
    assert parsed(TEXT, ["base.variant="]).base.variant is None


def test_the_text_of_a_changed_recipe_is_that_of_the_change():
    recipe = parsed(TEXT, ["loras.ikea.weight=0.5"])
    assert recipe.text != TEXT
    assert parsed(recipe.text) == recipe


@pytest.mark.parametrize("text", ["name", "=1", "a..b=1", ".=1", ""])
def test_what_is_no_override(text):
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parsed(TEXT, [text])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loras.0.weight=x", "loras.0.weight: found the text 'x'; expected a number"),
        ("loras.feng.weight=x", "loras.1.weight: found the text 'x'; expected a number"),
        ("loras.0.weight={unet: {dwn: 1}}", "loras.0.weight.unet.dwn: unknown key; did you mean 'down'?"),
        ("merge={combination_type: ties}", "merge.density: missing; expected a number above 0 and at most 1"),
        ("nme=x", "nme: unknown key; did you mean 'name'?"),
        ("lora.0.weight=1", "lora: unknown key; did you mean 'loras'?"),
        ("loras.0.name=feng", "loras.1.name: 'feng' is the name of LoRA 0 already; "),
        ("loras.2.weight=1", "loras.2.weight: `loras` has 2 elements, so there is no 2; the first is 0"),
        ("loras.99999999999.weight=1", "loras.99999999999.weight: `loras` has no element named '99999999999'"),
        (
            "loras.fng.weight=1",
            "`loras` has no element named 'fng'; expected a number or 'ikea' or 'feng'; did you mean 'feng'?",
        ),
        ("name.x.y=1", "name.x.y: `name` is a value without parts, so it has no 'x'"),
        ("name=[", "name: not valid YAML: "),
        ("name=a\n---\nb", "name: not valid YAML: expected a single document"),
        ("name=!!binary x", "name: the tag !!binary is not read; remove it"),
        ("base={source: x, source: y}", "base.source: this key is given twice, first at 1:2"),
        ("base.revision=0123", "quote it, as in '0123'"),
    ],
)
def test_a_mistake_in_an_override(override, message):
    (only,) = report(TEXT, [override])
    assert message in only
    if not message.startswith("loras.1.name"):
        assert only.startswith(f"--set {' '.join(override.split())}: ")


def test_mistakes_of_overrides_and_of_the_file_come_in_one_report():
    lines = report(TEXT.replace("0.7", "x"), ["name=a/b", "loras.7.weight=1"])
    assert [line.split(": ")[0] for line in lines] == ["--set loras.7.weight=1", "--set name=a/b", "r.yaml:8:13"]


def test_an_override_can_mend_the_file():
    assert parsed(TEXT.replace("0.7", "!!binary x"), ["loras.0.weight=0.5"])
