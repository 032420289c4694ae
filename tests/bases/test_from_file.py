"""A base that is one file: what its header says that it is."""

import json
import os
import struct
from dataclasses import replace

import pytest
from canonical import base_of

from loramerge.bases.base import config_files, from_configs, read_base
from loramerge.bases.component import Component
from loramerge.bases.published import architecture
from loramerge.errors import MismatchError, SourceError
from loramerge.families import FAMILIES
from loramerge.families.layout import Layout
from loramerge.families.sizes import layers_of
from loramerge.sources import parse
from loramerge.tensor_files.header import header

PREFIX = "model.diffusion_model."
SIZES = [(name, size) for name, family in FAMILIES.items() for size in family.published if layers_of(name, size)]
TWINS = {"wan/14b", "wan/t2v-a14b", "skyreels_v2/14b", "wan/i2v-14b", "skyreels_v2/i2v-14b", "chronoedit/14b"}

RENAMED = {
    "cosmos/14b-video2world",
    "cosmos/predict2-14b-video2world",
    "cosmos/14b-text2world",
    "cosmos/predict2-14b-text2image",
}
"""The same layers in diffusers' names; their original checkpoints have other names."""


def shapes_of(name, naming="original"):
    """Every layer of a published model's denoiser, as a file names it."""
    denoiser = architecture(name).components[architecture(name).main]
    rules = {"original": denoiser.tables.original, "comfyui": denoiser.tables.comfyui, "diffusers": ()}[naming]
    layout = Layout(rules or (), {f"{module}.weight": shape for module, shape in denoiser.modules.items()})
    return {name: original.shape for name, original in layout.originals.items()}


def written(path, shapes, metadata=(), dtype="F16", size=2):
    """A file of these tensors, whose numbers take no room on the disk."""
    entries = [(name, dtype, shape, size * product(shape)) for name, shape in shapes.items()]
    start = header(entries, dict(metadata))
    path.write_bytes(start)
    os.truncate(path, len(start) + sum(each[-1] for each in entries))
    return path


def product(shape):
    found = 1
    for each in shape:
        found *= each
    return found


def read(path, told=None):
    return read_base(path.name, path.parent, (path.name,), told)


@pytest.mark.parametrize(
    ("name", "prefix", "naming"),
    [
        ("sd15/v1.5", PREFIX, "original"),
        ("sdxl/base", PREFIX, "original"),
        ("sdxl/base", "", "diffusers"),
        ("flux/dev", "", "original"),
        ("flux/schnell", PREFIX, "original"),
        ("flux/fill", "diffusion_model.", "original"),
        ("sd3/3.5-medium", PREFIX, "original"),
        ("qwen_image/qwen-image", PREFIX, "original"),
        ("wan/1.3b", "", "original"),
        ("wan_vace/14b", "", "original"),
        ("z_image/turbo", PREFIX, "original"),
        ("hunyuan_video/t2v", "model.", "comfyui"),
        ("anima/base", "net.", "original"),
    ],
)
def test_family_and_size_are_told_by_the_header(name, prefix, naming, tmp_path):
    shapes = {f"{prefix}{key}": shape for key, shape in shapes_of(name, naming).items()}
    base = read(written(tmp_path / "x.safetensors", shapes))
    assert f"{base.family.name}/{base.size}" == name
    assert base.checkpoint.file == "x.safetensors"
    part = base.checkpoint.parts[base.main]
    places = part.places(base.components[base.main].modules)
    assert {place.key: place.shape for place in places.values()} == shapes


@pytest.mark.slow
@pytest.mark.parametrize(("family", "size"), SIZES)
def test_every_published_size_is_told_from_all_others(family, size, tmp_path):
    name = f"{family}/{size}"
    for naming in ("original", "comfyui", "diffusers"):
        path = written(tmp_path / "x.safetensors", shapes_of(name, naming))
        if name in TWINS or (naming != "original" and name in RENAMED):
            with pytest.raises(MismatchError, match="their names and shapes are the same"):
                read(path)
            continue
        base = read(path)
        assert base.family.name == family
        assert shapes_of(f"{family}/{base.size}") == shapes_of(name)


