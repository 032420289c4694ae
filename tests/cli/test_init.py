from __future__ import annotations

import re
import shutil
from pathlib import Path

import foreign
import published
import pytest
import yaml
from command_line import invoke
from hypothesis import given
from hypothesis import strategies as st

from loramerge import recipe
from loramerge.documents import yaml_document
from loramerge.errors import ExitCode
from loramerge.recipe.init import COMBINATION_TYPES, InitialLora, names_for, recipe_text, source_from


def write_peft(pairs, folder):
    for component, modules in pairs.items():
        foreign.write_peft(modules, folder / component)


@pytest.mark.parametrize("combination_type", COMBINATION_TYPES)
def test_every_type_makes_a_recipe(combination_type):
    loras = [InitialLora("ink", "ink.safetensors", 4), InitialLora("glow", "hf://owner/glow", None)]
    base = {"source": "hf://owner/model"}
    text = recipe_text("both", base, loras, combination_type, "kohya", run_line="loramerge run both.yaml")
    read = recipe.parse(text, origin="both.yaml", folder=Path())
    assert read.merge.combination_type == combination_type
    assert [(lora.name, lora.source, lora.rank) for lora in read.loras] == [
        (lora.name, lora.source, lora.rank) for lora in loras
    ]
    assert text.startswith("# loramerge run both.yaml\n")


@given(st.text(min_size=1), st.text(min_size=1))
def test_whatever_a_source_is_called_comes_back(base, source):
    text = recipe_text("x", {"source": base}, [InitialLora("ink", source, None)], "cat", "kohya", run_line="")
    if not re.search(r"[\ud800-\udfff]", base + source):
        data = yaml_document.load(text, origin="x").data
        assert (data["base"]["source"], data["loras"][0]["source"]) == (base, source)


@pytest.mark.parametrize("name", ["08", "1e3", "on", "null", "0x1f", "1_000", "12:30"])
def test_a_name_is_text_to_readers_of_yaml_1_1_and_1_2(name):
    text = recipe_text(name, {"source": "on"}, [InitialLora(name, name, None)], "cat", "kohya", run_line="")
    for data in (yaml_document.load(text, origin="x").data, yaml.safe_load(text)):
        assert (data["name"], data["loras"][0]["name"], data["loras"][0]["source"]) == (name, name, name)


@pytest.mark.parametrize(
    ("references", "names"),
    [
        (["ink.safetensors", "loras/glow_v1.5.safetensors"], ("ink", "glow_v1.5")),
        (["hf://owner/ink-lora", "hf://owner/glow/feng v2.safetensors"], ("ink-lora", "feng-v2")),
        (["a/x.safetensors", "b/x.safetensors", "c/X.safetensors"], ("x", "x-2", "X-3")),
        (["hf://owner/ink/pytorch_lora_weights.safetensors", "peft/ink/unet/"], ("ink", "ink-2")),
        (["https://example.org/files/fox.safetensors?download=true"], ("fox",)),
        (["..", "ÄÖ.safetensors", "-"], ("lora", "AO", "lora-2")),
    ],
)
def test_names_after_files(references, names):
    assert names_for(references) == names


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_names_are_always_names_and_never_the_same(references):
    names = names_for(references)
    assert len({name.casefold() for name in names}) == len(references)
    assert all(re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name) for name in names)


def test_sources_start_at_the_recipe(here):
    assert source_from("loras/ink.safetensors", Path("recipes")) == "../loras/ink.safetensors"
    assert source_from("loras/ink.safetensors", Path()) == "loras/ink.safetensors"
    absolute = str(here / "ink.safetensors")
    for elsewhere in ("hf://owner/ink", "https://example.org/x.safetensors", "~/ink.safetensors", absolute):
        assert source_from(elsewhere, Path("recipes")) == elsewhere


def test_sources_start_at_a_folder_that_a_link_leads_to(here):
    (here / "kept" / "recipes").mkdir(parents=True)
    (here / "recipes").symlink_to("kept/recipes")
    (here / "ink.safetensors").touch()
    assert (Path("recipes") / source_from("ink.safetensors", Path("recipes"))).samefile("ink.safetensors")


def test_a_recipe_for_two_loras(here, models):
    result = invoke("init", models.ink, models.glow, "--base", models.base)
    assert (result.exit_code, result.stdout) == (ExitCode.DONE, "")
    *progress, last = result.stderr.splitlines()
    assert progress == ["ink-glow: resolve …", "ink-glow: load …", "ink-glow: read …"]
    assert last == "wrote ink-glow.yaml; next: loramerge run ink-glow.yaml"
    read = recipe.read("ink-glow.yaml")
    assert read.name == "ink-glow"
    assert [(lora.name, lora.rank, lora.weight) for lora in read.loras] == [("ink", 4, 1.0), ("glow", 8, 1.0)]
    assert [lora.source for lora in read.loras] == [str(models.ink), str(models.glow)]
    assert read.base.source == str(models.base)
    assert invoke("validate", "ink-glow.yaml").exit_code == ExitCode.DONE


