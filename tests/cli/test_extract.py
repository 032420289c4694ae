"""`loramerge extract`: two models, one line."""

import json
import shutil

import foreign
import pytest
import single_files
import tiny
import truth
from canonical import adapter_of, base_of, deltas_of, files_of, fuse
from command_line import invoke, listing

from loramerge import load_adapter, load_base
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.outputs import ModelOutput


@pytest.fixture(scope="module")
def pairs():
    return foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True)


@pytest.fixture(scope="module")
def workspace(pairs, tmp_path_factory):
    place = tmp_path_factory.mktemp("workspace")
    shutil.copytree(tiny.folder("sd15"), place / "base")
    (place / "tuned").mkdir()
    files = PipelineFiles(place / "base", tuple(files_of(place / "base")), None)
    fuse(files, base_of("sd15"), adapter_of(pairs), ModelOutput(kind="model"), place / "tuned")
    single_files.write(single_files.checkpoint("sd15", place / "tuned"), place / "tuned.safetensors")
    return place


@pytest.fixture
def models(workspace, monkeypatch, tmp_path):
    """The current folder, with a base and a model that was trained from it."""
    for each in workspace.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_for_comfyui_and_a1111(models, pairs):
    done = invoke("extract", "tuned", "base", "--rank", "4", "-o", "style.safetensors")
    assert done.exit_code == 0, done.output
    found = load_adapter("style.safetensors", load_base("base"))
    assert truth.relative_error(deltas_of(found), foreign.deltas(pairs)) <= 1e-5
    rows = dict(line.strip().split(None, 1) for line in done.stdout.splitlines() if line.startswith("  "))
    assert rows["extracted"] == "tuned less base"
    assert rows["kept"].startswith("100.0% of the squared norm; relative error ")
    assert rows["format"] == "kohya, float32, for ComfyUI and A1111"
    assert "modules that are equal in both models are left out" in done.stderr
    assert sorted(listing(models)) == ["base", "style.safetensors", "tuned", "tuned.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("--format", "comfyui", "--fp16"), "x.safetensors"),
        (("--format", "diffusers", "--dtype", "bfloat16"), "x.safetensors"),
        ((), "x"),
    ],
)
def test_formats(models, pairs, arguments, place):
    done = invoke("extract", "tuned.safetensors", "base", "--energy", "0.999999", "-o", place, *arguments)
    assert done.exit_code == 0, done.output
    found = load_adapter(place, load_base("base"))
    assert truth.relative_error(deltas_of(found), foreign.deltas(pairs)) <= 0.01


def test_as_json_with_ranks_by_component(models, parsed):
    facts = parsed(invoke("extract", "tuned", "base", "--rank", "unet=2", "-o", "x.safetensors", "--json"))
    assert facts["ranks"] == [2]
    (lora,) = facts["loras"]
    assert {*lora["extraction"]["components"]} == {"unet"}
    assert 0 < lora["extraction"]["error"] < 1
    assert lora["extraction"]["unwanted"]["text_encoder"] > 0
    entry = next(iter(lora["extraction"]["modules"]["unet"].values()))
    assert {*entry} == {"rank", "norm", "residual", "error"}


def test_the_printed_recipe_is_the_same_lora(models):
    arguments = (
        "extract",
        "tuned",
        "base",
        "--rank",
        "unet=4,text_encoder=2",
        "--energy",
        "0.9",
        "-o",
        "x.safetensors",
    )
    (models / "x.yaml").write_text(invoke(*arguments, "--recipe").stdout)
    assert invoke(*arguments).exit_code == 0
    first = (models / "x.safetensors").read_bytes()
    assert invoke(*arguments).exit_code == 1
    assert invoke(*arguments, "--force").exit_code == 0
    assert (models / "x.safetensors").read_bytes() == first
    assert invoke("run", "x.yaml").exit_code == 0
    assert invoke("verify", "dist/x", "--rebuild", "--recipe", "x.yaml").exit_code == 0


BAD = {
    "no size": (("tuned", "base"), 64, "--rank N, or --energy SHARE"),
    "no rank": (("tuned", "base", "--rank", "unet"), 64, "'unet' is no rank of a component"),
    "twice": (("tuned", "base", "--rank", "unet=2,unet=4"), 64, "'unet=4' is no rank of a component"),
    "rank 0": (("tuned", "base", "--rank", "0"), 64, "loras.0.extract.rank: found the number 0"),
    "no share": (("tuned", "base", "--energy", "0"), 64, "0 is not in the range"),
    "a family": (("tuned", "sd15", "--rank", "4"), 64, "sd15 is a family's name, and its weights are needed"),
    "a pickle": (("tuned.ckpt", "base", "--rank", "4"), 64, "a pickle can run code"),
    "nowhere": (("nowhere", "base", "--rank", "4"), 4, "there is no file or folder"),
    "no component": (("tuned", "base", "--rank", "vae=4"), 5, "base has no vae, for which a rank is given"),
    "equal": (("base", "base", "--rank", "4"), 5, "there is nothing to extract"),
    "a file for peft": (("tuned", "base", "--rank", "4", "--format", "peft"), 64, "the format peft is a folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_lora_is_refused(models, case):
    arguments, code, message = BAD[case]
    done = invoke("extract", *arguments, "-o", "x.safetensors")
    assert done.exit_code == code, done.output
    assert message in " ".join(done.stderr.split())
    assert not (models / "x.safetensors").exists()
    said = json.loads(invoke("extract", *arguments, "-o", "x.safetensors", "--json").stdout)
    assert said["error"]["exit_code"] == code


def test_an_input_is_never_replaced(models):
    done = invoke("extract", "tuned.safetensors", "base", "--rank", "4", "-o", "tuned.safetensors", "--force")
    assert done.exit_code == 1
    assert "tuned.safetensors is one of" in done.stderr
