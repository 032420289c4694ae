"""A fine-tune that is merged like a LoRA, as a user has it: from the recipe to `verify --rebuild`."""

import json
import shutil

import foreign
import pytest
import single_files
import tiny
import torch
import truth
from canonical import adapter_of, base_of, deltas_of, files_of, fuse
from command_line import invoke, write_recipe
from safetensors import safe_open

from loramerge import load_adapter, load_base, read_recipe, run
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.errors import ExitCode, InvalidRecipeError, MismatchError, SourceError
from loramerge.extraction import difference
from loramerge.files.digest import sha256_of
from loramerge.outputs import ModelOutput
from loramerge.stages import extract as stage

pytestmark = pytest.mark.slow

TUNED = {"extract": {"from": "tuned", "rank": 4}}


@pytest.fixture(scope="module")
def pairs():
    return foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True)


@pytest.fixture(scope="module")
def workspace(pairs, tmp_path_factory):
    """A base, the same with one LoRA fused in, as folder and file, and another LoRA."""
    place = tmp_path_factory.mktemp("workspace")
    shutil.copytree(tiny.folder("sd15"), place / "base")
    (place / "tuned").mkdir()
    files = PipelineFiles(place / "base", tuple(files_of(place / "base")), None)
    fuse(files, base_of("sd15"), adapter_of(pairs), ModelOutput(kind="model"), place / "tuned")
    single_files.write(single_files.checkpoint("sd15", place / "tuned"), place / "tuned.safetensors")
    ink = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=5, few=True)
    foreign.write_diffusers(ink, place / "ink.safetensors")
    return place


