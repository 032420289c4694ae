"""diffusers' guide "Merge LoRAs", step by step on a small SDXL, and the same said in a recipe.

Each step's picture is compared with that of the pipeline which keeps the LoRAs apart.
"""

import copy

import foreign
import numpy as np
import pytest
import reference
import tiny
import torch
import truth
from pydantic import TypeAdapter

from loramerge import Recipe, read_recipe, run

pytestmark = pytest.mark.slow

PROMPT = "a kawaii bear"
WEIGHTS = [0.7, 0.8]
SEED = 5


def picture(pipeline):
    generator = torch.Generator("cpu").manual_seed(0)
    options = {"num_inference_steps": 2, "generator": generator, "output_type": "np"}
    return pipeline(PROMPT, height=tiny.SIZE, width=tiny.SIZE, **options).images[0]


def same(one, other, tolerance=2e-4):
    return np.abs(one - other).max() <= tolerance


def pipeline():
    from diffusers import DiffusionPipeline

    loaded = DiffusionPipeline.from_pretrained(tiny.folder("sdxl"))
    loaded.set_progress_bar_config(disable=True)
    return loaded


def lora(source, seed):
    return foreign.random_lora(source, rank=4, alpha=8, seed=seed, components=("unet",), few=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    source = tiny.shared("sdxl")
    pairs = {name: lora(source, seed) for seed, name in enumerate(("ikea", "feng"))}
    foreign.write_kohya(pairs["ikea"], folder / "ikea.safetensors", unet_config=source.unet.config)
    foreign.write_diffusers(pairs["feng"], folder / "feng.safetensors", adapter_metadata=True)
    return folder


def recipe(files, tmp_path, *overrides, merge="{combination_type: cat}", outputs="[{kind: pipeline, dtype: float32}]"):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"""
version: 1
name: ikea-feng
base: {{source: {tiny.folder("sdxl")}}}
loras:
  - {{name: ikea, source: {files}/ikea.safetensors, weight: 0.7}}
  - {{name: feng, source: {files}/feng.safetensors, weight: 0.8}}
merge: {merge}
outputs: {outputs}
report: brief
""")
    return read_recipe(path, overrides=overrides)


@pytest.fixture(scope="module")
def stacked(files):
    pipe = pipeline()
    pipe.load_lora_weights(files, weight_name="ikea.safetensors", adapter_name="ikea")
    pipe.load_lora_weights(files, weight_name="feng.safetensors", adapter_name="feng")
    pipe.set_adapters(["ikea", "feng"], adapter_weights=WEIGHTS)
    return picture(pipe)


def test_set_adapters_is_a_cat_merge(files, stacked, tmp_path):
    result = run(recipe(files, tmp_path, outputs="[{kind: adapter, format: diffusers}]"), out=tmp_path / "out")
    pipe = pipeline()
    untouched = picture(pipe)
    pipe.load_lora_weights(result.artifact / "diffusers")
    assert same(picture(pipe), stacked)
    assert not same(untouched, stacked, tolerance=1e-2)


def test_a_peft_model_per_lora_then_add_weighted_adapter(files, tmp_path):
    from peft import PeftModel, get_peft_model

    merge = f"{{combination_type: dare_linear, density: 0.7, seed: {SEED}}}"
    outputs = "[{kind: inputs}, {kind: adapter, format: peft}]"
    result = run(recipe(files, tmp_path, merge=merge, outputs=outputs), out=tmp_path / "out")

    # Step 1 of the guide makes a PeftModel of each LoRA that a pipeline has loaded; `inputs` holds the same.
    pipe = pipeline()
    pipe.load_lora_weights(files, weight_name="ikea.safetensors", adapter_name="ikea")
    of_guide = get_peft_model(copy.deepcopy(pipeline().unet), pipe.unet.peft_config["ikea"], adapter_name="ikea")
    state = {f"base_model.model.{key}": value for key, value in pipe.unet.state_dict().items()}
    of_guide.load_state_dict(state, strict=True)
    inputs = result.artifact / "inputs"
    model = PeftModel.from_pretrained(
        pipeline().unet, str(inputs), use_safetensors=True, subfolder="ikea", adapter_name="ikea"
    )
    assert truth.relative_error(truth.adapter_deltas(model, "ikea"), truth.adapter_deltas(of_guide, "ikea")) <= 1e-6

    # Steps 2 and 3: load both, merge, generate with the PeftModel as the UNet.
    model.load_adapter(str(inputs), use_safetensors=True, subfolder="feng", adapter_name="feng")
    torch.manual_seed(SEED)
    model.add_weighted_adapter(
        adapters=["ikea", "feng"],
        weights=WEIGHTS,
        combination_type="dare_linear",
        adapter_name="ikea-feng",
        density=0.7,
    )
    model.set_adapter("ikea-feng")
    by_hand = truth.adapter_deltas(model, "ikea-feng")
    with_peft_model = pipeline()
    with_peft_model.unet = model

    ours = PeftModel.from_pretrained(pipeline().unet, str(result.artifact / "peft"), subfolder="unet")
    assert truth.relative_error(truth.adapter_deltas(ours, "default"), by_hand) <= 1e-6
    with_ours = pipeline()
    with_ours.unet = ours
    assert same(picture(with_ours), picture(with_peft_model))


