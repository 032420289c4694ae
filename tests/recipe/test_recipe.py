from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sample_recipe import TEXT, parsed, report, small

from loramerge.bases.blocks import COMPONENTS
from loramerge.documents.problems import Origin, Problem, RecipeProblemsError
from loramerge.documents.text import MAX_BYTES
from loramerge.documents.yaml_document import dump
from loramerge.errors import ExitCode, InvalidRecipeError
from loramerge.formats import FORMATS, PeftOutput
from loramerge.methods import METHODS, Cat, DareLinear
from loramerge.outputs import InputsOutput, PipelineOutput
from loramerge.recipe import Recipe, parse, read
from loramerge.recipe.weights import ComponentWeights

WHOLE = """\
# loramerge run recipes/ikea-feng.yaml
version: 1
name: ikea-feng
description: Kawaii ramen bears, by Feng Zikai, with assembly instructions.
base:
  source: hf://stabilityai/stable-diffusion-xl-base-1.0
  revision: main
  variant: fp16
loras:
  - name: ikea
    source: hf://ostris/ikea-instructions-lora-sdxl/ikea_instructions_xl_v1_5.safetensors
    rank: 16
    weight: 0.7
  - name: feng
    source: https://example.org/fengzikai.safetensors
    sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    weight:
      unet: {down: {block_1: 0.3, block_2: [0.1, 0.2]}, mid: 1, up: 0.5}
      text_encoder: 0.5
    unmatched: skip
merge:
  combination_type: dare_linear
  density: 0.7
  seed: 3
outputs:
  - {kind: adapter, format: peft, dtype: float16}
  - {kind: adapter, format: kohya}
  - {kind: adapter, format: diffusers, name: for-diffusers}
  - {kind: pipeline, dtype: float16, lora_scale: 1.0, max_shard_size: 5GB}
  - kind: inputs
publish:
  - {kind: folder, path: ~/ComfyUI/models/loras, outputs: [kohya, for-diffusers]}
preview:
  prompts: [a bear eating ramen]
  seeds: [0, 1]
  width: 1024
"""


def test_a_whole_recipe():
    recipe = parsed(WHOLE)
    assert recipe.base.variant == "fp16"
    assert [lora.name for lora in recipe.loras] == ["ikea", "feng"]
    assert recipe.loras[0].weight == 0.7
    assert isinstance(recipe.loras[1].weight, ComponentWeights)
    assert recipe.loras[1].weight.model_dump(exclude_unset=True) == {
        "unet": {"down": {"block_1": 0.3, "block_2": (0.1, 0.2)}, "mid": 1.0, "up": 0.5},
        "text_encoder": 0.5,
    }
    assert recipe.merge == DareLinear(combination_type="dare_linear", density=0.7, seed=3)
    assert [output.folder for output in recipe.outputs] == ["peft", "kohya", "for-diffusers", "pipeline", "inputs"]
    assert isinstance(recipe.outputs[0], PeftOutput)
    assert isinstance(recipe.outputs[3], PipelineOutput)
    assert isinstance(recipe.outputs[4], InputsOutput)
    assert recipe.publish[0].outputs == ("kohya", "for-diffusers")
    assert recipe.preview is not None
    assert recipe.preview.seeds == (0, 1)


def test_what_is_left_out_has_a_default():
    recipe = parsed(TEXT)
    assert recipe.description == ""
    assert recipe.base.revision is None
    assert recipe.loras[1].weight == 1.0
    assert recipe.loras[1].unmatched == "error"
    assert recipe.merge == Cat(combination_type="cat")
    assert recipe.outputs[0].dtype == "float32"
    assert recipe.publish == ()
    assert recipe.preview is None


def test_a_recipe_never_changes():
    with pytest.raises(ValidationError, match="frozen"):
        parsed(TEXT).name = "other"


