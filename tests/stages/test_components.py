"""`components:` of a fused pipeline: another VAE, no safety checker, as diffusers loads them."""

import json
import shutil

import foreign
import pytest
import tiny
import torch
from command_line import invoke, write_recipe
from safetensors.torch import load_file, save_file

from loramerge import read_recipe, run
from loramerge.documents.problems import RecipeProblemsError
from loramerge.errors import ExitCode, MismatchError, SourceError
from loramerge.files.digest import sha256_of
from loramerge.lock.model import read as read_lock
from loramerge.lock.model import text as lock_text
from loramerge.stages.lock import lock as lock_sources

pytestmark = pytest.mark.slow

WEIGHTS = "diffusion_pytorch_model.safetensors"
OTHER = {"vae": "./vae", "safety_checker": None, "feature_extractor": None}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A base with a safety checker, another VAE, and a LoRA that touches both UNet and text encoder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny.folder("sd15"), "base")
    _add_safety_checker(tmp_path / "base")
    _other_vae(tmp_path / "vae")
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True)
    foreign.write_diffusers(pairs, tmp_path / "ink.safetensors")
    return tmp_path


def _add_safety_checker(base):
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    tiny_clip = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {**tiny_clip, "image_size": 32, "patch_size": 16, "projection_dim": 4}
    config = CLIPConfig(vision_config=vision, text_config={**tiny_clip, "vocab_size": 8}, projection_dim=4)
    StableDiffusionSafetyChecker(config).save_pretrained(base / "safety_checker")
    CLIPImageProcessor(size=32, crop_size=32).save_pretrained(base / "feature_extractor")
    index = json.loads((base / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (base / "model_index.json").write_text(json.dumps(index | {"requires_safety_checker": True}))


def _other_vae(folder, **settings):
    from diffusers import AutoencoderKL

    torch.manual_seed(9)
    known = AutoencoderKL.load_config(tiny.folder("sd15") / "vae")
    AutoencoderKL.from_config({**known, **settings}).save_pretrained(folder)


def recipe(here, components=OTHER, kind="model", **more):
    outputs = [{"kind": kind, "components": components, **more}]
    return write_recipe(here, base="base", loras={"ink": "ink.safetensors"}, outputs=outputs)


@pytest.mark.parametrize("kind", ["model", "pipeline"])
def test_diffusers_loads_the_other_vae_and_no_safety_checker(here, kind):
    from diffusers import DiffusionPipeline

    done = run(read_recipe(recipe(here, kind=kind)), out=here / "out", device="cpu")
    folder = here / "out" / kind
    assert (folder / "vae" / WEIGHTS).read_bytes() == (here / "vae" / WEIGHTS).read_bytes()
    assert not (folder / "safety_checker").exists()
    assert not (folder / "feature_extractor").exists()
    index = json.loads((folder / "model_index.json").read_text())
    assert index["safety_checker"] == index["feature_extractor"] == [None, None]
    assert index["vae"] == ["diffusers", "AutoencoderKL"]
    assert index["requires_safety_checker"] is False
    assert f"output {kind}: its vae is that of ./vae" in done.warnings
    assert f"output {kind}: it is written without safety_checker, feature_extractor" in done.warnings
    pipeline = DiffusionPipeline.from_pretrained(folder)
    assert pipeline.safety_checker is None
    want = load_file(here / "vae" / WEIGHTS)
    have = pipeline.vae.state_dict()
    assert all(torch.equal(have[name], each) for name, each in want.items())


def test_all_else_is_what_it_is_without_them(here):
    for name, more in {"with": {"components": {"vae": "./vae"}}, "without": {}}.items():
        path = write_recipe(here, base="base", loras={"ink": "ink.safetensors"}, outputs=[{"kind": "model", **more}])
        run(read_recipe(path), out=here / name, device="cpu")
    for file in (here / "without" / "model").rglob("*"):
        name = file.relative_to(here / "without")
        if file.is_file() and name.parts[1] != "vae":
            assert (here / "with" / name).read_bytes() == file.read_bytes(), name


def test_it_is_stated_verified_locked_and_made_again(here):
    path = recipe(here)
    assert invoke("lock", path).exit_code == ExitCode.DONE
    assert "model/vae:" in (here / "small.lock.yaml").read_text()
    assert "safety_checker/model.safetensors" not in (here / "small.lock.yaml").read_text()  # nobody needs it
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    out = here / "dist" / "small"
    stated = json.loads((out / "provenance.json").read_text())["predicate"]["buildDefinition"]["resolvedDependencies"]
    found = {each["uri"]: each for each in stated if each["annotations"]["role"] == "component"}
    assert set(found) == {"./vae/config.json", f"./vae/{WEIGHTS}"}
    entry = found[f"./vae/{WEIGHTS}"]
    assert entry["digest"]["sha256"] == sha256_of(here / "vae" / WEIGHTS)
    assert entry["annotations"]["component"] == "model/vae"
    again = invoke("verify", out, "--rebuild", "--recipe", path)
    assert again.exit_code == ExitCode.DONE, again.output
    assert invoke("plan", path).exit_code == ExitCode.DONE
    _other_vae(here / "vae", act_fn="relu")
    refused = invoke("verify", out, "--rebuild", "--recipe", path)
    assert refused.exit_code == ExitCode.BAD_SOURCE
    assert "outputs.model.components.vae (./vae): config.json has" in refused.output
    assert invoke("run", path, "--rebuild").exit_code == ExitCode.BAD_SOURCE
    (here / "small.lock.yaml").unlink()
    moved = invoke("plan", path)
    assert moved.exit_code == ExitCode.CHANGES_PENDING
    assert "outputs.model/vae: config.json changed" in moved.output.replace("\n", " ")


def test_one_of_the_hub_is_locked_to_its_commit_and_its_licence_counts(here, hub):
    files = {each.name: each.read_bytes() for each in (here / "vae").iterdir()}
    vae = hub.repository("me/vae", files={**files, "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n"})
    path = recipe(here, {"vae": "hf://me/vae"})
    assert invoke("lock", path).exit_code == ExitCode.DONE
    locked = read_lock(here / "small.lock.yaml").sources.beside["model/vae"]
    assert len(locked.commit) == 40
    assert locked.licence == "cc-by-nc-4.0"
    hub.store.write(vae, {"config.json": b"{}"})  # the branch moves on
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    out = here / "dist" / "small"
    assert (out / "model" / "vae" / WEIGHTS).read_bytes() == (here / "vae" / WEIGHTS).read_bytes()
    stated = json.loads((out / "provenance.json").read_text())["predicate"]["buildDefinition"]["resolvedDependencies"]
    found = {each["uri"] for each in stated if each["annotations"]["role"] == "component"}
    assert f"hf://me/vae@{locked.commit}/{WEIGHTS}" in found
    (here / "small.lock.yaml").unlink()
    moved = invoke("run", path, "--rebuild")
    assert moved.exit_code == ExitCode.BAD_SOURCE
    assert "does not say of which class it is" in " ".join(moved.output.split())


def test_a_lock_of_another_component_does_not_fit(here):
    one = read_recipe(recipe(here))
    locked = lock_sources(one)
    assert "components:\n    model/vae:" in lock_text(locked)
    with pytest.raises(SourceError, match=r"model/vae is not replaced, the lock has \./vae"):
        run(read_recipe(recipe(here, {"safety_checker": None, "feature_extractor": None})), lock=locked, out="out")


def test_one_that_is_not_the_locked_one_is_refused_and_nothing_is_written(here):
    path = recipe(here)
    assert invoke("lock", path).exit_code == ExitCode.DONE
    content = bytearray((here / "vae" / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (here / "vae" / WEIGHTS).write_bytes(content)
    refused = invoke("run", path)
    assert refused.exit_code == ExitCode.BAD_SOURCE
    assert f"outputs.model.components.vae (./vae): {WEIGHTS} has" in " ".join(refused.stderr.split())
    assert not (here / "dist").exists()


def test_a_pipeline_has_it_in_a_folder_and_a_dtype_counts_for_it(here):
    shutil.copytree(tiny.folder("sd15"), here / "donor")
    shutil.rmtree(here / "donor" / "vae")
    shutil.copytree(here / "vae", here / "donor" / "vae")
    run(read_recipe(recipe(here, {"vae": "donor"}, dtype="float16")), out=here / "out", device="cpu")
    have = load_file(here / "out" / "model" / "vae" / WEIGHTS)
    want = load_file(here / "vae" / WEIGHTS)
    assert have.keys() == want.keys()
    assert all(torch.equal(have[name], each.half()) for name, each in want.items())


def test_a_tiny_autoencoder_takes_the_place_of_the_vae(here):
    from diffusers import AutoencoderTiny, DiffusionPipeline

    blocks = {"encoder_block_out_channels": (4, 4), "decoder_block_out_channels": (4, 4)}
    counts = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    AutoencoderTiny(**blocks, **counts).save_pretrained(here / "taesd")
    run(read_recipe(recipe(here, {"vae": "taesd"})), out=here / "out", device="cpu")
    assert type(DiffusionPipeline.from_pretrained(here / "out" / "model", safety_checker=None).vae) is AutoencoderTiny


def _without_a_tensor(here):
    tensors = load_file(here / "vae" / WEIGHTS)
    del tensors["decoder.conv_in.bias"]
    save_file(tensors, here / "vae" / WEIGHTS, metadata={"format": "pt"})


def _of_more_channels(here):
    shutil.rmtree(here / "vae")
    _other_vae(here / "vae", latent_channels=8)


def _of_another_scale(here):
    shutil.rmtree(here / "vae")
    _other_vae(here / "vae", scaling_factor=0.13025)


def _of_more_blocks(here):
    shutil.rmtree(here / "vae")
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3}
    _other_vae(here / "vae", block_out_channels=(8, 8, 16), **blocks)


def _of_no_class(here):
    (here / "vae" / "config.json").write_text("{}")


def _without_config(here):
    (here / "vae" / "config.json").unlink()


def _pickled(here):
    (here / "vae" / WEIGHTS).rename(here / "vae" / "diffusion_pytorch_model.bin")


@pytest.mark.parametrize(
    ("components", "change", "error", "match"),
    [
        ({"vae": "./vae"}, _without_a_tensor, SourceError, r"\./vae lacks decoder\.conv_in\.bias"),
        ({"vae": "./vae"}, _of_more_channels, MismatchError, r"latent_channels of \./vae is 8, and that of the base's"),
        ({"vae": "./vae"}, _of_another_scale, MismatchError, r"scaling_factor of \./vae is 0\.13025"),
        ({"vae": "./vae"}, _of_more_blocks, MismatchError, r"\./vae has 3 blocks, and the base's vae has 2"),
        ({"vae": "./vae"}, _of_no_class, SourceError, r"\./vae does not say of which class it is"),
        ({"vae": "./vae"}, _without_config, SourceError, r"\./vae is no vae: it has neither a config\.json nor"),
        ({"vae": "./vae"}, _pickled, SourceError, r"a pickle can run code"),
        ({"vae": "./veo"}, None, SourceError, r"there is no file or folder"),
        ({"vae": "base/unet"}, None, MismatchError, r"UNet2DConditionModel, and the base's vae is of the class Auto"),
        ({"vae": None}, None, MismatchError, r"a StableDiffusionPipeline can't do without its vae"),
        ({"unet": "base"}, None, MismatchError, r"outputs\.model\.components: LoRAs touch unet"),
        ({"vea": "./vae"}, None, MismatchError, r"a StableDiffusionPipeline, has no vea"),
        ({"watermark": None}, None, MismatchError, r"has no watermark"),
        ({"scheduler": "./vae"}, None, MismatchError, r"the base's scheduler is no single model"),
        ({"tokenizer": "./vae"}, None, MismatchError, r"the base's tokenizer is no single model"),
        ({"feature_extractor": None}, None, MismatchError, r"safety_checker needs feature_extractor"),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else "",
)
def test_what_does_not_fit_is_refused(here, components, change, error, match):
    if change:
        change(here)
    with pytest.raises(error, match=match) as caught:
        run(read_recipe(recipe(here, components)), out=here / "out", device="cpu")
    assert caught.value.hint
    assert not (here / "out").exists()


def test_nothing_is_replaced_in_a_base_that_is_one_file(here):
    save_file({"a": torch.zeros(1)}, here / "base.safetensors")
    path = recipe(here)
    path.write_text(path.read_text().replace("source: base\n", "source: base.safetensors\n"))
    with pytest.raises(MismatchError, match=r"base\.safetensors is no folder of a pipeline of diffusers"):
        run(read_recipe(path), out=here / "out", device="cpu")


@pytest.mark.parametrize(
    ("components", "match"),
    [
        ({"vae": 3}, r"outputs\.0\.components\.vae: found the number 3"),
        ({"vae": "https://example.com/vae.safetensors"}, "it is one file, and a component is a folder"),
        ({"vae": "vae.safetensors"}, "it is one file, and a component is a folder"),
        ({"VAE": "./vae"}, "unknown key; expected the name of a component in model_index.json"),
        ({}, "expected"),
        ({"vae": "hf://one"}, "names no repository"),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else "",
)
def test_what_no_recipe_can_say(here, components, match):
    with pytest.raises(RecipeProblemsError, match=match):
        read_recipe(recipe(here, components))
    done = invoke("validate", here / "small.yaml")
    assert done.exit_code == ExitCode.INVALID_RECIPE


def test_validate_looks_whether_its_path_leads_somewhere(here):
    done = invoke("validate", recipe(here, {"vae": "./veo"}))
    assert done.exit_code != ExitCode.DONE
    assert "outputs.0.components.vae" in done.output
