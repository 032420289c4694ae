"""The names in `format: comfyui`, against those of ComfyUI's own models.

comfyui_names.json has the layers, `*` for a block's number, that ComfyUI 0.33 makes of the original checkpoint and that
`comfy.lora.model_lora_keys_unet` knows behind `diffusion_model.`. With them `comfy.lora.load_lora` took every key of a
LoRA for each tiny model of rows.py, and what it added was, in float64, what the original checkpoint has with the deltas
in it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from canonical import read
from families.models import config_of
from families.rows import ROWS
from safetensors.torch import load_file

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import from_configs
from loramerge.bases.published import architecture
from loramerge.families import FAMILIES
from loramerge.formats import ComfyuiOutput, Labels

NAMES = {
    family: {*names} for family, names in json.loads(Path(__file__).with_name("comfyui_names.json").read_text()).items()
}
# Layers that ComfyUI's model does not have: it runs neither FramePack nor Predict2.5, and knows no rate of frames.
UNKNOWN = {
    "framepack": {
        *("clean_x_embedder.proj", "clean_x_embedder.proj_2x", "clean_x_embedder.proj_4x"),
        *("image_projection.down", "image_projection.up"),
    },
    "skyreels_v2": {"fps_projection.0", "fps_projection.2"},
    "cosmos": {"crossattn_proj.0"},
}
# ComfyUI has no such model, or UNets, whose names are Stability AI's.
ELSEWHERE = {"flux3", "qwen_image21", "sana", "sana_video", "sd15", "sd2", "sdxl"}
LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 32,
}
LANGUAGE_MODELS = ("llama", "qwen3_06b")  # as ComfyUI calls them
IN_LLAMA = {
    *(f"model.layers.*.self_attn.{name}_proj" for name in "qkvo"),
    *(f"model.layers.*.mlp.{name}_proj" for name in ("gate", "up", "down")),
}


def form(name):
    return re.sub(r"(?<=\.)(block)?\d+(?=\.)", r"\1*", name)


def bases(family):
    """In each of the sizes that were published, or small where none is known."""
    if FAMILIES[family].published:
        return [architecture(f"{family}/{size}") for size in FAMILIES[family].published]
    denoiser = FAMILIES[family].denoisers[0]
    return [from_configs("tiny", {denoiser: config_of(row)}) for row in ROWS if row.family == family]


def test_every_family_with_original_names_is_looked_at():
    assert {name for name, family in FAMILIES.items() if family.has_original_names} == {*NAMES, *ELSEWHERE}


@pytest.mark.parametrize("family", NAMES)
def test_comfyui_has_these_layers(family):
    found = set()
    for base in bases(family):
        found |= {form(name) for name in base.components[base.main].comfyui_layout.originals}
    assert found == NAMES[family] | UNKNOWN.get(family, set())


@pytest.mark.parametrize(
    ("family", "architecture", "names"),
    [
        ("hunyuan_video", "LlamaModel", IN_LLAMA),
        ("anima", "Qwen3Model", IN_LLAMA),
        ("hidream", "LlamaForCausalLM", IN_LLAMA | {"lm_head"}),
    ],
)
def test_language_models_as_text_encoders(family, architecture, names):
    row = next(row for row in ROWS if row.family == family)
    encoder = next(name for name, each in FAMILIES[family].text_encoders.items() if each.comfyui in LANGUAGE_MODELS)
    base = from_configs("tiny", {"transformer": config_of(row), encoder: {"architectures": [architecture], **LLAMA}})
    assert {form(name) for name in base.components[encoder].comfyui_layout.originals} == names


def test_a_language_model_that_sees_pictures():
    row = next(row for row in ROWS if row.family == "qwen_image")
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16}
    config = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "text_config": LLAMA,
        "vision_config": vision,
    }
    base = from_configs("tiny", {"transformer": config_of(row), "text_encoder": config})
    names = {form(name) for name in base.components["text_encoder"].comfyui_layout.originals}
    assert names - {"lm_head"} == {
        *IN_LLAMA,
        *(f"visual.blocks.*.mlp.{name}_proj" for name in ("gate", "up", "down")),
        *(f"visual.blocks.*.attn.{name}" for name in ("qkv", "proj")),
        *(f"visual.merger.mlp.{number}" for number in (0, 2)),
        "visual.patch_embed.proj",
    }


def test_a_text_encoder_there_and_back(tmp_path):
    row = next(row for row in ROWS if row.family == "anima")
    configs = {"transformer": config_of(row), "text_encoder": {"architectures": ["Qwen3Model"], **LLAMA}}
    base = from_configs("tiny", configs)
    generator = torch.Generator().manual_seed(0)
    pairs = {
        name: LowRank(torch.randn(2, width, generator=generator), torch.randn(out, 2, generator=generator), 0.25)
        for name, (out, width) in base.components["text_encoder"].modules.items()
    }
    output = ComfyuiOutput(kind="adapter", format="comfyui")
    output.write_adapter(Adapter({"text_encoder": pairs}), base, Labels("x"), tmp_path)
    keys = load_file(tmp_path / "x.safetensors").keys()
    assert "text_encoders.qwen3_06b.transformer.model.layers.0.self_attn.q_proj.lora_A.weight" in keys
    found = read(tmp_path / "x.safetensors", base)
    assert [*found.components] == ["text_encoder"]
    assert found.components["text_encoder"].keys() == pairs.keys()
    for name, pair in found.components["text_encoder"].items():
        assert torch.allclose(pair.delta(), pairs[name].delta(), rtol=1e-5, atol=1e-6)


def test_which_families_comfyui_knows_by_kohya_s_names():
    """Those whose flat names are the ones that it makes of its own names; found by loading such files with it."""
    unknown = {name for name, family in FAMILIES.items() if family.has_original_names and not family.flat_in_comfyui}
    assert unknown == {
        *("framepack", "hunyuan_image", "hunyuan_video", "hunyuan_video15"),
        *("sana", "wan_animate_2", "z_image"),
    }
    for name in unknown - {"framepack", "sana"}:
        base = bases(name)[0]
        component = base.components[base.main]
        theirs = {original.replace(".", "_") for original in component.comfyui_layout.originals}
        kohya = [*component.modules] if FAMILIES[name].flat_is_canonical else [*component.layout.originals]
        assert {each.replace(".", "_") for each in kohya} - theirs