def test_a_recipe_knows_where_it_was_read(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(TEXT)
    recipe = read(file)
    assert recipe.folder == tmp_path
    assert recipe.text == TEXT
    assert read(str(file)) == recipe


def test_the_folder_is_absolute(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "r.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert read("recipes/r.yaml").folder == tmp_path / "recipes"


def test_where_a_recipe_was_read_is_no_part_of_it(tmp_path):
    (tmp_path / "r.yaml").write_text(f"# a comment\n{TEXT}")
    recipe = read(tmp_path / "r.yaml")
    assert recipe == parsed(TEXT)
    assert recipe.model_dump() == parsed(TEXT).model_dump()
    assert set(Recipe.model_json_schema()["properties"]) == set(recipe.model_dump())


def test_standard_input():
    code = "from loramerge.recipe import read; r = read('-'); print(r.name, r.folder, len(r.text))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=TEXT, capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.split() == ["ikea-feng", str(Path.cwd()), str(len(TEXT))]


def test_problems_of_standard_input_are_called_so():
    code = "from loramerge.recipe import read; read('-')"
    done = subprocess.run([sys.executable, "-c", code], input="a: 1", capture_output=True, text=True, check=False)
    assert "<stdin>:1:1: a: unknown key" in done.stderr


def test_a_recipe_made_in_python_has_a_text_and_a_folder():
    recipe = Recipe.model_validate(small())
    assert recipe.folder == Path.cwd()
    assert parsed(recipe.text) == recipe


def test_python_gets_the_same_checks():
    twice = small()
    twice["loras"][1]["name"] = "ikea"
    with pytest.raises(ValidationError, match="'ikea' is the name of LoRA 0 already") as caught:
        Recipe.model_validate(twice)
    assert caught.value.errors()[0]["loc"] == ("loras", 1, "name")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1:1: empty; expected a recipe"),
        (b"# nothing\n", ":1:1: empty; expected a recipe"),
        (b"- 1", ":1:1: no mapping; expected a recipe"),
        (b"name", ":1:1: no mapping; expected a recipe"),
        (b"a: \xff", ": not UTF-8 text (byte 4); save it as UTF-8"),
        ("name: x".encode("utf-16"), ": not UTF-8 text (byte 1); save it as UTF-8"),
        (b"#" * (MAX_BYTES + 1), ": larger than 256 KiB; a recipe is smaller"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, message):
    file = tmp_path / "r.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeProblemsError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}{message}")


def test_a_file_of_the_largest_size_is_read(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(TEXT + "#" * (MAX_BYTES - len(TEXT)))
    assert read(file).name == "ikea-feng"


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(InvalidRecipeError, match=r"none\.yaml: can't read the recipe: there is no such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(InvalidRecipeError, match="it is a folder, and no recipe"):
        read(tmp_path)
    with pytest.raises(InvalidRecipeError, match="can't read the recipe: embedded null"):
        read("a\0b")


@pytest.mark.skipif(os.name != "posix", reason="needs /dev/zero")
def test_an_endless_file_is_refused():
    with pytest.raises(InvalidRecipeError, match="it is a device, and only plain files are read"):
        read("/dev/zero")


def test_the_error_carries_its_problems():
    with pytest.raises(RecipeProblemsError) as caught:
        parsed(TEXT.replace("0.7", "heavy"))
    assert caught.value.exit_code == ExitCode.INVALID_RECIPE
    assert caught.value.problems == (
        Problem(
            Origin(8, 13, "r.yaml"),
            ("loras", 0, "weight"),
            "found the text 'heavy'; expected a number from -1000000 to 1000000 "
            f"or a mapping of {', '.join(f'`{name}`' for name in COMPONENTS)}",
        ),
    )


def test_importing_recipes_is_light():
    heavy = ["torch", "numpy", "diffusers", "peft", "transformers", "huggingface_hub", "safetensors", "PIL"]
    code = f"import sys, loramerge.recipe, loramerge.recipe.schema; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,9}[A-Za-z0-9])?", fullmatch=True)
NUMBERS = st.floats(-1e6, 1e6)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)
WEIGHTS = NUMBERS | st.fixed_dictionaries(
    {},
    optional={
        "unet": NUMBERS | st.just({"down": {"block_1": [0.5, 1]}, "mid": 0}),
        "transformer": NUMBERS | st.just({"blocks": {"0-9": 0.5, "12": 1}, "model.layers": [0.5, 1], "other": 0}),
        "text_encoder": NUMBERS | st.just({"attention": 0.5}),
    },
)
LORAS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES, "source": st.just("a.safetensors")}, optional={"weight": WEIGHTS, "rank": st.integers(1, 128)}
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda lora: lora["name"].casefold(),
)
RECIPES = st.builds(
    lambda loras, name, description: small(loras=loras, name=name, description=description), LORAS, NAMES, TEXTS
)


@pytest.mark.slow
@given(RECIPES)
@settings(deadline=None)
def test_a_recipe_survives_being_written_and_read(data):
    recipe = parsed(data)
    assert parsed(dump(recipe.model_dump(mode="json"))) == recipe
    assert Recipe.model_validate(recipe.model_dump()) == recipe