@pytest.fixture
def here(workspace, tmp_path, monkeypatch):
    shutil.copytree(workspace, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    stage._latest.clear()
    return tmp_path / "here"


def recipe(here, lora=TUNED, name="small", **more):
    loras = {"tune": lora, "ink": {"source": "ink.safetensors", "weight": 0.5}}
    given = {"outputs": [{"kind": "adapter", "format": "kohya"}], "merge": {"combination_type": "cat"}, **more}
    return write_recipe(here, name=name, base="base", loras=loras, **given)


def test_from_run_to_rebuild(here, pairs):
    path = recipe(here, outputs=[{"kind": "adapter", "format": "kohya"}, {"kind": "inputs"}])
    assert invoke("lock", path).exit_code == ExitCode.DONE
    assert "unet/diffusion_pytorch_model.safetensors" in (here / "small.lock.yaml").read_text()
    assert invoke("plan", path).exit_code == ExitCode.CHANGES_PENDING
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    assert "LoRA tune: extracted from tuned, as the difference from base; it keeps 100.0%" in done.stderr
    out = here / "dist" / "small"
    base = load_base("base")
    ink = deltas_of(load_adapter("ink.safetensors", base))
    merged = deltas_of(load_adapter(out / "kohya" / "small.safetensors", base))
    assert truth.relative_error(merged, truth.weighted_sum([(foreign.deltas(pairs), 1.0), (ink, 0.5)])) <= 1e-5
    definition = json.loads((out / "provenance.json").read_text())["predicate"]["buildDefinition"]
    roles = {each["uri"]: each["annotations"]["role"] for each in definition["resolvedDependencies"]}
    assert roles["tuned/unet/diffusion_pytorch_model.safetensors"] == "tuned model"
    assert roles["base/unet/diffusion_pytorch_model.safetensors"] == "base"
    assert not [uri for uri in roles if "tokenizer" in uri]
    assert "inputs" in definition["internalParameters"]["bytesDependOnEnvironment"]
    with safe_open(out / "kohya" / "small.safetensors", "pt") as file:
        made_of = json.loads(file.metadata()["loramerge.inputs"])
    assert {*made_of["tune"]} > {"tuned/unet/config.json", "base/unet/diffusion_pytorch_model.safetensors"}
    report = json.loads((out / "report.json").read_text())
    assert report["loras"][0]["extraction"]["error"] <= 1e-5
    assert invoke("plan", path).exit_code == ExitCode.DONE
    assert invoke("verify", out).exit_code == ExitCode.DONE
    stage._latest.clear()
    again = invoke("verify", out, "--rebuild", "--recipe", path, "--json")
    assert again.exit_code == ExitCode.DONE, again.output
    (verified,) = json.loads(again.stdout)
    assert "kohya/small.safetensors" in verified["rebuilt"]["identical"]
    assert verified["rebuilt"]["within_tolerance"] == {}


def test_a_file_is_extracted_as_a_folder_is(here):
    folder = run(read_recipe(recipe(here)), out=here / "folder", device="cpu")
    file = run(read_recipe(recipe(here, {"extract": {"from": "tuned.safetensors", "rank": 4}})), out=here / "file")
    with (
        safe_open(folder.artifact / "kohya" / "small.safetensors", "pt") as one,
        safe_open(file.artifact / "kohya" / "small.safetensors", "pt") as other,
    ):
        assert {*one.keys()} == {*other.keys()}
        assert all(torch.equal(one.get_tensor(key), other.get_tensor(key)) for key in one.keys())  # noqa: SIM118


def test_a_changed_model_is_refused_and_planned(here):
    path = recipe(here)
    assert invoke("lock", path).exit_code == ExitCode.DONE
    weights = here / "tuned" / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused = invoke("run", path)
    assert refused.exit_code == ExitCode.BAD_SOURCE
    assert "loras.tune (tuned): unet/diffusion_pytorch_model.safetensors has" in " ".join(refused.output.split())
    assert invoke("lock", path, "--check").exit_code == ExitCode.BAD_SOURCE


def test_recipes_of_one_call_read_the_models_once(here, monkeypatch):
    read, seen = difference._numbers_of, []
    monkeypatch.setattr(difference, "_numbers_of", lambda placed: seen.append(placed.shown) or read(placed))
    files = [recipe(here, name=name, outputs=[{"kind": "inputs"}]) for name in ("one", "two")]
    for file in files:
        run(read_recipe(file), out=here / file.stem, device="cpu")
    assert len(seen) == len({*seen})
    lora = {"extract": {"from": "tuned", "rank": 3}}
    run(read_recipe(recipe(here, lora, name="three")), out=here / "three", device="cpu")
    assert len(seen) == 2 * len({*seen})


def test_a_model_of_the_hub_at_its_commit(here, hub):
    files = {each: (here / "tuned" / each).read_bytes() for each in files_of(here / "tuned")}
    hub.repository("me/tuned", files=files)
    path = recipe(here, {"extract": {"from": "hf://me/tuned", "rank": 4}})
    assert invoke("lock", path).exit_code == ExitCode.DONE
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    definition = json.loads((here / "dist" / "small" / "provenance.json").read_text())["predicate"]["buildDefinition"]
    (entry, _) = definition["externalParameters"]["recipe"]["loras"]
    assert len(entry["extract"]["revision"]) == 40
    assert sha256_of(here / "dist" / "small" / "kohya" / "small.safetensors")


@pytest.mark.parametrize(
    ("lora", "match"),
    [
        ({}, r"loras\.0\.source: missing; expected hf://owner/name, a path, https://…, oci:.*, or `extract:`"),
        ({"source": "x", **TUNED}, r"loras\.0\.source: the LoRA is extracted from `extract\.from`; leave out one"),
        ({"extract": {"from": "tuned"}}, r"loras\.0\.extract: it says not how large .* add `rank: 32`, or `energy"),
        ({**TUNED, "revision": "main"}, r"loras\.0\.revision: .* as `extract\.revision`"),
        ({**TUNED, "rank": 4}, r"loras\.0\.rank: .* `extract\.rank` says how large"),
        ({"extract": {"from": "a.ckpt", "rank": 4}}, r"loras\.0\.extract\.from: a\.ckpt is refused: a pickle"),
        ({"extract": {"from": "https://x/y.safetensors", "rank": 4}}, r"loras\.0\.extract\.sha256: .*required"),
        ({"extract": {"from": "tuned", "rank": 0}}, r"loras\.0\.extract\.rank: found the number 0; expected a whole"),
        ({"extract": {"from": "tuned", "rank": {"unet": "x"}}}, r"loras\.0\.extract\.rank\.unet: found the text 'x'"),
        ({"extract": {"from": "tuned", "energy": 2.0}}, r"loras\.0\.extract\.energy: found the number 2\.0"),
        ({"extract": {"form": "tuned", "rank": 4}}, r"loras\.0\.extract\.form: unknown key; did you mean 'from'"),
        (
            {"extract": {"from": "a.safetensors", "rank": 4, "variant": "fp16"}},
            r"loras\.0\.extract\.variant: the model is one file",
        ),
    ],
)
def test_what_a_recipe_may_not_say(here, lora, match):
    with pytest.raises(InvalidRecipeError, match=match):
        read_recipe(recipe(here, lora))


@pytest.mark.parametrize("base", ["base: {family: sd15}\n", ""])
def test_the_base_has_to_have_weights(here, base):
    path = recipe(here)
    text = path.read_text()
    path.write_text(text.replace("base:\n  source: base\n", base))
    assert path.read_text() != text
    with pytest.raises(InvalidRecipeError, match=r"loras\.0\.extract: a difference needs the base's weights"):
        read_recipe(path)


def test_a_model_that_is_not_there_is_said_by_validate(here):
    refused = invoke("validate", recipe(here, {"extract": {"from": "nowhere", "rank": 4}}))
    assert "loras.0.extract.from: nowhere: there is no file or folder" in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("tuned", "error", "match"),
    [
        ("ink.safetensors", SourceError, "is a LoRA, and a whole model is wanted"),
        ("sdxl.safetensors", MismatchError, r"is not the .* that the base is, base: .* is \d\S+ and should be \d"),
        ("base", MismatchError, "nothing to extract: base and base are equal"),
    ],
)
def test_what_is_no_model_trained_from_the_base_is_refused(here, tuned, error, match):
    single_files.write(single_files.checkpoint("sdxl", tiny.folder("sdxl")), here / "sdxl.safetensors")
    with pytest.raises(error, match=match):
        run(read_recipe(recipe(here, {"extract": {"from": tuned, "rank": 4}})), out=here / "out", device="cpu")
    assert not (here / "out").exists()