def test_fuse_unload_save_load_again_and_generate(files, stacked, tmp_path):
    from diffusers import DiffusionPipeline

    by_hand = pipeline()
    by_hand.load_lora_weights(files, weight_name="ikea.safetensors", adapter_name="ikea")
    by_hand.load_lora_weights(files, weight_name="feng.safetensors", adapter_name="feng")
    by_hand.set_adapters(["ikea", "feng"], adapter_weights=WEIGHTS)
    by_hand.fuse_lora(adapter_names=["ikea", "feng"], lora_scale=1.0)
    by_hand.unload_lora_weights()
    by_hand.save_pretrained(tmp_path / "by-hand")

    result = run(recipe(files, tmp_path), out=tmp_path / "out")
    pictures = []
    for folder in (tmp_path / "by-hand", result.artifact / "pipeline"):
        loaded = DiffusionPipeline.from_pretrained(folder)
        loaded.set_progress_bar_config(disable=True)
        pictures.append(picture(loaded))
    assert same(*pictures)
    assert same(pictures[1], stacked)


def test_unfusing_is_another_lora_scale(files, tmp_path):
    pipe = pipeline()
    before = {key: value.clone() for key, value in pipe.unet.state_dict().items()}
    untouched = picture(pipe)
    pipe.load_lora_weights(files, weight_name="ikea.safetensors", adapter_name="ikea")
    pipe.fuse_lora(lora_scale=0.7)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert truth.relative_error(pipe.unet.state_dict(), before) <= 1e-6
    assert same(picture(pipe), untouched)

    nothing = run(recipe(files, tmp_path, "outputs.0.lora_scale=0.0"), out=tmp_path / "nothing")
    half = run(recipe(files, tmp_path, "outputs.0.lora_scale=0.5"), out=tmp_path / "half")
    unet = type(pipe.unet).from_pretrained(nothing.artifact / "pipeline" / "unet")
    assert truth.relative_error(unet.state_dict(), before) == 0
    halved = type(pipe.unet).from_pretrained(half.artifact / "pipeline" / "unet").state_dict()
    moved = {key: halved[key] - before[key] for key in before}
    want = {f"{module}.weight": 0.5 * pair.delta() for _, module, pair in half.merged}
    assert truth.relative_error(moved, want) <= 1e-4  # the difference of float32 weights keeps half of their digits


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses what torch has deprecated
def test_the_fused_unet_compiles_whole_and_draws_the_same(files, stacked, tmp_path):
    from diffusers import DiffusionPipeline

    result = run(recipe(files, tmp_path), out=tmp_path / "out")
    pipe = DiffusionPipeline.from_pretrained(result.artifact / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.to(memory_format=torch.channels_last)
    # What a LoRA left behind would break is the one graph of the whole; to make C++ of it takes a minute more.
    pipe.unet = torch.compile(pipe.unet, fullgraph=True, backend="aot_eager")
    assert same(picture(pipe), stacked, tolerance=1e-3)


def test_the_recipe_of_the_guide_is_the_one_that_pefts_own_call_answers(files, tmp_path):
    chosen = recipe(files, tmp_path, merge=f"{{combination_type: dare_linear, density: 0.7, seed: {SEED}}}")
    assert TypeAdapter(Recipe).validate_python(chosen.model_dump(mode="python")) == chosen
    source = tiny.shared("sdxl")
    pairs = [lora(source, seed)["unet"] for seed in range(2)]
    expected = reference.peft_merge(source.unet, pairs, WEIGHTS, SEED, combination_type="dare_linear", density=0.7)
    merged = run(chosen, out=tmp_path / "out").merged
    want = {
        name: scale * foreign.deltas({"": {"": (down, up, down.shape[0])}})[""][""]
        for name, (down, up, scale) in expected.items()
    }
    assert truth.relative_error({module: pair.delta() for _, module, pair in merged}, want) <= 1e-6