@pytest.mark.slow
@given(RECIPES)
@settings(deadline=None)
def test_a_recipe_that_pyyaml_wrote_can_be_read(data):
    text = yaml.safe_dump(parsed(data).model_dump(mode="json", exclude_unset=True), allow_unicode=True)
    # PyYAML writes YAML 1.1, where 0E0 and 08 are text and need no quotes; to a reader of 1.2 they are numbers
    assume(not re.search(r"(?m)[:-] [-+]?(?:[0-9.]+[eE][0-9]+|0[0-9]+)$", text))
    assert parsed(text) is not None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["peft", "cat"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "name", "x"]), inner),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [
        "version",
        "name",
        "description",
        "base",
        "base.source",
        "base.revision",
        "loras",
        "loras.0",
        "loras.0.name",
        "loras.0.source",
        "loras.0.weight",
        "loras.0.weight.unet",
        "loras.0.weight.unet.down",
        "loras.0.weight.unet.down.block_0",
        "loras.1.sha256",
        "merge",
        "merge.combination_type",
        "merge.density",
        "merge.seed",
        "outputs",
        "outputs.0",
        "outputs.0.kind",
        "outputs.0.format",
        "outputs.0.name",
        "publish",
        "publish.0",
        "publish.0.kind",
        "publish.0.outputs",
        "preview",
        "preview.prompts",
        "preview.width",
        "unknown",
    ]
)


@given(st.lists(st.tuples(PLACES, VALUES), max_size=4))
@settings(deadline=None)
def test_any_change_gives_a_recipe_or_a_report(changes):
    overrides = [f"{place}={yaml.safe_dump(value, default_flow_style=True)}" for place, value in changes]
    with suppress(RecipeProblemsError):
        assert parsed(TEXT, overrides).version == 1


@given(st.data())
@settings(deadline=None)
def test_any_damage_to_the_text_gives_a_recipe_or_a_report(data):
    begin = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(begin, min(len(WHOLE), begin + 30)))
    text = WHOLE[:begin] + data.draw(st.text(max_size=10)) + WHOLE[end:]
    with suppress(RecipeProblemsError):
        assert parsed(text).version == 1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_every_method_can_be_asked_for(method):
    name = method.model_fields["combination_type"].annotation.__args__[0]
    needed = {"density": 0.5} if "density" in method.model_fields else {}
    assert type(parsed(small(merge={"combination_type": name, **needed})).merge) is method


@pytest.mark.parametrize("output", FORMATS, ids=lambda output: output.__name__)
def test_every_format_can_be_asked_for(output):
    name = output.model_fields["format"].annotation.__args__[0]
    assert type(parsed(small(outputs=[{"kind": "adapter", "format": name}])).outputs[0]) is output


def test_one_report_has_all_mistakes_in_the_order_of_the_file():
    text = """\
version: 1
nam: x
base: {source: "http://example.org/x", revision: 0123456}
loras:
  - {name: a, source: a.safetensors, weight: .nan}
  - {name: a, source: x.ckpt}
  - {name: a, name: b, source: "https://example.org/c.safetensors"}
merge: {combination_type: cat, density: 0.5}
outputs:
  - {kind: adapter, format: kohia}
  - {kind: pipeline, dtype: fp16}
publish:
  - {kind: folder, path: x, outputs: [pipelin]}
"""
    assert [line.split(" ", 2)[:2] for line in report(text)] == [
        ["r.yaml:1:1:", "name:"],
        ["r.yaml:2:1:", "nam:"],
        ["r.yaml:3:16:", "base.source:"],
        ["r.yaml:3:50:", "base.revision:"],
        ["r.yaml:5:46:", "loras.0.weight:"],
        ["r.yaml:6:12:", "loras.1.name:"],
        ["r.yaml:6:23:", "loras.1.source:"],
        ["r.yaml:7:5:", "loras.2.sha256:"],
        ["r.yaml:7:12:", "loras.2.name:"],
        ["r.yaml:7:15:", "loras.2.name:"],
        ["r.yaml:8:32:", "merge.density:"],
        ["r.yaml:10:29:", "outputs.0.format:"],
        ["r.yaml:11:29:", "outputs.1.dtype:"],
        ["r.yaml:13:39:", "publish.0.outputs.0:"],
    ]


@pytest.mark.parametrize(
    "spelled",
    [
        "https://example.com/a.safetensors?token=hunter3",
        '"https://example.com/a.safetensors\\x3ftoken=hunter3"',
    ],
)
def test_what_may_be_a_token_in_an_address_is_not_in_the_recipes_text(spelled, tmp_path):
    text = (
        f"# mine\nversion: 1\nname: x\nbase: {{source: hf://o/n}}\nloras:\n  - name: a\n    source: {spelled}\n"
        f"    sha256: {'a' * 64}\nmerge: {{combination_type: cat}}\noutputs: [{{kind: adapter, format: kohya}}]\n"
    )
    recipe = parse(text, origin="x.yaml", folder=tmp_path)
    assert recipe.loras[0].source.endswith("?token=hunter3")
    assert "hunter" not in recipe.text
    again = parse(recipe.text, origin="x.yaml", folder=tmp_path)
    assert again.loras[0].source == "https://example.com/a.safetensors"
    assert again.secretive == ()