def test_where_two_families_fit_the_recipe_or_the_file_says_which(tmp_path):
    shapes = shapes_of("wan/14b")
    path = written(tmp_path / "x.safetensors", shapes)
    with pytest.raises(MismatchError, match=r"x\.safetensors may be Wan \(14b\).* or SkyReels V2 \(14b\)") as caught:
        read(path)
    assert "`base.config:`" in caught.value.hint
    assert caught.value.hint.endswith("wan/14b")
    assert read(path, architecture("skyreels_v2/14b")).family.name == "skyreels_v2"
    said = {"modelspec.architecture": "wan2.1-t2v-14b"}
    assert read(written(tmp_path / "y.safetensors", shapes, said)).family.name == "wan"


@pytest.mark.parametrize("change", ["more blocks", "another shape", "a layer less", "nothing of it"])
def test_a_model_of_another_size_is_none_that_is_known(change, tmp_path):
    shapes = shapes_of("flux/dev")
    if change == "more blocks":
        shapes["double_blocks.19.img_attn.qkv.weight"] = shapes["double_blocks.18.img_attn.qkv.weight"]
    elif change == "another shape":
        shapes["img_in.weight"] = (3072, 65)
    elif change == "a layer less":
        del shapes["double_blocks.3.img_mlp.0.weight"]
    else:
        shapes = {"lora_unet_x.lora_up.weight": (4, 4)}
    path = written(tmp_path / "x.safetensors", shapes)
    with pytest.raises(SourceError, match="holds no model that is known by its names and shapes") as caught:
        read(path)
    assert "`base.config:` names what has its config.json" in caught.value.hint
    with pytest.raises(MismatchError, match=r"is not the FLUX\.1 that base\.config says, FLUX\.1 \(dev\)"):
        read(path, architecture("flux/dev"))
    with pytest.raises(MismatchError, match=r"is not the FLUX\.1 that base\.config says: "):
        read(path, architecture("flux"))


def test_a_config_says_what_a_model_of_its_own_size_is(tmp_path):
    config = {**architecture("wan/1.3b").components["transformer"].config, "num_layers": 2, "in_channels": 20}
    told = from_configs("mine", {"transformer": config})
    modules = told.components["transformer"].modules
    layout = Layout(FAMILIES["wan"].rules(config), {f"{name}.weight": shape for name, shape in modules.items()})
    path = written(tmp_path / "x.safetensors", {name: each.shape for name, each in layout.originals.items()})
    with pytest.raises(SourceError, match="holds no model that is known"):
        read(path)
    assert read(path, told).components["transformer"].modules == modules


def test_what_lies_beside_the_denoiser_is_found_by_its_names(tmp_path):
    sdxl = {f"{PREFIX}{key}": shape for key, shape in shapes_of("sdxl/base").items()}
    only = read(written(tmp_path / "unet.safetensors", sdxl))
    assert [*only.components] == ["unet"]
    assert only.prediction is None
    more = {
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
        "conditioner.embedders.1.model.ln_final.weight": (1280,),
        "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
        "v_pred": (0,),
    }
    whole = read(written(tmp_path / "whole.safetensors", {**sdxl, **more}))
    assert [*whole.components] == ["unet", "text_encoder", "text_encoder_2"]
    assert whole.prediction == "v"
    flux = {**shapes_of("flux/dev"), "text_encoders.t5xxl.transformer.shared.weight": (32128, 4096)}
    assert [*read(written(tmp_path / "flux.safetensors", flux)).components] == ["transformer", "text_encoder_2"]


