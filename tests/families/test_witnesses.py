"""Names and sizes, against tables that were made of the trainers' own classes and of diffusers' by someone else."""

from __future__ import annotations

import json
import re

import pytest
import shared_data
from families.models import layers_of

from loramerge.families import FAMILIES
from loramerge.families.layout import Layout

pytestmark = pytest.mark.slow

# What names.json calls a model that was published; two of its models share a class of diffusers.
SIZES = {
    "FluxTransformer2DModel": ("flux", "schnell"),
    "Flux2Transformer2DModel": ("flux2", "dev"),
    "Flux3Transformer2DModel": ("flux3", "klein-base"),
    "ChromaTransformer2DModel": ("chroma", "hd"),
    "SD35M": ("sd3", "3.5-medium"),
    "HunyuanVideoTransformer3DModel": ("hunyuan_video", "t2v"),
    "HunyuanVideo15Transformer3DModel": ("hunyuan_video15", "t2v"),
    "QwenImageTransformer2DModel": ("qwen_image", "qwen-image"),
    "QwenImage21Transformer2DModel": ("qwen_image21", "qwen-image-2.1"),
    "ZImageTransformer2DModel": ("z_image", "turbo"),
    "AuraFlowTransformer2DModel": ("auraflow", "v0.3"),
    "LongCatImageTransformer2DModel": ("longcat", "image"),
    "BriaFibo2Transformer2DModel": ("bria_fibo2", "dev"),
    "WanTransformer3DModel": ("wan", "14b"),
    "WanTransformer3DModel_i2v": ("wan", "i2v-14b"),
    "WanVACETransformer3DModel": ("wan_vace", "14b"),
    "Krea2Transformer2DModel": ("krea2", "raw"),
    "AnimaDiffusers": ("anima", "base"),
    "LTXVideoTransformer3DModel": ("ltx", "2b"),
    "LTX2VideoTransformer3DModel": ("ltx2", "2.0"),
    "Ideogram4Transformer2DModel": ("ideogram4", "v4"),
    "MiniMaxH3Transformer3DModel": ("minimax_h3", "h3"),
    "CosmosTransformer3DModel": ("cosmos", "7b-text2world"),
    "CogVideoXTransformer3DModel": ("cogvideox", "2b"),
    "MochiTransformer3DModel": ("mochi", "preview"),
    "SanaTransformer2DModel": ("sana", "1.6b"),
    "AceStepTransformer1DModel": ("ace_step", "base"),
}
# What rules.json and native.json call a model that was published.
RULES = {
    "flux1": ("flux", "dev"),
    "flux2": ("flux2", "dev"),
    "chroma": ("chroma", "hd"),
    "sd3": ("sd3", "3.5-medium"),
    "hunyuan_video": ("hunyuan_video", "t2v"),
    "krea2": ("krea2", "raw"),
    "ideogram4": ("ideogram4", "v4"),
    "anima": ("anima", "base"),
    "wan": ("wan", "i2v-14b"),
    "z_image": ("z_image", "turbo"),
    "qwen_image": ("qwen_image", "qwen-image"),
}
NATIVE = {
    "flux": RULES["flux1"],
    "flux2": RULES["flux2"],
    "chroma": RULES["chroma"],
    "sd35m": RULES["sd3"],
    "hv": RULES["hunyuan_video"],
    "krea2": RULES["krea2"],
    "ideogram4": RULES["ideogram4"],
    "anima": RULES["anima"],
    "wan_i2v": RULES["wan"],
}


def _table(name):
    return json.loads(shared_data.family(name).read_text(encoding="utf-8"))


def _config(family, size):
    return FAMILIES[family].published[size].configs["transformer"]


def _originals(family, size):
    config = _config(family, size)
    return Layout(FAMILIES[family].rules(config), layers_of(config)).originals


@pytest.mark.parametrize("model", SIZES)
def test_a_published_model_has_these_layers(model):
    shapes = {name: tuple(shape) for name, shape in _table("names.json")[model].items()}
    # Sana's convolutions of each channel by itself are no low-rank matrices, and no base has them.
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("ff.conv_depth")}
    assert layers_of(_config(*SIZES[model])) == shapes


@pytest.mark.parametrize("model", NATIVE)
def test_the_trainers_model_has_these_layers(model):
    shapes = {name: tuple(shape) for name, shape in _table("native.json")[model].items()}
    assert {name: original.shape for name, original in _originals(*NATIVE[model]).items()} == shapes


@pytest.mark.parametrize("model", RULES)
def test_the_trainers_layers_hold_these(model):
    table = _table("rules.json")[model]
    originals = _originals(*RULES[model])
    layers = [part.canonical for original in originals.values() for part in original.parts]
    last = _config(*RULES[model]).get("num_layers", 0) - 1
    swapped = {name.replace("{last}", str(last)) for name in table["swap_halves_of_up"]}
    expected = {}
    for native, canonical in table["native_to_diffusers"].items():
        for number in _numbers(canonical[0], layers):
            name = native.replace("{i}", number)
            expected[name] = ([each.replace("{i}", number) for each in canonical], name in swapped)
    told = {each for canonical, _ in expected.values() for each in canonical}
    expected |= {name: ([name], False) for name in layers if name not in told}
    assert expected == {
        name: ([part.canonical for part in original.parts], any(len(part.spans) > 1 for part in original.parts))
        for name, original in originals.items()
    }


def _numbers(canonical, layers):
    """The blocks that have a layer; one empty number where it lies in none."""
    pattern = re.compile(re.escape(canonical).replace(re.escape("{i}"), "([0-9]+)"))
    found = [match for match in map(pattern.fullmatch, layers) if match]
    return [match[1] if match.groups() else "" for match in found]
