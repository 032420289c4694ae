"""Previews of image transformers: drawn as the pipeline itself draws, every column from the same noise."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from types import SimpleNamespace

import diffusers
import pytest
import tiny_transformers
import torch
from command_line import invoke, write_recipe
from drawn import far, text

from loramerge import load_base, preview, read_recipe, run
from loramerge.bases.model_index import ModelIndex
from loramerge.errors import ExitCode, MismatchError
from loramerge.previews.blank import BlankPipeline
from loramerge.previews.checks import size_of
from loramerge.recipe.model import Preview

SIZE = {"width": 32, "height": 32}
PREVIEW = {"prompts": ["a bowl"], "seeds": [0, 1], "steps": 2, "guidance_scale": 3.0, **SIZE}
IMAGES = ("flux", "sd3", "qwen_image", "z_image")
COLUMNS = ("base", "lora-a", "lora-b", "stacked", "merged")
# As the pipelines' own documentation calls them; Qwen-Image is guided beside a negative prompt alone.
CALLS = {"qwen_image": {"true_cfg_scale": 3.0, "negative_prompt": [" "]}}


def recipe_of(folder, family, **more):
    base = load_base(tiny_transformers.folder(family))
    loras = {
        name: {
            "source": tiny_transformers.lora(folder / f"{name}.safetensors", base.components["transformer"], seed),
            "weight": weight,
        }
        for seed, (name, weight) in enumerate((("a", 0.7), ("b", 0.5)))
    }
    place = more.pop("base", tiny_transformers.folder(family))
    settings = PREVIEW | more.pop("preview", {})
    return write_recipe(folder, base=place, loras=loras, preview=settings, **more)


@pytest.fixture(scope="module", params=IMAGES)
def drawn(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    recipe = read_recipe(recipe_of(folder, request.param))
    done = preview(recipe, out=folder / "out", device="cpu")
    return SimpleNamespace(family=request.param, folder=folder, recipe=recipe, done=done, place=done.folder)


@pytest.mark.slow
def test_the_base_and_each_lora_are_as_diffusers_draws_them(drawn, tmp_path):
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tiny_transformers.folder(drawn.family))
    pipeline.set_progress_bar_config(disable=True)
    options = CALLS.get(drawn.family, {"guidance_scale": 3.0})

    def picture():
        generator = [torch.Generator().manual_seed(1)]
        pipeline(prompt=["a bowl"], num_inference_steps=2, generator=generator, **SIZE, **options).images[0].save(
            tmp_path / "x.png"
        )
        return tmp_path / "x.png"

    assert far(picture(), drawn.place / "02-base.png") <= 1
    pipeline.load_lora_weights(drawn.folder, weight_name="a.safetensors", adapter_name="a")
    pipeline.set_adapters(["a"], [0.7])
    assert far(picture(), drawn.place / "02-lora-a.png") <= 1
    assert far(drawn.place / "02-base.png", drawn.place / "02-lora-a.png") > 5


@pytest.mark.slow
def test_cat_is_what_is_seen_stacked(drawn):
    assert {path.name for path in drawn.done.pictures} == {f"0{row}-{name}.png" for row in (1, 2) for name in COLUMNS}
    assert drawn.done.warnings == ()
    for row in ("01", "02"):
        assert far(drawn.place / f"{row}-stacked.png", drawn.place / f"{row}-merged.png") <= 1
        assert far(drawn.place / f"{row}-stacked.png", drawn.place / f"{row}-base.png") > 5
    assert far(drawn.place / "01-base.png", drawn.place / "02-base.png") > 5
    assert (text(drawn.place / "01-base.png")["width"], text(drawn.place / "01-base.png")["seed"]) == ("32", "0")


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes(drawn, tmp_path):
    again = preview(drawn.recipe, out=tmp_path / "again", device="cpu")
    for path in again.folder.iterdir():
        assert path.read_bytes() == (drawn.place / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_a_batch_draws_what_its_pictures_draw_alone(drawn, tmp_path):
    recipe = read_recipe(drawn.recipe.path, overrides=["preview.batch_size=2"])
    for path in preview(recipe, out=tmp_path / "two", device="cpu").pictures:
        assert far(path, drawn.place / path.name) <= 1


@pytest.mark.slow
def test_an_artifact_is_drawn_by_the_pipeline_that_was_written(drawn, tmp_path):
    outputs = [{"kind": "pipeline"}, {"kind": "adapter", "format": "diffusers"}]
    recipe = read_recipe(recipe_of(tmp_path, drawn.family, outputs=outputs))
    artifact = run(recipe, out=tmp_path / "out", device="cpu").artifact
    assert text(artifact / "preview/01-merged.png")["pipeline"] == "fused, as in the base"
    assert far(artifact / "preview/01-merged.png", drawn.place / "01-merged.png") <= 2
    card = (artifact / "README.md").read_text()
    (call,) = set(re.findall(r"image = pipeline\((.*)\)\.images\[0\]", card))
    guided = 'negative_prompt=" ", num_inference_steps=2, true_cfg_scale=3.0' if drawn.family == "qwen_image" else (
        "num_inference_steps=2, guidance_scale=3.0"
    )  # fmt: skip
    assert call == f'prompt="a bowl", {guided}, width=32, height=32, generator=torch.Generator().manual_seed(0)'


@pytest.mark.parametrize(
    ("family", "multiple", "own"),
    [("flux", 4, 256), ("sd3", 4, 16), ("qwen_image", 4, 256), ("z_image", 4, 1024)],
)
def test_sizes_are_the_pipeline_s_own(family, multiple, own):
    place = tiny_transformers.folder(family)
    blank = BlankPipeline.of(place, load_base(place))
    assert (blank.multiple, blank.size) == (multiple, (own, own))
    assert all(each.device.type == "meta" for each in blank.pipeline.transformer.parameters())


@pytest.mark.parametrize(("family", "limit", "around"), [("sd3", 256, 1), ("flux", 512, 1), ("z_image", 512, 0)])
def test_a_prompt_is_as_long_as_the_longest_reader_takes(family, limit, around, tmp_path):
    """CLIP's 77 tokens are no limit where T5 reads all of a prompt."""
    place = tiny_transformers.folder(family)
    blank = BlankPipeline.of(place, load_base(place))
    fits = {name: tokens <= most for name, (tokens, most) in blank.lengths("x" * 100).items()}
    assert any(fits.values())
    assert fits.get("tokenizer_2", True) is (family != "sd3")
    recipe = read_recipe(recipe_of(tmp_path, family, preview={"prompts": ["x" * (limit + around)]}))
    with pytest.raises(MismatchError, match=rf"has \d+ tokens; the base's tokenizer\w* takes {limit}, start and end"):
        preview(recipe, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_guided_without_a_negative_prompt_takes_none(tmp_path):
    recipe = read_recipe(recipe_of(tmp_path, "flux", preview={"negative_prompt": "ugly"}))
    with pytest.raises(MismatchError, match=r"preview.negative_prompt: FLUX.1 is guided without one"):
        preview(recipe, out=tmp_path / "out")


def test_a_size_that_the_patches_do_not_fill_is_refused(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_transformers.folder("sd3"), base)
    config = json.loads((base / "transformer/config.json").read_text())
    (base / "transformer/config.json").write_text(json.dumps(config | {"patch_size": 8}))
    wanted = Preview(prompts=["a bowl"], width=40, height=32)
    with pytest.raises(MismatchError, match=r"40×32 pixels can't be drawn: the base makes multiples of 16") as caught:
        size_of(base, load_base(base), wanted)
    assert caught.value.hint.endswith("such as 32")


@pytest.mark.parametrize("command", ["run", "preview", "plan"])
def test_a_film_has_no_preview_and_its_weights_are_not_fetched(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base"
    shutil.copytree(tiny_transformers.folder("wan"), base)
    for weights in base.rglob("*.safetensors"):
        weights.unlink()
    done = invoke(command, recipe_of(tmp_path, "wan", base=base))
    assert done.exit_code == ExitCode.MISMATCH, done.output
    assert "preview: the base is a WanPipeline, which makes videos, and a preview shows pictures" in done.stderr
    assert "leave `preview` out" in done.stderr
    assert not (tmp_path / "dist").exists()


def _pipelines():
    for name in sorted(name for name in dir(diffusers) if name.endswith("Pipeline")):
        made = getattr(diffusers, name)
        if isinstance(made, type) and hasattr(made, "_get_signature_keys"):
            yield name, made


def test_what_is_said_to_draw_from_a_prompt_does():
    """Every pipeline of diffusers: none that needs a picture, or makes something else, is taken for one."""
    taken = set()
    for name, made in _pipelines():
        try:
            call, parts = inspect.signature(made.__call__).parameters, inspect.signature(made.__init__).parameters
        except (TypeError, ValueError):
            continue
        classes = re.findall(
            r"\b(\w*(?:Transformer\w*Model|UNet\w*|UVit2DModel|Prior))\b", " ".join(map(str, parts.values()))
        )
        if not classes:
            continue
        index = ModelIndex(name, {f"part_{number}": ("diffusers", each) for number, each in enumerate(classes)})
        if not index.draws_from_text:
            continue
        taken.add(name)
        if "Img2Img" in name:
            assert hasattr(diffusers, index.plain), name
            continue
        needed = {each for each, said in call.items() if said.default is inspect.Parameter.empty and each != "self"}
        assert needed <= {"kwargs", "args"}, name
        assert "prompt" in call, name
        assert not {"mask_image", "control_image", "pose_video", "num_frames"} & {*call}, name
    assert taken >= {
        "FluxPipeline", "FluxImg2ImgPipeline", "StableDiffusion3Pipeline", "QwenImagePipeline", "ZImagePipeline",
        "ChromaPipeline", "Flux2Pipeline", "SanaPipeline", "Lumina2Pipeline", "AuraFlowPipeline", "CogView4Pipeline",
        "HiDreamImagePipeline", "Krea2Pipeline", "QwenImage21Pipeline", "Kandinsky5T2IPipeline",
        "StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusionImg2ImgPipeline",
        "Cosmos2TextToImagePipeline",
    }  # fmt: skip
