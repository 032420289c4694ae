"""Names of modules of other families are called right, and those of the supported ones never taken for theirs."""

import json

import pytest
import shared_data

from loramerge.bases.published import architecture
from loramerge.families.strangers import strangers

LANGUAGE_MODEL = "a language model such as Llama, Qwen, Mistral or Gemma"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("diffusion_model.double_blocks.0.img_attn.qkv", "FLUX.1"),
        ("lora_unet_single_blocks_12_linear1", "Chroma"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", "Stable Diffusion 3"),
        ("transformer.single_transformer_blocks.0.attn.to_q", "FLUX.1"),
        ("transformer.transformer_blocks.0.attn.to_q", "Qwen-Image"),
        ("diffusion_model.layers.0.attention.qkv", "Z-Image"),
        ("diffusion_model.blocks.0.self_attn.q", "Wan"),
        ("transformer_blocks.0.attn2.to_k", "LTX-Video"),
        ("lora_prior_unet_down_blocks_0_0_attention", "Stable Cascade"),
        ("model.encoder.layers.0.self_attn.q_proj", "Whisper"),
        ("model.decoder.layers.0.encoder_attn.q_proj", "Whisper"),
        ("bert.encoder.layer.0.attention.self.query", "BERT"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "T5"),
        ("transformer.h.0.attn.c_attn", "GPT-2"),
        ("model.layers.0.self_attn.q_proj", LANGUAGE_MODEL),
        ("model.language_model.layers.0.mlp.gate_proj", LANGUAGE_MODEL),
    ],
)
def test_a_stranger_is_called_by_its_name(name, title):
    assert title in strangers(["something.else", name])


def test_names_that_tell_nothing():
    assert strangers([]) == ()
    assert strangers(["a.b.c"]) == ()


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_nothing_of_stable_diffusion_is_taken_for_a_stranger(family):
    for component in architecture(family).components.values():
        assert strangers([*component.modules, *component.spelled]) == ()


TABLES = {
    "names.json": {
        "FluxTransformer2DModel": "FLUX.1",
        "Flux2Transformer2DModel": "FLUX.2",
        "Flux3Transformer2DModel": "FLUX.3",
        "ChromaTransformer2DModel": "Chroma",
        "WanTransformer3DModel": "Wan",
        "WanVACETransformer3DModel": "Wan VACE",
        "QwenImageTransformer2DModel": "Qwen-Image",
        "QwenImage21Transformer2DModel": "Qwen-Image",
        "ZImageTransformer2DModel": "Z-Image",
        "Krea2Transformer2DModel": "Krea 2",
        "CosmosTransformer3DModel": "Cosmos",
        "LTX2VideoTransformer3DModel": "LTX-2",
        "LTXVideoTransformer3DModel": "LTX-Video",
        "HunyuanVideoTransformer3DModel": "HunyuanVideo",
        "HunyuanImageTransformer2DModel": "HunyuanImage",
        "SD3Transformer2DModel": "Stable Diffusion 3",
        "Ideogram4Transformer2DModel": "Ideogram 4",
        "MiniMaxH3Transformer3DModel": "MiniMax-H3",
        "Lumina2Transformer2DModel": "Lumina 2",
        "AuraFlowTransformer2DModel": "AuraFlow",
        "CogVideoXTransformer3DModel": "CogVideoX",
        "Kandinsky5Transformer3DModel": "Kandinsky 5",
        "MochiTransformer3DModel": "Mochi",
        "SanaTransformer2DModel": "Sana",
        "ErnieImageTransformer2DModel": "ERNIE-Image",
        "AceStepTransformer1DModel": "ACE-Step",
        "PixArtTransformer2DModel": "PixArt",
        "BriaFibo2Transformer2DModel": "Bria FIBO 2",
    },
    "native.json": {
        "flux": "FLUX.1",
        "flux2": "FLUX.2",
        "zimage": "Z-Image",
        "hv": "HunyuanVideo",
        "krea2": "Krea 2",
        "ideogram4": "Ideogram 4",
        "wan_i2v": "Wan",
        "chroma": "Chroma",
        "anima": "Anima",
        "sd35m": "Stable Diffusion 3",
    },
}


@pytest.mark.parametrize("table", TABLES)
def test_the_modules_of_real_models(table):
    modules = json.loads(shared_data.family(table).read_text())
    for model, title in TABLES[table].items():
        assert title in strangers(modules[model]), model
        assert title in strangers(name.replace(".", "_") for name in modules[model]), model