def test_parts_of_a_component_lie_within_the_denoiser_and_beside_it(tmp_path):
    known = architecture(f"ltx2/{next(iter(FAMILIES['ltx2'].published))}")
    block = "video_connector.transformer_blocks.0.attn1.to_q"
    layers = {"text_proj_in": (16, 8), block: (16, 16)}
    connectors = Component("connectors", {}, layers, {name: name for name in layers}, {})
    told = replace(known, components={"transformer": known.components["transformer"], "connectors": connectors})
    keys = {
        "text_proj_in": "text_embedding_projection.aggregate_embed.weight",
        block: f"{PREFIX}video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q.weight",
    }
    shapes = {f"{PREFIX}{key}": shape for key, shape in shapes_of(f"ltx2/{known.size}").items()}
    shapes |= {keys[name]: shape for name, shape in layers.items()}
    base = read(written(tmp_path / "x.safetensors", shapes), told)
    places = base.checkpoint.parts["connectors"].places(layers)
    assert {name: place.key for name, place in places.items()} == keys


def test_a_component_that_is_one_part_of_the_checkpoint(tmp_path):
    conditioner = architecture("anima/base").components["text_conditioner"].modules
    shapes = {f"net.{key}": shape for key, shape in shapes_of("anima/base").items()}
    shapes |= {f"net.llm_adapter.{name}.weight": shape for name, shape in conditioner.items()}
    base = read(written(tmp_path / "x.safetensors", shapes))
    places = base.checkpoint.parts["text_conditioner"].places(conditioner)
    assert {place.key: place.shape for place in places.values()}.items() <= shapes.items()


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("scaled_fp8", "scaled float8"),
        (f"{PREFIX}double_blocks.0.img_attn.qkv.scale_weight", "scaled float8"),
        ("double_blocks.0.img_attn.qkv.weight_scale", "scaled float8"),
        ("double_blocks.0.img_attn.qkv.comfy_quant", "scaled float8"),
        ("transformer_blocks.0.attn.to_out.0.wscales", "nunchaku"),
        ("double_blocks.0.img_attn.qkv.weight.absmax", "bitsandbytes"),
        ("double_blocks.0.img_attn.qkv.weight.quant_state.bitsandbytes__nf4", "bitsandbytes"),
        ("model.layers.0.q_proj.qweight", "GPTQ or AWQ"),
    ],
)
def test_packed_numbers_are_refused_by_name(key, what, tmp_path):
    path = written(tmp_path / "x.safetensors", {**shapes_of("flux/dev"), key: (1,)}, dtype="U8", size=1)
    with pytest.raises(SourceError, match=what) as caught:
        read(path)
    assert key in caught.value.message
    assert "`base: {family: flux}`" in caught.value.hint


def test_a_gguf_file_is_refused_by_name(tmp_path):
    (tmp_path / "flux-Q4.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(SourceError, match="is a GGUF file"):
        config_files(parse("flux-Q4.gguf", folder=tmp_path).locate())


def test_a_folder_of_several_files_is_no_base_and_the_files_are_named(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        written(tmp_path / name, {"x": (1,)})
    with pytest.raises(SourceError, match="is no base") as caught:
        config_files(parse(str(tmp_path), folder=tmp_path).locate())
    assert f"{tmp_path}/a.safetensors or {tmp_path}/b.safetensors" in caught.value.hint


@pytest.mark.parametrize("wrong", ["offsets", "short", "pickle", "header"])
def test_an_unsound_file_is_refused(wrong, tmp_path):
    path = written(tmp_path / "x.safetensors", {"a": (4,), "b": (4,)})
    data = path.read_bytes()
    if wrong == "offsets":
        text = json.dumps({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 80]}}).encode()
        data = struct.pack("<Q", len(text)) + text + bytes(8)
    path.write_bytes({"short": data[:-1], "pickle": b"PK\x03\x04" + data, "header": b"\xff" * 9}.get(wrong, data))
    with pytest.raises(SourceError):
        read(path)


def test_reading_one_needs_no_other_library(tmp_path):
    base = read(written(tmp_path / "x.safetensors", shapes_of("wan/1.3b")))
    assert base.reference == "x.safetensors"
    assert base.pipeline == architecture("wan/1.3b").pipeline
    assert base_of("sd15").checkpoint is None
