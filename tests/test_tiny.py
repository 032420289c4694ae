"""The small models and the helpers that other tests lean on: they must be right before anything else can be."""

from __future__ import annotations

import json

import foreign
import numpy as np
import pytest
import reference
import tiny
import torch
import truth
from safetensors import safe_open

# Of these, the first is between torch and NumPy (diffusers' Euler schedule), the second between PEFT and transformers.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

ATTENTION_FORMS = ("to_k_lora", "processor", "bare_processor")


def generate(pipeline):
    options = {"height": tiny.SIZE, "width": tiny.SIZE, "num_inference_steps": 2, "output_type": "np"}
    return pipeline("a bowl", generator=torch.Generator().manual_seed(0), **options).images[0]


@pytest.fixture(params=sorted(tiny.FAMILIES))
def family(request):
    return request.param


def test_a_pipeline_generates_and_reloads_to_the_same_picture(family):
    pipeline = tiny.FAMILIES[family]()
    picture = generate(pipeline)
    assert picture.shape == (tiny.SIZE, tiny.SIZE, 3)
    assert picture.std() > 0.01

    reloaded = type(pipeline).from_pretrained(tiny.folder(family))
    reloaded.set_progress_bar_config(disable=True)
    # Weights mapped from a file lie at other alignments, for which kernels sum in another order.
    assert np.abs(generate(reloaded) - picture).max() < 1e-5
    for name in ("unet", "text_encoder"):
        before, after = (one.components[name].state_dict() for one in (pipeline, reloaded))
        assert truth.relative_error(after, before) == 0


def test_a_saved_pipeline_looks_like_a_published_one(family):
    folder = tiny.folder(family)
    for file in sorted(folder.glob("text_encoder*/*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            assert all(key.startswith(("text_model.", "text_projection.")) for key in tensors.keys())  # noqa: SIM118
    assert len(list(folder.glob("tokenizer*/vocab.json"))) == len(list(folder.glob("text_encoder*")))
    assert "sample_size" in json.loads((folder / "unet" / "config.json").read_text())


def test_a_pipeline_can_be_saved_as_transformers_5_writes_it(tmp_path):
    pipeline = tiny.sd15()
    tiny.save(pipeline, tmp_path, text_model_prefix=False)
    with safe_open(tmp_path / "text_encoder" / "model.safetensors", framework="pt") as tensors:
        assert not any(key.startswith("text_model.") for key in tensors.keys())  # noqa: SIM118


def test_models_are_small_and_have_the_structures_of_the_real_ones(family):
    pipeline = tiny.FAMILIES[family]()
    modules = dict(pipeline.unet.named_modules())
    assert sum(tensor.numel() for tensor in pipeline.unet.parameters()) < 500_000
    for kind in ("resnets.0.conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "ff.net.0.proj"):
        assert any(name.endswith(kind) for name in modules)
    proj_in = next(module for name, module in modules.items() if name.endswith("proj_in"))
    assert isinstance(proj_in, torch.nn.Conv2d if family == "sd15" else torch.nn.Linear)
    widths = {
        name: pipeline.components[name].config.hidden_size
        for name in ("text_encoder", "text_encoder_2")
        if name in pipeline.components
    }
    assert len(set(widths.values())) == len(widths)
    assert sum(widths.values()) == pipeline.unet.config.cross_attention_dim


def test_two_families_do_not_share_a_cross_attention_width():
    assert tiny.shared("sd15").unet.config.cross_attention_dim != tiny.shared("sd2").unet.config.cross_attention_dim


@pytest.mark.parametrize("form", ["peft", "lora", "to_k_lora", "processor"])
@pytest.mark.parametrize("adapter_metadata", [False, True])
def test_diffusers_reads_the_diffusers_forms_to_the_right_deltas(form, adapter_metadata, tmp_path):
    pipeline = tiny.sdxl()
    modules = foreign.ATTENTION if form in ATTENTION_FORMS else None
    conv_rank = None if modules else 3
    pairs = foreign.random_lora(pipeline, rank=4, alpha=2, seed=1, conv_rank=conv_rank, conv_alpha=1, modules=modules)
    file = foreign.write_diffusers(pairs, tmp_path / "x.safetensors", form=form, adapter_metadata=adapter_metadata)
    pipeline.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="x")
    assert truth.relative_error(truth.pipeline_deltas(pipeline, "x"), foreign.deltas(pairs)) < 1e-6


@pytest.mark.parametrize("form", ["bare_peft", "bare_lora"])
def test_the_unet_reads_the_bare_forms_to_the_right_deltas(form, tmp_path):
    unet = tiny.sd15().unet
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=1, components=("unet",))
    file = foreign.write_diffusers(pairs, tmp_path / "x.safetensors", form=form)
    unet.load_lora_adapter(tmp_path, weight_name=file.name, prefix=None, adapter_name="x")
    assert truth.relative_error(truth.adapter_deltas(unet, "x"), foreign.deltas(pairs)["unet"]) < 1e-6


def test_a_form_without_a_name_for_a_module_says_so(tmp_path):
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=2, alpha=2, seed=1)
    for form in ATTENTION_FORMS:
        with pytest.raises(ValueError, match="has no name for"):
            foreign.write_diffusers(pairs, tmp_path / "x.safetensors", form=form)