FORMATS = {"kohya": foreign.write_kohya, "diffusers": foreign.write_diffusers, "peft": write_peft}


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        (["kohya", "kohya"], "kohya"),
        (["diffusers", "diffusers"], "diffusers"),
        (["peft", "peft"], "peft"),
        (["peft", "diffusers"], "kohya"),
    ],
)
def test_without_a_base_the_loras_tell_their_family_and_the_format(here, formats, expected):
    places = []
    for seed, name in enumerate(formats):
        places.append(f"{seed}-{name}" + ("" if name == "peft" else ".safetensors"))
        FORMATS[name](published.lora("sd15", seed=seed), here / places[-1])
    result = invoke("init", *places, "--name", "both")
    assert result.exit_code == ExitCode.DONE, result.output
    read = recipe.read("both.yaml")
    assert (read.base.family, read.base.source) == ("sd15", None)
    assert [lora.source for lora in read.loras] == places
    assert read.folders == (expected,)
    assert "needs the base's `source:`" in read.text


def test_a_family_as_the_base(here):
    foreign.write_kohya(published.lora("sd15", seed=0), here / "a.safetensors")
    assert invoke("init", "a.safetensors", "--base", "sd15").exit_code == ExitCode.DONE
    assert recipe.read("a.yaml").base.family == "sd15"
    assert invoke("init", "a.safetensors", "--base", "sdxl", "-o", "b.yaml").exit_code == ExitCode.MISMATCH
    assert not (here / "b.yaml").exists()


def test_printed_instead(here, models):
    result = invoke("init", models.ink, models.glow, "--base", models.base, "-o", "-", "--type", "ties_svd")
    assert recipe.parse(result.stdout, origin="-", folder=here).merge.combination_type == "ties_svd"
    assert list(here.iterdir()) == []


def test_a_type_that_can_not_take_the_loras_is_refused_at_once(here, models):
    for arguments in ((models.ink, "--type", "ties_svd"), (models.ink, models.glow, "--type", "ties")):
        result = invoke("init", *arguments, "--base", models.base)
        assert result.exit_code == ExitCode.MISMATCH
        assert "`cat`" in result.stderr
    assert list(here.iterdir()) == []


def test_a_recipe_elsewhere_under_another_name(here, models):
    (here / "recipes").mkdir()
    shutil.copy(models.ink, here / "ink.safetensors")
    arguments = ("init", "ink.safetensors", "--base", models.base, "--name", "drawn", "-o", "recipes/x.yaml")
    assert invoke(*arguments).exit_code == ExitCode.DONE
    read = recipe.read("recipes/x.yaml")
    assert (read.name, read.loras[0].source) == ("drawn", "../ink.safetensors")
    assert read.text.startswith("# loramerge run recipes/x.yaml\n")


def test_nothing_is_overwritten(here, models):
    (here / "ink.yaml").write_text("mine")
    result = invoke("init", models.ink, "--base", models.base)
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.splitlines()[0] == "error: ink.yaml exists"
    assert (here / "ink.yaml").read_text() == "mine"
    assert invoke("init", models.ink, "--base", models.base, "--force").exit_code == ExitCode.DONE
    assert recipe.read("ink.yaml").name == "ink"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.safetensors"], ExitCode.BAD_SOURCE, "there is no file or folder"),
        (["{ink}", "--base", "./nowhere"], ExitCode.BAD_SOURCE, "there is no file or folder"),
        (["{ink}", "--base", "nowhere"], ExitCode.USAGE, "--base nowhere: neither a folder nor a family"),
        (["{ink}", "--base", "sdx"], ExitCode.USAGE, "did you mean 'sdxl'?"),
        (["{ink}", "--name", "not a name"], ExitCode.USAGE, "name: "),
        (["{ink}", "-o", "nowhere/x.yaml"], ExitCode.FAILED, "nowhere/x.yaml can't be written: "),
        (["{ink}", "-o", "nowhere/x.yaml"], ExitCode.FAILED, "hint: there is no folder nowhere"),
        (["{ink}", "-o", "x.safetensors"], ExitCode.USAGE, "a recipe is called NAME.yaml\nhint: -o x.yaml"),
        (["{ink}", "-o", "my x.txt"], ExitCode.USAGE, "hint: -o 'my x.yaml'"),
        (["{ink}", "-o", "."], ExitCode.USAGE, "a recipe is called NAME.yaml\nhint: -o ink.yaml"),
        (["{ink}:0.7"], ExitCode.USAGE, "no weights are taken here; name "),
        (["{ink}", "--base", ""], ExitCode.USAGE, "--base '': neither a folder nor a family"),
        (["{ink}", "--type", "cut"], ExitCode.USAGE, "Invalid value for '--type'"),
        ([], ExitCode.USAGE, "Missing argument 'LORA...'"),
    ],
)
def test_what_can_not_be_made(here, models, arguments, code, message):
    given_arguments = [argument.format(ink=models.ink) for argument in arguments]
    base = [] if "--base" in arguments else ["--base", models.base]
    result = invoke("init", *given_arguments, *base)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert list(here.iterdir()) == []


def test_an_input_is_never_overwritten(here, models):
    shutil.copy(models.ink, here / "ink.safetensors")
    before = (here / "ink.safetensors").read_bytes()
    result = invoke("init", "ink.safetensors", "--base", models.base, "-o", "ink.safetensors", "--force")
    assert result.exit_code == ExitCode.USAGE
    assert (here / "ink.safetensors").read_bytes() == before


def test_the_next_command_can_be_copied(here, models):
    result = invoke("init", models.ink, "--base", models.base, "-o", "my recipe.yaml")
    assert result.stderr.endswith("next: loramerge run 'my recipe.yaml'\n")
    assert (here / "my recipe.yaml").read_text().startswith("# loramerge run 'my recipe.yaml'\n")