@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("names", ["sgm", "diffusers"])
def test_diffusers_reads_kohya_files_for_sdxl_to_the_right_deltas(names, alpha, tmp_path):
    pipeline = tiny.sdxl()
    pairs = foreign.random_lora(pipeline, rank=4, alpha=2, seed=1, conv_rank=3, conv_alpha=1)
    config = pipeline.unet.config if names == "sgm" else None
    file = foreign.write_kohya(pairs, tmp_path / "x.safetensors", unet_config=config, alpha=alpha)
    pipeline.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="x")
    assert truth.relative_error(truth.pipeline_deltas(pipeline, "x"), foreign.deltas(pairs)) < 1e-6


@pytest.mark.parametrize("family", ["sd15", "sd2"])
def test_diffusers_reads_kohya_files_for_stable_diffusion_to_the_right_deltas(family, tmp_path):
    pipeline = tiny.FAMILIES[family]()
    pairs = foreign.random_lora(pipeline, rank=4, alpha=2, seed=1, conv_rank=3, conv_alpha=1)
    file = foreign.write_kohya(pairs, tmp_path / "x.safetensors", text_prefixes=("lora_te_",))
    pipeline.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="x")
    assert truth.relative_error(truth.pipeline_deltas(pipeline, "x"), foreign.deltas(pairs)) < 1e-6


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_reads_the_peft_folder_to_the_right_deltas(rslora, tmp_path):
    from peft import PeftModel

    unet = tiny.sdxl().unet
    modules = foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2, seed=1, conv_rank=3, conv_alpha=1)["unet"]
    foreign.write_peft(modules, tmp_path, rslora=rslora)
    model = PeftModel.from_pretrained(unet, tmp_path, adapter_name="x")
    assert truth.relative_error(truth.adapter_deltas(model, "x"), foreign.deltas({"unet": modules})["unet"]) < 1e-6


def test_peft_reads_the_folder_of_a_text_encoder(tmp_path):
    from peft import PeftModel

    pipeline = tiny.sd15()
    modules = foreign.random_lora(pipeline, rank=4, alpha=2, seed=1)["text_encoder"]
    flat = "encoder.layers.0.mlp.fc1" in dict(pipeline.text_encoder.named_modules())
    foreign.write_peft(modules, tmp_path, text_model_prefix=not flat)
    model = PeftModel.from_pretrained(pipeline.text_encoder, tmp_path, adapter_name="x")
    want = foreign.deltas({"text_encoder": modules})["text_encoder"]
    assert truth.relative_error(truth.adapter_deltas(model, "x", "text_encoder"), want) < 1e-6


def test_kohya_names_of_the_whole_sdxl_unet_are_distinct():
    unet = tiny.sdxl().unet
    layers = (torch.nn.Linear, torch.nn.Conv2d)
    names = [name for name, layer in unet.named_modules() if isinstance(layer, layers)]
    written = {foreign.sgm_name(name, unet.config).replace(".", "_") for name in names}
    assert len(written) == len(names)


def test_some_alpha_leaves_every_other_module_without(tmp_path):
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=1)
    file = foreign.write_kohya(pairs, tmp_path / "x.safetensors", alpha="some", text_prefixes=("lora_te_",))
    with safe_open(file, framework="pt") as tensors:
        keys = list(tensors.keys())
    assert 0 < sum(key.endswith(".alpha") for key in keys) < len(keys) // 2


@pytest.mark.parametrize("component", ["unet", "text_encoder", "text_encoder_2"])
def test_pefts_cat_is_the_weighted_sum(component):
    pipeline = tiny.sdxl()
    first = foreign.random_lora(pipeline, rank=4, alpha=2, seed=1, conv_rank=3, conv_alpha=1)
    second = foreign.random_lora(pipeline, rank=6, alpha=3, seed=2, conv_rank=2, modules=r"to_[qk]$|q_proj|conv1")
    merged = reference.peft_merge(
        getattr(pipeline, component),
        [first[component], second[component]],
        [0.7, -0.8],
        seed=0,
        combination_type="cat",
    )
    got = {
        name: foreign.deltas({"x": {name: (down, up, scale * down.shape[0])}})["x"][name]
        for name, (down, up, scale) in merged.items()
    }
    want = truth.weighted_sum([(foreign.deltas(first), 0.7), (foreign.deltas(second), -0.8)])[component]
    assert truth.relative_error(got, want) < 1e-6


def test_pefts_dare_depends_on_the_seed_alone():
    pipeline = tiny.sd15()
    loras = [foreign.random_lora(pipeline, rank=4, alpha=2, seed=seed)["text_encoder"] for seed in (1, 2)]

    def merge(seed):
        options = {"combination_type": "dare_linear", "density": 0.5}
        return {
            name: up
            for name, (_, up, _) in reference.peft_merge(
                pipeline.text_encoder, loras, [1.0, 1.0], seed, **options
            ).items()
        }

    assert truth.relative_error(merge(0), merge(0)) == 0
    assert truth.relative_error(merge(0), merge(1)) > 0.1
    assert not any("lora" in name for name, _ in pipeline.text_encoder.named_modules())


def test_relative_error_counts_what_is_missing():
    one, two = torch.ones(2), torch.ones(2)
    assert truth.relative_error({"a": one}, {"a": one, "b": two}) == pytest.approx(0.5**0.5)
    assert truth.relative_error({"a": one, "b": two}, {"a": one}) == 1
    assert truth.relative_error({"x": {"a": one}}, {"x": {"a": one}}) == 0
    with pytest.raises(AssertionError, match="a: "):
        truth.relative_error({"a": torch.ones(1, 2)}, {"a": one})
